"""What the layout promises: who may import whom, where vendors live, what an import costs, how large a module grows.

Everything here reads the source as it is, so that a new file is held to the rules without being named.
"""

import ast
import collections.abc
import importlib
import inspect
import json
import pickle
import re
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import drivetrain

SOURCE = Path(__file__).parents[1] / "src" / "drivetrain"

ORDER = (
    *("errors", "store", "security", "system"),
    *(
        "data",
        "pipeline",
        "training",
        "registry",
        "experiments",
        "serving",
        "load",
        "monitoring",
        "deployment",
        "llm",
        "trust",
    ),
    *("testing", "ui", "cli"),
)
"""The way the data flows. A package imports itself and what stands before it (see the design, part 3)."""

BASE = {"polars", "numpy", "msgspec", "granian", "uvloop", "starlette", "jinja2", "markupsafe", "rich"}
"""What every installation has. Anything else from outside is a vendor, and lives in the file that bears its name."""

VENDOR_FILES = {
    "PIL": {"image"},
    "adbc_driver_postgresql": {"postgresql"},
    "google": {"grpc", "pubsub"},
    "onnxruntime": {"onnx", "onnxruntime"},
    "onnxmltools": {"onnx"},
    "confluent_kafka": {"kafka"},
    "pyarrow": {"arrow", "pyarrow", "pandas"},
    "safetensors": {"torch", "safetensors"},
    "skl2onnx": {"onnx"},
    "skops": {"sklearn", "skops"},
}
"""Vendors that come in another's company: which files, besides the one of their own name, may import them."""

HEAVY = {"polars", "numpy", "granian", "rich", "starlette", "asyncio"}
"""Installed with us, and still too slow to load for a command that needs none of them."""

LONG = 400
LONG_MODULES: dict[str, str] = {"errors.py": "every error stands in one tree, and each is a few lines"}
"""Modules above `LONG` lines, as `stage/file.py`, each with the reason why it reads better whole."""

# A file of cli/ bears the name of its command, and one of them lists models.
NAMELESS = {"utils", "util", "helpers", "common", "manager", "managers", "models", "misc"}


