"""Networks that were made elsewhere: an ONNX file, a program of torch, or a class of the project with its weights."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from drivetrain.errors import DeclarationError, MissingExtra
from drivetrain.system.caller import caller
from drivetrain.training.ready import Belongings, Ready, laid_out, values_signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.data.kinds.tensor import Tensor
    from drivetrain.store.store import Store
    from drivetrain.system.part import Job, Output
    from drivetrain.training.onnxruntime import Graph
    from drivetrain.training.signature import Signature

_FILE = "model"
_BUILD = "onnx"


class onnx(Ready, frozen=True, eq=False):  # noqa: N801  # a user writes dt.onnx(…), as with a function
    """An ONNX file that was made elsewhere, as a model: `onnx("classifier.onnx")`.

    Its inputs are the fields of a request, and its outputs the answer: one is the prediction itself, several are an
    object. A request is one example, and examples that arrive together are run as one where the first dimension of all
    inputs is free. `threads` are those of one call.

    >>> onnx("classifier.onnx").paths()
    {'model': 'classifier.onnx'}
    """

    RUNS: ClassVar[bool] = True
    ANSWERS_BY: ClassVar[str] = "onnx"

    path: str | Path
    threads: int = 1

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "place", caller())

    def paths(self) -> Mapping[str, str]:
        return {_FILE: str(self.path)}

    def declared(self) -> dict[str, Any]:
        return {"path": str(self.path), "threads": self.threads}

    def load(self, store: Store, belongings: Belongings) -> Graph:
        from drivetrain.training.onnxruntime import Graph

        return Graph(laid_out(store, belongings)[_FILE], threads=self.threads)

    def signature(self, model: Graph) -> Signature:
        return values_signature(model.inputs, model.outputs, label=model.outputs[0].name)


class torch(Ready, frozen=True, eq=False):  # noqa: N801  # a user writes dt.torch(…)
    """A network of torch, as a model.

    `torch("net.pt2")` is a program of `torch.export`, which says itself what it takes. `torch("net.pt", inputs={"x":
    dt.Tensor("float32", (3,))})` is one of TorchScript. `torch(Net, weights="net.safetensors", inputs=…)` is a class of
    the project, made without arguments or with `config`, and its weights.

    `inputs` are what one example of each argument of `forward` is; the network takes them stacked along the first axis,
    and gives its outputs in the same way: one is the prediction itself, several are an object, by the names in
    `outputs`. No pickle is ever read. `threads` are those of one call.

    With `onnx`, a run makes an ONNX build as well and compares it with the network on made-up examples. Where all
    answers agree, it is what answers; `/version` says which does, and why. It needs `drivetrain[onnx]`, and takes about
    ten seconds.
    """

    RUNS: ClassVar[bool] = True
    ANSWERS_BY: ClassVar[str] = "torch"

    source: Any
    weights: str | Path = ""
    inputs: dict[str, Tensor] = {}
    outputs_named: tuple[str, ...] = ()
    config: dict[str, Any] = {}
    threads: int = 1
    onnx: bool = False

    WORDS: ClassVar[Mapping[str, str]] = {"outputs": "outputs_named"}

    if TYPE_CHECKING:

        def __init__(
            self,
            source: Any,
            *,
            weights: str | Path = "",
            inputs: Mapping[str, Tensor] = {},
            outputs: tuple[str, ...] | list[str] = (),
            config: Mapping[str, Any] = {},
            threads: int = 1,
            onnx: bool = False,
            name: str = "",
        ) -> None: ...

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "place", caller())
        is_file = isinstance(self.source, str | Path)
        if is_file and Path(self.source).suffix in (".pth", ".pkl", ".bin", ".ckpt"):
            raise DeclarationError(
                f"{self.source} is a pickle, which can run any code when it is read",
                remedy="save the weights with `safetensors.torch.save_file(net.state_dict(), 'net.safetensors')` and "
                "write `dt.torch(Net, weights='net.safetensors', inputs=…)`; or export the network, "
                "`torch.export.save(torch.export.export(net, …), 'net.pt2')`",
                place=self.place,
            )
        if not is_file and (not self.weights or not self.inputs):
            raise DeclarationError(
                f"dt.torch is given the class {getattr(self.source, '__name__', self.source)!r} and not "
                f"{'its weights' if not self.weights else 'what it takes'}",
                remedy='write `dt.torch(Net, weights="net.safetensors", inputs={"x": dt.Tensor("float32", (3,))})`',
                place=self.place,
            )
        if not is_file and Path(self.weights).suffix != ".safetensors":
            raise DeclarationError(
                f"the weights {self.weights} are no safetensors, and only those are read",
                remedy="save them with `safetensors.torch.save_file(net.state_dict(), 'net.safetensors')`",
                place=self.place,
            )

    def paths(self) -> Mapping[str, str]:
        return {_FILE: str(self.weights or self.source)}

    def function_of(self) -> Any:
        return None if isinstance(self.source, str | Path) else self.source

    def declared(self) -> dict[str, Any]:
        inputs = {name: [tensor.dtype, list(tensor.shape)] for name, tensor in self.inputs.items()}
        return {"inputs": inputs, "outputs_named": list(self.outputs_named), "config": self.config,
                "onnx": self.onnx}  # fmt: skip

    def load(self, store: Store, belongings: Belongings) -> Any:
        paths = laid_out(store, belongings)
        if _BUILD in paths:
            from drivetrain.training.onnxruntime import Graph

            return Graph(paths[_BUILD], threads=self.threads)
        from drivetrain.training.torch import Network

        path = paths[_FILE]
        made = None if isinstance(self.source, str | Path) else self.source
        return Network.load(
            path, made=made, inputs=self.inputs, outputs=self.outputs_named, config=self.config, threads=self.threads
        )

    def signature(self, model: Any) -> Signature:
        return values_signature(model.inputs, model.outputs, label=model.outputs[0].name)

    def perform(self, job: Job) -> dict[str, Output]:
        if self.onnx:
            for library in ("onnxscript", "onnxruntime"):
                try:
                    import_module(library)
                except ImportError as error:
                    purpose = f"the ONNX build of {self.name!r}"
                    raise MissingExtra(library=library, extra="onnx", purpose=purpose) from error
        return Ready.perform(self, job)

    def build_reason(self, belongings: Belongings) -> str:
        found = belongings.found.get(_BUILD)
        if found is None:
            return ""
        return str(found["reason"]) or f"{found['differing_rows']} of {found['rows']} made-up examples differ"

    def built(self, model: Any, belongings: Belongings, job: Job) -> Belongings:
        if not self.onnx:
            return belongings
        from drivetrain.training.torch import onnx_build

        scratch = job.store.artifacts.scratch_path()
        try:
            found = onnx_build(model, scratch)
            belongings = msgspec.structs.replace(belongings, found={_BUILD: found})
            if not found["reason"]:
                job.log("onnx_differing_rows", found["differing_rows"])
            if found["differing_rows"] or found["reason"]:
                return belongings
            files = {**belongings.files, _BUILD: {"model.onnx": job.store.artifacts.adopt(scratch)}}
            return msgspec.structs.replace(belongings, files=files, single=[*belongings.single, _BUILD])
        finally:
            job.store.artifacts.discard(scratch)
