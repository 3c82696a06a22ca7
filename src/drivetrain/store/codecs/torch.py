"""Modules of PyTorch as safetensors: the weights, and the name of the class that they belong to.

The convention: the class stands at the top of a file of the project, and `self.config` holds what its constructor
takes, a dict (given as keywords) or a dataclass or Struct (given whole). A constructor that needs nothing needs no
`config`.

    class Net(nn.Module):
        def __init__(self, width: int = 8) -> None:
            super().__init__()
            self.config = {"width": width}
"""

from __future__ import annotations

import inspect
import sys
import sysconfig
from dataclasses import is_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from drivetrain.errors import NotFound, Refused, Unkeepable
from drivetrain.store import exact
from drivetrain.store.codecs.codec import Written

_CONVENTION = (
    "define the class at the top of a file of the project, and keep in `self.config` what its constructor takes, as a "
    "dict or a dataclass of plain values; or return an ONNX model (`torch.onnx.export`)"
)
# One key only: safetensors writes several in no fixed order.
_KEY = "drivetrain"


class TorchCodec:
    """Keeps modules that follow the convention, and tensors. A module comes back on the CPU and in evaluation mode."""

    formats = frozenset({"torch"})
    shares = False

    def write(self, value: Any, path: Path) -> Written:
        if isinstance(value, torch.Tensor):
            self._save({"tensor": value}, {"class": "torch:Tensor"}, path)
            return Written("torch", len(value) if value.ndim else None)
        if not isinstance(value, nn.Module):
            raise Unkeepable(found=f"a torch {type(value).__qualname__}", right="return a module or a tensor")
        kind = type(value)
        facts = {"class": f"{kind.__module__}:{kind.__qualname__}", "config": _config_of(value)}
        state = value.state_dict()
        # Made once here, so that a module that cannot be read again is refused while its training is still at hand.
        try:
            made = _made(_project_class(facts["class"]), exact.decode(exact.encode(facts))["config"])
        except Unkeepable as error:
            where = "config" + error.where.removeprefix("['config']")
            raise Unkeepable(where=where, found=error.found, right=_CONVENTION) from error
        except (Refused, NotFound, TypeError, AttributeError, msgspec.ValidationError) as error:
            raise Unkeepable(found=f"a {kind.__qualname__}: {error.args[0]}", right=_CONVENTION) from error
        again = made.state_dict()
        odd = [name for name in {**state, **again} if _shape(state, name) != _shape(again, name)]
        if odd:
            raise Unkeepable(
                found=f"a {kind.__qualname__} that its `config` does not make again: {', '.join(odd[:3])} would differ",
                right=_CONVENTION,
            )
        self._save(state, facts, path)
        return Written("torch")

    def read(self, path: Path, form: Any) -> Any:
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                facts = exact.decode((file.metadata() or {})[_KEY])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
        except (SafetensorError, KeyError) as error:
            raise Refused(f"a torch model cannot be read: {error}", remedy="train it again") from error
        if facts["class"] == "torch:Tensor":
            return state["tensor"]
        module = _made(_project_class(facts["class"]), facts["config"])
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if name in state and tensor.dtype != state[name].dtype:
                tensor.data = tensor.data.to(state[name].dtype)
        module.load_state_dict(state)
        return module.eval()

    def _save(self, state: dict[str, torch.Tensor], facts: dict[str, Any], path: Path) -> None:
        seen: set[int] = set()
        tensors = {}
        for name, tensor in state.items():
            plain = tensor.detach().cpu().contiguous()
            # Weights that are tied lie in one piece of memory, which safetensors does not write twice.
            tensors[name] = plain.clone() if plain.untyped_storage().data_ptr() in seen else plain
            seen.add(plain.untyped_storage().data_ptr())
        path.write_bytes(save(tensors, metadata={_KEY: exact.encode(facts).decode()}))


def _config_of(module: nn.Module) -> Any:
    config = getattr(module, "config", None)
    if config is None or isinstance(config, (dict, msgspec.Struct)) or is_dataclass(config):
        return config
    raise Unkeepable(where="config", found=f"a {type(config).__qualname__}", right=_CONVENTION)


def _made(kind: Any, config: Any) -> nn.Module:
    """Return a new module of that class, leaving the random numbers of the process where they are."""
    with torch.random.fork_rng(devices=[]):
        if config is None:
            module = kind()
        else:
            first = next(iter(list(inspect.signature(kind.__init__).parameters)[1:]), "")
            hint = get_type_hints(kind.__init__).get(first)
            whole = isinstance(hint, type) and (issubclass(hint, msgspec.Struct) or is_dataclass(hint))
            module = kind(msgspec.convert(config, hint, str_keys=True)) if whole else kind(**config)
    if not isinstance(module, nn.Module):
        raise Refused(f"{kind!r} is no torch module")
    return module


def _project_class(name: str) -> Any:
    """Return a class of the user's project by its `module:name`; a file must not be able to name any other.

    Raises:
        Refused: its module is installed, or it is no class of that module.
        NotFound: there is no such module.
    """
    module_name, _, qualname = name.partition(":")
    if module_name == "__main__" or "<locals>" in qualname:
        raise Refused(f"its class {name} cannot be imported again", remedy=_CONVENTION)
    spec = getattr(sys.modules.get(module_name), "__spec__", None)
    try:
        origin = spec.origin if spec else _find_origin(module_name)
    except (ImportError, ValueError) as error:
        raise NotFound(kind="module", name=module_name, remedy="run this where the project's files are") from error
    installed = {sysconfig.get_path(place) for place in ("stdlib", "platstdlib", "purelib", "platlib")}
    if not origin or any(Path(origin).is_relative_to(place) for place in installed):
        raise Refused(f"its class {name} is not one of the project's own", remedy=_CONVENTION)
    kind = getattr(import_module(module_name), qualname, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == module_name):
        raise Refused(f"{name} is no torch module of the project", remedy=_CONVENTION)
    return kind


def _find_origin(module_name: str) -> str | None:
    """Return the file of a module that is not imported yet, without running anything of an installed package."""
    spec = find_spec(module_name.partition(".")[0])
    if spec is None:
        raise ImportError(module_name)
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)


def _shape(state: dict[str, torch.Tensor], name: str) -> Any:
    return tuple(state[name].shape) if name in state else None


CODEC = TorchCodec()
