"""What a file of torch.export may not hold: torch itself would run it when the file is read."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Sizes are written as expressions, which torch hands to sympy, and that evaluates them as Python.
_QUOTED = re.compile(r"'[A-Za-z]\w*'")
_EXPRESSION = re.compile(r"[\w\s(),.*+/=<>-]*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_WORDS = {
    "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs", "Eq", "Ne", "Lt", "Le",
    "Gt", "Ge", "And", "Or", "Not", "Piecewise", "ExprCondPair", "floor", "ceiling", "FloorDiv", "CeilDiv", "CleanDiv",
    "ModularIndexing", "PythonMod", "IntTrueDiv", "FloatTrueDiv", "TruncToInt", "ToFloat", "Identity", "precision",
    "StrictLessThan", "StrictGreaterThan", "LessThan", "GreaterThan", "Equality", "Unequality", "positive", "integer",
    "nonnegative", "nonzero", "real", "finite", "true", "false", "True", "False", "BooleanTrue", "BooleanFalse", "oo",
    "int_oo",
}  # fmt: skip
_SYMBOL = re.compile(r"(s|u|zf|zuf)\d+")
# Operations are named by the way to them from the module: no other function of torch or Python.
_OPERATION = re.compile(r"torch\.ops\.\w+\.\w+(\.\w+)?|(_operator|math)\.\w+|torch\.(_sym|sym)_\w+|\w+")
_READ = re.compile(r"(^|/)(models/[^/]+\.json|serialized_exported_program\.json)$")


def check_program(path: Path) -> None:
    """Refuse a program of torch.export that names anything but torch's operators and plain sizes.

    Raises:
        Refused: it is no such program, or would run other code when it is read.
    """
    try:
        with zipfile.ZipFile(path) as file:
            names = [name for name in file.namelist() if _READ.search(name)]
            programs = [msgspec.json.decode(file.read(name)) for name in names]
    except (zipfile.BadZipFile, msgspec.MsgspecError, OSError) as error:
        raise Refused(
            f"{path.name} is no program of torch.export: {error}",
            remedy="save it with `torch.export.save(torch.export.export(net, …), 'net.pt2')`",
        ) from error
    if not programs:
        raise Refused(
            f"{path.name} holds no program of torch.export",
            remedy="save it with `torch.export.save(torch.export.export(net, …), 'net.pt2')`",
        )
    for word, text in (found for program in programs for found in _texts(program)):
        is_safe = _is_plain(text) if word == "expr_str" else _OPERATION.fullmatch(text) and "__" not in text
        if not is_safe:
            raise Refused(
                f"{path.name} would run other code when it is read: it has the "
                f"{'size' if word == 'expr_str' else 'operation'} {text[:80]!r}",
                remedy="export the network again yourself; if it comes from elsewhere, do not trust it",
            )


def _is_plain(text: str) -> bool:
    rest = _QUOTED.sub("", text)
    return _EXPRESSION.fullmatch(rest) is not None and all(
        word in _WORDS or _SYMBOL.fullmatch(word) for word in _WORD.findall(rest)
    )


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """Yield each expression and operation in a program, however deep."""
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack += each
        elif isinstance(each, dict):
            for word, inner in each.items():
                if word in ("expr_str", "target") and isinstance(inner, str):
                    yield word, inner
                else:
                    stack.append(inner)