@dataclass(frozen=True, kw_only=True)
class Import:
    """One import as it stands in a file, wherever in the file that is."""

    file: Path
    line: int
    target: str

    def __str__(self) -> str:
        return f"src/drivetrain/{self.file.relative_to(SOURCE)}:{self.line} imports {self.target}"

    @property
    def importer(self) -> str:
        """The package, or top-level module, that imports."""
        return self.file.relative_to(SOURCE).parts[0].removesuffix(".py")

    @property
    def is_ours(self) -> bool:
        return self.target.split(".")[0] == "drivetrain"


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def dotted(file: Path) -> str:
    parts = ("drivetrain", *file.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def names_our_module(text: str) -> bool:
    """Whether a string is the dotted path of a package of ours, as tables of things to load later hold it."""
    match = re.fullmatch(r"drivetrain\.(\w+)[\w.]*(:\w+)?", text)
    return match is not None and match[1] in ORDER


def imports(file: Path) -> Iterator[Import]:
    """Yield every import of a file: at its top, inside functions, for types only, and by a string."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = dotted(file).split(".") if file.name == "__init__.py" else dotted(file).split(".")[:-1]
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                targets = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0, module=str(module)):
                targets = [f"{module}.{alias.name}" for alias in node.names]
            case ast.ImportFrom(level=level, module=module):
                base = [*package[: len(package) - level + 1], *([module] if module else [])]
                targets = [".".join([*base, alias.name]) for alias in node.names]
            case ast.Call(func=ast.Name(id="import_module" | "__import__"), args=[ast.Constant(value=str(name)), *_]):
                targets = [name]
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                targets = [name]
            case ast.Constant(value=str(text)) if names_our_module(text):
                targets = [text.split(":")[0]]
            case _:
                continue
        # Parts of a pattern have no line of their own, but statements, calls and constants do.
        yield from (Import(file=file, line=node.lineno, target=target) for target in targets)


def listing(found: list[Any]) -> str:
    return "\n  ".join(["", *map(str, found)])


def test_every_package_stands_in_the_order() -> None:
    packages = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in modules()}

    strangers = packages - set(ORDER) - {"__init__", "__main__"}

    assert not strangers, f"give these a place in ORDER, and in the layout of the docs: {sorted(strangers)}"


def test_a_package_imports_only_what_stands_before_it() -> None:
    # The face, drivetrain/__init__.py, shows the stages and is seen by the surfaces; __main__ starts the commands.
    places = [*ORDER[: ORDER.index("ui")], "__init__", *ORDER[ORDER.index("ui") :], "__main__"]
    rank = {name: place for place, name in enumerate(places)}

    backwards = []
    for found in (each for file in modules() for each in imports(file) if each.is_ours):
        target = found.target.removeprefix("drivetrain").lstrip(".").split(".")[0]
        if target == "__version__":  # the one name of the face that stands before everything
            continue
        if rank.get(target, rank["__init__"]) > rank.get(found.importer, -1):
            backwards.append(found)

    assert not backwards, f"move the shared noun to the earlier package, or pass it in:{listing(backwards)}"


def test_a_vendor_is_imported_only_in_the_file_that_bears_its_name() -> None:
    astray = []
    for found in (each for file in modules() for each in imports(file) if not each.is_ours):
        vendor = found.target.split(".")[0]
        if vendor in BASE or vendor in sys.stdlib_module_names:
            continue
        relative = found.file.relative_to(SOURCE)
        names = {part.removesuffix(".py") for part in relative.parts[1:]}
        if not names & ({vendor} | VENDOR_FILES.get(vendor, set())):
            astray.append(found)

    assert not astray, f"only in the file of that name, or of a name in VENDOR_FILES:{listing(astray)}"


def test_nothing_but_an_absent_vendor_keeps_a_module_from_being_imported() -> None:
    failures = []
    for file in modules():
        if file.name == "__main__.py":
            continue
        try:
            importlib.import_module(dotted(file))
        except ImportError as error:
            vendors = {each.target.split(".")[0] for each in imports(file) if not each.is_ours} - BASE
            if (error.name or "").split(".")[0] not in vendors - sys.stdlib_module_names:
                failures.append(f"{dotted(file)}: {error}")

    assert not failures, listing(failures)


def after(statement: str) -> dict[str, Any]:
    """Return what a fresh interpreter has loaded, started and hooked once it has run the statement."""
    # What the interpreter and the environment's own .pth files load before us is not ours to answer for.
    program = f"""
import sys
before, finders, tracers = set(sys.modules), list(sys.meta_path), (sys.excepthook, sys.displayhook)
{statement}
loaded = sorted({{name.split(".")[0] for name in set(sys.modules) - before}})
import json, threading, warnings
print(json.dumps({{
    "loaded": loaded,
    "threads": threading.active_count(),
    "hooked": sys.meta_path != finders or (sys.excepthook, sys.displayhook) != tracers,
}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_importing_drivetrain_loads_nothing_heavy_and_starts_nothing() -> None:
    vendors = {each.target.split(".")[0] for file in modules() for each in imports(file) if not each.is_ours}
    optional = vendors - BASE - sys.stdlib_module_names

    seen = after("import drivetrain")

    assert not set(seen["loaded"]) & (HEAVY | optional)
    assert seen["threads"] == 1
    assert not seen["hooked"]


def test_a_long_module_says_why() -> None:
    lines = {str(file.relative_to(SOURCE)): len(file.read_text(encoding="utf-8").splitlines()) for file in modules()}

    longer = {name: count for name, count in lines.items() if count > LONG}

    assert not longer.keys() - LONG_MODULES.keys(), f"split these, or give a reason in LONG_MODULES: {longer}"
    assert not LONG_MODULES.keys() - longer.keys(), "LONG_MODULES names a module that is no longer long: remove it"


def test_every_module_has_a_name_of_its_own() -> None:
    named = [dotted(file) for file in modules() if file != SOURCE / "cli" / "models.py"]

    nameless = [name for name in named if NAMELESS & set(name.split("."))]

    assert not nameless, f"a thing without a name has not been understood yet: {nameless}"


def exported() -> list[str]:
    return list(getattr(drivetrain, "__all__", []))


def test_the_exported_names_are_sorted_and_unique() -> None:
    assert exported() == sorted(set(exported()))


@pytest.mark.parametrize("name", exported())
def test_an_exported_name_resolves_and_explains_itself(name: str) -> None:
    value = getattr(drivetrain, name)
    if isinstance(value, str | int | float | tuple):  # plain data, such as the version
        return

    text = inspect.getdoc(value) or ""

    assert text, f"drivetrain.{name} has no docstring"
    generated = f"{getattr(value, '__name__', name)}("
    assert not text.startswith(generated), f"drivetrain.{name} has only the docstring that dataclass made"


# Errors cross processes: executors, servers and the ledger's own worker hand them on by pickle.

ERROR_EXAMPLES: dict[str, Callable[[type[Exception]], Exception]] = {}
"""How to make an error when `example` cannot guess a value from an annotation: `"Name": lambda cls: cls(...)`."""

PLAIN_EXAMPLES: dict[Any, Any] = {
    type(None): None,
    bool: True,
    int: 3,
    float: 2.5,
    bytes: b"bytes",
    Path: Path("some.py"),
    datetime: datetime(2026, 1, 2, tzinfo=UTC),
}


def example(annotation: Any, name: str) -> Any:
    """Return a value of the annotated type, small and unlike a default."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return arguments[0]
    if origin in (typing.Union, types.UnionType):
        return example(next(each for each in arguments if each is not type(None)), name)
    if origin is tuple:
        return tuple(example(each, name) for each in arguments if each is not Ellipsis)
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        return {example(arguments[0], name): example(arguments[1], name)}
    if isinstance(origin, type) and issubclass(origin, set | frozenset):
        return origin([example(arguments[0], name)])
    if isinstance(origin, type) and issubclass(origin, collections.abc.Iterable):
        return [example(arguments[0], name)]
    if isinstance(annotation, type) and issubclass(annotation, BaseException):
        return annotation("cause")
    if annotation in (str, object, Any, inspect.Parameter.empty):
        return f"some {name}"
    if annotation in PLAIN_EXAMPLES:
        return PLAIN_EXAMPLES[annotation]
    if isinstance(annotation, type):  # a small value of ours
        return made(annotation)
    raise TypeError(f"no example for {annotation!r}: add the error to ERROR_EXAMPLES")


def made(cls: type) -> Any:
    """Return an instance of a class from examples of what its signature asks for."""
    parameters = inspect.signature(cls).parameters.values()
    # Names imported for types only are absent from the module itself, and a named tuple is made by its fields.
    for_types = {**vars(typing), **vars(collections.abc), "Path": Path, "datetime": datetime}
    initialiser = next(vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base))
    source = initialiser if isinstance(initialiser, types.FunctionType) else cls
    hints = typing.get_type_hints(source, for_types | vars(sys.modules[cls.__module__]))
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for each in parameters:
        value = example(hints.get(each.name, each.annotation), each.name)
        if each.kind is each.VAR_KEYWORD:
            continue
        if each.kind is each.KEYWORD_ONLY:
            named[each.name] = value
        else:
            positional.append(value)
    return cls(*positional, **named)


def errors_of(module: ModuleType) -> list[type[Exception]]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module.__name__
        if not value.__name__.startswith("_")  # such a one never leaves its file
    ]


ERRORS = errors_of(importlib.import_module("drivetrain.errors"))


def test_every_error_is_defined_in_the_one_tree() -> None:
    ours = [module for name, module in sys.modules.items() if name.split(".")[0] == "drivetrain"]

    roots = [error for error in ERRORS if not any(base in ERRORS for base in error.__mro__[1:])]
    elsewhere = [error.__qualname__ for module in ours for error in errors_of(module) if error not in ERRORS]

    assert len(roots) == 1, f"one root, not {[error.__name__ for error in roots]}"
    assert not elsewhere, f"define these in errors.py: {elsewhere}"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.__name__))
def test_an_error_survives_a_pickle(error: type[Exception]) -> None:
    make: Callable[[type[Exception]], Exception] = ERROR_EXAMPLES.get(error.__name__, made)
    given = make(error)

    seen = pickle.loads(pickle.dumps(given))

    assert type(seen) is error
    assert str(seen) == str(given)
    assert repr(vars(seen)) == repr(vars(given))
    assert error.__doc__
