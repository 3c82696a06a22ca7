"""What a step's outcome depends on in code: its function, the project code that it reaches, the packages it uses."""

from __future__ import annotations

import sys
from hashlib import sha256
from opcode import opmap
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import Place
from drivetrain.system.function import FunctionPart, is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

_IMPORT_NAME, _EXTENDED_ARG = opmap["IMPORT_NAME"], opmap["EXTENDED_ARG"]


class Code(msgspec.Struct):
    """The code that a function reaches.

    `ingredients` has a digest for each function, class and constant of the project (`code.flights.clean`,
    `constant.flights.LIMIT`) and the version of each package (`package.polars`). `sources` has the text behind a code
    digest. `warnings` name what cannot be followed, with its place.
    """

    ingredients: dict[str, str]
    sources: dict[str, str]
    warnings: list[str]


class CodeReader:
    """Follows the names that functions use, below one project folder; what was read once is not read again.

    A digest is made of the compiled code without its line numbers and docstring, so that comments, formatting and
    documentation do not count.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root.resolve()) + "/"
        self._digests: dict[CodeType, str] = {}
        self._is_project: dict[str, bool] = {}
        self._lines: dict[str, list[str]] = {}

    def read(self, function: Any) -> Code:
        """Return the code that `function` reaches."""
        code = Code(ingredients={}, sources={}, warnings=[])
        seen: set[int] = set()
        # (what was found, the name it goes by, the function that uses it)
        stack: list[tuple[Any, str, FunctionType | None]] = [(function, "", None)]
        while stack:
            value, name, user = stack.pop()
            if isinstance(value, FunctionPart):
                value = value.function
            if isinstance(value, (staticmethod, classmethod)):
                value = value.__func__
            # The same plain value may stand under several names; anything else is followed once.
            if not is_plain(value):
                if id(value) in seen:
                    continue
                seen.add(id(value))
            if isinstance(value, property):
                stack.extend((part, name, user) for part in (value.fget, value.fset) if part is not None)
            elif isinstance(value, FunctionType):
                if self._in_project(value.__code__.co_filename):
                    label = f"{value.__module__}.{value.__qualname__}"
                    digest = self._digest(value.__code__, value.__doc__)
                    code.ingredients[f"code.{label}"] = digest
                    code.sources[digest] = self._source(value.__code__)
                    defaults = value.__defaults__ or () if user else ()
                    stack.extend((default, f"{value.__qualname__} default", value) for default in defaults)
                    stack.extend((found, used, value) for used, found in self._used(value, code))
                elif getattr(value, "__wrapped__", None) is not None:
                    stack.append((vars(value)["__wrapped__"], name, user))
                    self._package(value.__module__, code)
                else:
                    self._package(value.__module__, code)
            elif isinstance(value, type):
                if self._in_project(getattr(sys.modules.get(value.__module__), "__file__", "") or ""):
                    stack.extend((found, f"{value.__qualname__}.{key}", user) for key, found in _members(value))
                    stack.extend((base, base.__name__, user) for base in value.__bases__)
                else:
                    self._package(value.__module__, code)
            elif isinstance(value, ModuleType):
                self._package(value.__name__, code)
            elif is_plain(value):
                owner = user.__module__ if user else ""
                code.ingredients[f"constant.{owner}.{name}"] = _plain_digest(value)
            elif isinstance(value, (set, frozenset)):
                # The order of a set is another one in each process.
                items = sorted(value, key=repr)
                stack.extend((item, f"{name}[{index}]", user) for index, item in enumerate(items))
            elif isinstance(value, (list, tuple)):
                stack.extend((item, f"{name}[{index}]", user) for index, item in enumerate(value))
            elif isinstance(value, dict):
                stack.extend((item, f"{name}[{key!r}]", user) for key, item in value.items())
            elif isinstance(value, BuiltinFunctionType):
                self._package(value.__module__ or "builtins", code)
            else:
                self._instance(value, name, user, code)
        return code

    def _used(self, function: FunctionType, code: Code) -> Iterator[tuple[str, Any]]:
        """Give each global, closed-over or imported thing that the function names."""
        for inner in _nested(function.__code__):
            names = inner.co_names
            for name in names:
                if name not in function.__globals__:
                    continue
                value = function.__globals__[name]
                if isinstance(value, ModuleType) and self._in_project(getattr(value, "__file__", "") or ""):
                    for other in names:
                        if other in vars(value):
                            yield f"{name}.{other}", vars(value)[other]
                else:
                    yield name, value
            for name in _imported(inner):
                module = sys.modules.get(name)
                if module is None:
                    self._package(name, code)
                elif self._in_project(getattr(module, "__file__", "") or ""):
                    yield from ((f"{name}.{other}", vars(module)[other]) for other in names if other in vars(module))
                else:
                    yield name, module
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            yield name, cell.cell_contents

    def _instance(self, value: Any, name: str, user: FunctionType | None, code: Code) -> None:
        """Take an object that is neither code nor plain: its text stands for it where that says what it holds."""
        kind = type(value)
        self._package(kind.__module__, code)
        text = repr(value)
        place = Place(user.__code__.co_filename, user.__code__.co_firstlineno) if user else None
        if " at 0x" in text or "__repr__" not in {name for base in kind.__mro__[:-1] for name in vars(base)}:
            code.warnings.append(
                f"{place}: {name!r} is {kind.__qualname__}, whose contents cannot be followed; "
                "a change of it alone will not run the step again"
            )
        owner = user.__module__ if user else ""
        stable = f"{kind.__qualname__}" if " at 0x" in text else text
        code.ingredients[f"constant.{owner}.{name}"] = sha256(stable.encode()).hexdigest()[:16]

    def _package(self, module: str, code: Code) -> None:
        root = module.partition(".")[0]
        if root in sys.stdlib_module_names or root in ("builtins", "__main__", ""):
            return
        name = f"package.{root}"
        if name not in code.ingredients:
            code.ingredients[name] = _version(root)

    def _in_project(self, file: str) -> bool:
        known = self._is_project.get(file)
        if known is None:
            inside = file.startswith(self._root)
            rest = file[len(self._root) :] if inside else ""
            known = inside and not rest.startswith(".") and "site-packages" not in rest
            self._is_project[file] = known
        return known

    def _digest(self, code: CodeType, doc: str | None) -> str:
        known = self._digests.get(code)
        if known is None:
            known = self._digests[code] = sha256(repr(_normal(code, doc)).encode()).hexdigest()[:16]
        return known

    def _source(self, code: CodeType) -> str:
        lines = self._lines.get(code.co_filename)
        if lines is None:
            try:
                lines = Path(code.co_filename).read_text(encoding="utf-8").splitlines()
            except OSError:
                lines = []
            self._lines[code.co_filename] = lines
        last = max(line for inner in _nested(code) for _, _, line in inner.co_lines() if line is not None)
        return "\n".join(lines[code.co_firstlineno - 1 : last])


def _normal(code: CodeType, doc: str | None) -> tuple[Any, ...]:
    constants = list(code.co_consts)
    if doc is not None and constants and constants[0] == doc:
        constants[0] = None
    return (
        code.co_code,
        [_normal_constant(value) for value in constants],
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_argcount,
        code.co_kwonlyargcount,
        code.co_flags,
        code.co_exceptiontable,
    )


def _normal_constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _normal(value, None)
    if isinstance(value, frozenset):
        return ("frozenset", sorted(map(repr, value)))  # the order of a set is another one in each process
    return (type(value).__name__, value)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _imported(code: CodeType) -> Iterator[str]:
    """Give the names of the modules that the code imports while it runs."""
    extended = 0
    words = code.co_code
    for index in range(0, len(words), 2):
        operation, argument = words[index], words[index + 1] | extended
        if operation == _IMPORT_NAME:
            yield code.co_names[argument]
        extended = argument << 8 if operation == _EXTENDED_ARG else 0


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(kind).items():
        if isinstance(value, (FunctionType, staticmethod, classmethod, property)) or (
            not name.startswith("__") and is_plain(value)
        ):
            yield name, value


def _plain_digest(value: Any) -> str:
    return sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]


def _version(package: str) -> str:
    version = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(version, str):
        return version
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(package)
    except PackageNotFoundError:
        return "unknown"
