"""Predictions of torch: modules that learnt from a table, (rows, features) in float32, and networks from elsewhere."""

from __future__ import annotations

import os
import pickle  # only for the name of its error
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file

from drivetrain.errors import Refused
from drivetrain.training.onnx import TOLERANCE
from drivetrain.training.onnxruntime import Graph
from drivetrain.training.stacked import Put, Stacked, column_of
from drivetrain.training.torchfile import check_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from drivetrain.data.kinds.tensor import Tensor
    from drivetrain.data.schema import Column
    from drivetrain.training.signature import Task


def predict(module: Any, x: pl.DataFrame, task: Task) -> Any:
    """Return what a module answers to rows of features; a missing number comes in as a NaN."""
    was_training = module.training
    found = Tabular(module, task).scores_of(x)
    module.train(was_training)
    return found


class Tabular:
    """A module that learnt from a table, in evaluation mode.

    A classifier is taken to give logits unless its last layer is a Sigmoid or Softmax: one column, or one a class.
    """

    def __init__(self, module: Any, task: Task) -> None:
        self._module = module.eval()
        last = list(module.modules())[-1]
        self._gives_logits = task != "regression" and not isinstance(last, (torch.nn.Sigmoid, torch.nn.Softmax))

    def scores(self, rows: Sequence[tuple[Any, ...]]) -> Any:
        """Return the probabilities of a classifier, (rows,) or (rows, classes), or the values (rows,)."""
        # By way of 64 bits, as a frame with integers goes: a large one is then rounded in the same way.
        return self._answered(np.array(rows, dtype=np.float64))

    def scores_of(self, frame: pl.DataFrame) -> Any:
        """Return the same for a frame of features."""
        return self._answered(frame.to_numpy())

    def _answered(self, x: NDArray[Any]) -> Any:
        with torch.inference_mode():
            # (rows,) or (rows, 1) or (rows, classes); in one order in memory, which decides on the last bit
            found = self._module(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)))
            is_one = found.ndim == 1 or found.shape[1] == 1
            if self._gives_logits:
                found = torch.sigmoid(found) if is_one else torch.softmax(found, dim=1)
        return (found.reshape(-1) if is_one else found).numpy()


class Network(Stacked):
    """A network in memory, in evaluation mode; see `dt.torch`."""

    build = "torch"

    def __init__(self, module: Any, puts: Sequence[Put], *, names: Sequence[str] = (), threads: int = 1) -> None:
        super().__init__(puts)
        self.module, self._threads = module, threads
        self.outputs = self._told_by_trial(names)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        made: Any = None,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str] = (),
        config: Mapping[str, Any],
        threads: int = 1,
    ) -> Network:
        """Return the network in a file, or of a class with its weights in one.

        Raises:
            Refused: it is of another form, would run code when it is read, or does not fit what is declared.
        """
        puts = [Put(name, tensor.dtype, (None, *tensor.shape)) for name, tensor in inputs.items()]
        if made is not None:
            module = made(**config)
            weights = load_file(path)
            try:
                module.load_state_dict(weights)
            except RuntimeError as error:
                raise Refused(
                    f"the weights {path.name} do not fit {made.__qualname__}: {' '.join(str(error).split())[:400]}",
                    remedy="give `config=` what its constructor takes, or the weights that belong to it",
                ) from error
            return cls(module.eval(), puts, names=outputs, threads=threads)
        if path.suffix == ".pt2":
            check_program(path)
            program = _program(path)
            return cls(program.module(), _puts_of(program), names=outputs, threads=threads)
        if not puts:
            raise Refused(
                f"{path.name} is a program of TorchScript, which does not say what it takes",
                remedy='write `dt.torch("net.pt", inputs={"x": dt.Tensor("float32", (3,))})`',
            )
        jit: Any = torch.jit  # without types
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # such files will be there for years
            try:
                module = jit.load(str(path), map_location="cpu")
            except RuntimeError as error:
                raise Refused(
                    f"{path.name} is no program of TorchScript: {' '.join(str(error).split())[:200]}",
                    remedy="export the network (`torch.export.save`), or keep its weights as safetensors and name its "
                    "class; a pickle is not read",
                ) from error
            return cls(module.eval(), puts, names=outputs, threads=threads)

    def run(self, arrays: list[Any]) -> list[Any]:
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            found = self.module(*[torch.from_numpy(array) for array in arrays])
        return [tensor.detach().numpy() for tensor in _flat(found).values()]

    def _told_by_trial(self, names: Sequence[str]) -> list[Column]:
        """Return the outputs, from what comes of zeros: twice with other sizes, to see which dimensions are free."""
        first, second = self._tried(3), self._tried(5)
        known = list(names) or list(first)
        if len(known) != len(first):
            raise Refused(
                f"the network gives {len(first)} outputs, and {len(known)} are named",
                remedy=f"name them all: {', '.join(first)}",
            )
        columns = []
        for name, one, other in zip(known, first.values(), second.values(), strict=True):
            shape = [a if a == b else None for a, b in zip(one.shape, other.shape, strict=True)]
            if self.is_batch and (not shape or one.shape[0] != 3):
                raise Refused(
                    f"the network's output {name!r} has the shape {tuple(one.shape)} for 3 examples",
                    remedy="give an answer for each example along the first axis",
                )
            columns.append(column_of(name, str(one.dtype), self.inner(shape)))
        return columns

    def _tried(self, length: int) -> dict[str, Any]:
        arrays = [
            torch.zeros([length if each is None else each for each in put.shape], dtype=getattr(torch, put.dtype))
            for put in self.puts
        ]
        with torch.inference_mode():
            return {name: tensor.numpy() for name, tensor in _flat(self.module(*arrays)).items()}


def _flat(found: Any) -> dict[str, Any]:
    """Return the outputs of a network by name: those of a dict, or by their place."""
    if isinstance(found, Mapping):
        return dict(found)
    if isinstance(found, tuple | list):
        return {f"output_{place}": tensor for place, tensor in enumerate(found)}
    return {"output": found}


def _program(path: Path) -> Any:
    """Return a program of torch.export; torch falls back to pickle for parts of one unless it is forbidden to."""
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        return torch.export.load(path)
    except pickle.UnpicklingError as error:
        raise Refused(
            f"{path.name} holds a pickle that could run code: {' '.join(str(error).split())[:200]}",
            remedy="export the network again without objects of your own in it",
        ) from error
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def _puts_of(program: Any) -> list[Put]:
    wanted = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return [
        Put(
            name,
            str(wanted[name].dtype).removeprefix("torch."),
            [length if isinstance(length, int) else None for length in wanted[name].shape],
        )
        for name in program.graph_signature.user_inputs
    ]


def onnx_build(network: Network, path: Path) -> dict[str, Any]:
    """Write an ONNX build of a network to a path, and return how its answers compare on made-up examples.

    There are 64 examples of normal numbers, and of whole ones that are 0 or 1. A difference of more than 1e-5, of
    numbers above 1 as a share of them, counts. Where there is no build, `reason` says why.
    """
    found: dict[str, Any] = {"rows": 0, "differing_rows": 0, "largest_difference": 0.0, "reason": ""}
    examples = _examples(network, 2)
    dynamic = torch.export.Dim.DYNAMIC
    free = [{place: dynamic for place, each in enumerate(put.shape) if each is None} for put in network.puts]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network.module,
                tuple(torch.from_numpy(each) for each in examples),
                str(path),
                input_names=[put.name for put in network.puts],
                output_names=[column.name for column in network.outputs],
                dynamic_shapes=tuple(free),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        graph = Graph(path)
        rows = _examples(network, 64 if network.is_batch else 1)
        pairs = list(zip(network.run(rows), graph.run(rows), strict=True))
    except Exception as error:  # the exporter raises all kinds for an operation that it does not know
        return {**found, "reason": f"there is no ONNX build: {' '.join(str(error).split())[:200]}"}
    differs = np.zeros(len(rows[0]), bool)
    for original, built in pairs:
        difference = np.abs(original.astype("float64") - built) / np.maximum(1.0, np.abs(original))
        difference = np.nan_to_num(difference, nan=np.inf).reshape(len(original), -1).max(axis=1)  # (examples,)
        found["largest_difference"] = max(found["largest_difference"], float(min(difference.max(), 1e300)))
        differs |= difference > TOLERANCE
    return {**found, "rows": len(differs), "differing_rows": int(differs.sum())}


def _examples(network: Network, count: int) -> list[Any]:
    numbers = np.random.default_rng(0)
    found = []
    for put in network.puts:
        shape = [count if place == 0 and network.is_batch else each or 4 for place, each in enumerate(put.shape)]
        is_real = put.dtype.startswith("float")
        values = numbers.normal(size=shape) if is_real else numbers.integers(0, 2, shape)
        found.append(values.astype(put.dtype))
    return found
