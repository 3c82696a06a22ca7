"""What a step's outcome depends on in code: its function, the project code that it reaches, the packages it uses."""

from __future__ import annotations

import linecache
import sys
from functools import cached_property, singledispatchmethod
from hashlib import file_digest
from importlib.util import resolve_name
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodDescriptorType, ModuleType, WrapperDescriptorType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from drivetrain.errors import Place
from drivetrain.pipeline import members
from drivetrain.pipeline.bytecode import Uses, digest_of_code, nested, uses_of
from drivetrain.pipeline.constant import Constant, constant_of, text_of
from drivetrain.pipeline.ownership import (
    is_users,
    is_users_module,
    locate,
    module_code,
    module_is_users,
    version_of,
)
from drivetrain.pipeline.source import Texts
from drivetrain.system.function import FunctionPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Code(msgspec.Struct):
    """The code that a function reaches.

    `ingredients` has a digest for each function, class, module and constant of the user's (`code.flights.clean`,
    `constant.flights.LIMIT`) and the version of each package (`package.polars`). `sources` has the text behind a
    digest. `warnings` name what cannot be followed, with its place. `texts` are those that may name a file,
    and `reads` says whether anything is read.
    """

    ingredients: dict[str, str]
    sources: Texts
    warnings: list[str]
    texts: set[str]
    reads: bool = False


class _Found(NamedTuple):
    """Something that is used: under which name, where that name stands, and the function that uses it.

    What lies within a package's function is `quiet`: the package's version stands for most of it.
    """

    value: Any
    name: str
    owner: str
    user: Any  # a function or None; mypy takes a function in a named tuple for a method of it
    quiet: bool = False


class CodeReader:
    """Follows the names that functions use; what was read of compiled code once is not read again."""

    def __init__(self, root: Path) -> None:
        self.root = str(root.resolve()) + "/"
        self._digests: dict[int, tuple[str, CodeType]] = {}
        self._uses: dict[int, tuple[Uses, CodeType]] = {}
        self._modules: dict[str, tuple[CodeType | None, dict[str, list[CodeType]]]] = {}
        self._lines: dict[str, list[str]] = {}
        self._files: dict[str, str] = {}

    def read(self, function: Any, annotations: Mapping[str, Any] | None = None, *, names_files: bool = False) -> Code:
        """Return the code that `function` reaches.

        Its `annotations` decide the form of what it takes and gives. The texts in it may be names of files where it
        `names_files`, or names something like `read_csv`.
        """
        reading = _Reading(self, function, names_files)
        reading.follow(_Found(function, "", getattr(function, "__module__", ""), None))
        for name, hint in (annotations or {}).items():
            reading.code.ingredients[f"annotation.{name}"] = members.told(hint)
            for kind in members.classes_in(hint):
                reading.follow(_Found(kind, name, kind.__module__, function))
        return reading.code

    def digest(self, code: CodeType) -> str:
        """Return the digest of compiled code, worked out once."""
        known = self._digests.get(id(code))
        if known is None:
            known = self._digests[id(code)] = (digest_of_code(code), code)
        return known[0]

    def uses(self, code: CodeType) -> Uses:
        """Return what compiled code names, worked out once."""
        known = self._uses.get(id(code))
        if known is None:
            known = self._uses[id(code)] = (uses_of(code), code)
        return known[0]

    def module(self, file: str) -> tuple[CodeType | None, dict[str, list[CodeType]]]:
        """Return the code of a module's file, and what is defined in it by its qualified name."""
        if file not in self._modules:
            code = module_code(file) if file else None
            named: dict[str, list[CodeType]] = {}
            for inner in nested(code) if code is not None else ():
                named.setdefault(inner.co_qualname, []).append(inner)
            self._modules[file] = code, named
        return self._modules[file]

    def locate(self, name: str) -> str:
        """Return the file of a module of the user's, looked for once."""
        if name not in self._files:
            self._files[name] = locate(name)
        return self._files[name]

    def source(self, code: CodeType) -> str:
        """Return the text that a code object was compiled from."""
        lines = self.lines(code.co_filename)
        last = max((line for inner in nested(code) for _, _, line in inner.co_lines() if line is not None), default=0)
        return "\n".join(lines[code.co_firstlineno - 1 : last])

    def lines(self, file: str) -> list[str]:
        """Return the lines of a file, or of what was typed into a notebook."""
        if file not in self._lines:
            try:
                self._lines[file] = Path(file).read_text(encoding="utf-8").splitlines()
            except (OSError, ValueError):
                self._lines[file] = [line.rstrip("\n") for line in linecache.getlines(file)]
        return self._lines[file]


class _Reading:
    """One walk from a function to all that it reaches."""

    def __init__(self, reader: CodeReader, step: Any, names_files: bool) -> None:
        self.reader, self.step, self.names_files = reader, step, names_files
        self.code = Code(ingredients={}, sources=Texts(), warnings=[], texts=set())
        version = ".".join(map(str, sys.version_info[:2]))
        self.code.ingredients["package.python"] = version
        self._seen: dict[int, Any] = {}
        self._constants: dict[int, Constant] = {}
        self._stack: list[_Found] = []

    def follow(self, found: _Found) -> None:
        """Take something and all that it leads to."""
        self._stack.append(found)
        while self._stack:
            self._take(self._stack.pop())

    def _take(self, found: _Found) -> None:
        value = found.value
        if isinstance(value, FunctionPart):
            value = value.function
        elif isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if id(value) in self._seen and not _is_constant(value):
            return
        self._seen[id(value)] = value  # kept alive, so that no other object gets its identity
        if isinstance(value, property):
            self._push(found, [part for part in (value.fget, value.fset, value.fdel) if part is not None])
        elif isinstance(value, cached_property):
            self._push(found, [value.func])
        elif isinstance(value, singledispatchmethod):
            self._push(found, [value.func, value.dispatcher])
        elif isinstance(value, FunctionType):
            self._function(value, found)
        elif isinstance(value, type):
            self._class(value, found)
        elif isinstance(value, ModuleType):
            self._module(value.__name__, getattr(value, "__file__", None) or "")
        elif isinstance(value, BuiltinFunctionType) and (
            value.__self__ is None or isinstance(value.__self__, ModuleType)
        ):
            self._native(value.__module__ or "builtins", found)
        elif isinstance(value, (MethodDescriptorType, WrapperDescriptorType)):
            self._package(value.__objclass__.__module__, found)
        elif hasattr(value, "__wrapped__"):
            self._package(type(value).__module__, found)
            self._push(found, [value.__wrapped__])
        else:
            self._constant(value, found)

    def _push(self, found: _Found, values: Iterable[Any]) -> None:
        self._stack.extend(found._replace(value=value) for value in values)

    def _function(self, function: FunctionType, found: _Found) -> None:
        code, home = function.__code__, function.__globals__.get("__name__", "")
        file = code.co_filename
        if not (is_users(file) or (file.startswith("<") and module_is_users(home))):
            self._foreign(function, home, found)
            return
        label = f"{home}.{code.co_qualname}"  # a wrapper borrows the name of what it wraps
        self._put(f"code.{label}", self.reader.digest(code), lambda: self.reader.source(code))
        if function is not self.step:  # a step's own defaults are its settings
            for name, value in members.defaults_of(function):
                self._stack.append(_Found(value, f"{code.co_qualname}({name})", home, function))
        uses = self.reader.uses(code)
        self._files(uses, function)
        self._names(uses, function.__globals__, home, function)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if (value := members.content(cell)) is not members.EMPTY:
                self._stack.append(_Found(value, f"{code.co_qualname}.{name}", home, function))
        for name, value in vars(function).items():
            self._stack.append(_Found(value, f"{code.co_qualname}.{name}", home, function))

    def _foreign(self, function: FunctionType, home: str, found: _Found) -> None:
        """Take a package's function: its version counts, and what a decorator of its keeps of the user's."""
        self._package(home, found)
        registry = getattr(function, "registry", None)
        if hasattr(function, "dispatch") and registry is not None:  # functools.singledispatch
            for kind, value in registry.items():
                self._stack.append(found._replace(value=value, name=f"{found.name}[{kind.__qualname__}]"))
            return
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            value = members.content(cell)
            # Its caches change while it works.
            if value is not members.EMPTY and not isinstance(value, (dict, set)):
                self._stack.append(found._replace(value=value, name=f"{found.name}.{name}", quiet=True))
        if hasattr(function, "__wrapped__"):
            self._push(found, [function.__wrapped__])

    def _names(self, uses: Uses, variables: Mapping[str, Any], home: str, user: FunctionType | None) -> None:
        for chain in uses.chains:
            if chain[0] in variables and chain[0] != "__name__":
                self._resolve(variables[chain[0]], chain, home, user)
        for name in sorted(uses.changed | uses.mutated):
            value = variables.get(name, members.EMPTY)
            if user is None or (name not in uses.changed and not members.is_container(value)):
                continue
            self._warn(
                user,
                f"{name!r} is changed by {user.__qualname__} while it runs; "
                "what it holds then is no part of a key, only what it holds before",
            )
        package = variables.get("__package__") or home.rpartition(".")[0]
        for wanted in uses.imports:
            self._import(wanted.module, wanted.level, wanted.names, package, user)

    def _resolve(self, value: Any, chain: tuple[str, ...], home: str, user: FunctionType | None) -> None:
        """Follow `module.name` through modules of the user's to the thing itself."""
        name, rest = chain[0], chain[1:]
        while isinstance(value, ModuleType) and is_users_module(value):
            home = value.__name__
            if not rest or rest[0] not in vars(value):
                # The module as such, or a name that it only makes when asked: all of it may be used.
                file = self.reader.locate(f"{home}.{rest[0]}") if rest else ""
                if file:
                    self._module(f"{home}.{rest[0]}", file)
                else:
                    self._module(home, getattr(value, "__file__", None) or "")
                return
            name, value, rest = rest[0], vars(value)[rest[0]], rest[1:]
        if isinstance(value, ModuleType):
            self._package(".".join((value.__name__, *rest)), _Found(value, name, home, user))
        else:
            self._stack.append(_Found(value, name, home, user))

    def _import(self, module: str, level: int, names: tuple[str, ...], package: str, user: FunctionType | None) -> None:
        """Take a module that is imported while the function runs: as a whole, whether it is loaded yet or not."""
        try:
            name = resolve_name("." * level + module, package)
        except ImportError:
            return
        file = self.reader.locate(name)
        if file:
            self._module(name, file)
        else:
            self._package(name, _Found(None, name, package, user))
        for submodule in names:
            file = self.reader.locate(f"{name}.{submodule}") if submodule != "*" else ""
            if file:
                self._module(f"{name}.{submodule}", file)

    def _module(self, name: str, file: str) -> None:
        """Take a whole module of the user's with all that it imports in turn; a package counts by its version."""
        if not is_users(file):
            if not module_is_users(name):
                self._package(name, None)
            return
        label = f"module.{name}"
        if label in self.code.ingredients:
            return
        code, _ = self.reader.module(file)
        if code is None:
            self._bytes(label, file)
            return
        self._put(label, self.reader.digest(code), lambda: "\n".join(self.reader.lines(file)))
        package = name if file.endswith("__init__.py") else name.rpartition(".")[0]
        uses = self.reader.uses(code)
        self._files(uses, None)
        for wanted in uses.imports:
            self._import(wanted.module, wanted.level, wanted.names, package, None)

    def _class(self, kind: type, found: _Found) -> None:
        home = kind.__module__
        if not module_is_users(home) or home in ("builtins", ""):
            self._package(home, found)
            return
        label = f"{home}.{kind.__qualname__}"
        module = sys.modules.get(home)
        _, named = self.reader.module(getattr(module, "__file__", None) or "")
        bodies = named.get(kind.__qualname__, [])
        for body in bodies:
            self._put(f"code.{label}", self.reader.digest(body), lambda body=body: self.reader.source(body))
            uses = self.reader.uses(body)
            self._names(uses, vars(module), home, None)
            self._files(uses, None)
        for name, value in members.members_of(kind):
            self._stack.append(_Found(value, f"{kind.__qualname__}.{name}", home, found.user))
        for base in (*kind.__bases__, type(kind)):
            if base not in (object, type):
                self._stack.append(found._replace(value=base))

    def _constant(self, value: Any, found: _Found) -> None:
        if found.quiet and not isinstance(value, (str, int, float, bool, bytes, tuple, list)):
            if module_is_users(type(value).__module__):
                self._stack.append(found._replace(quiet=False))
            return
        constant = self._constants.get(id(value)) or constant_of(value, root=self.reader.root)
        self._constants[id(value)] = constant
        self._put(f"constant.{found.owner}.{found.name}", constant.digest, lambda: text_of(found.name, value))
        if isinstance(value, (str, Path)) and found.user is not None:
            self._files(self.reader.uses(found.user.__code__)._replace(texts=frozenset({str(value)})), found.user)
        self._push(found, constant.reached)
        for kind in constant.opaque:
            self._warn(
                found.user,
                f"{found.name!r} is {kind}, whose contents cannot be followed; "
                "a change of it alone will not run the step again",
            )

    def _files(self, uses: Uses, function: FunctionType | None) -> None:
        """Note the texts that may name a file."""
        if uses.reads or (self.names_files and function is self.step):
            self.code.texts |= uses.texts
            self.code.reads = True

    def _native(self, module: str, found: _Found) -> None:
        loaded = sys.modules.get(module)
        file = getattr(loaded, "__file__", None) or ""
        if is_users(file):
            self._bytes(f"module.{module}", file)
        elif loaded is None:
            self._warn(found.user, f"{found.name!r} is native code of {module}, of which no version is known")
        else:
            self._package(module, found)

    def _bytes(self, label: str, file: str) -> None:
        try:
            with open(file, "rb") as opened:
                self._put(label, file_digest(opened, "sha256").hexdigest()[:16], lambda: "")
        except OSError:
            self.code.warnings.append(f"{file}: {label} cannot be read, so that a change of it is not noticed")

    def _package(self, module: str, found: _Found | None) -> None:
        name, version = version_of(module)
        if not name or self.code.ingredients.get(f"package.{name}") == version:
            return
        self.code.ingredients[f"package.{name}"] = version
        if version == "unknown":
            self._warn(
                found.user if found else None,
                f"no version of the package {name!r} is known; a change of it will not run the step again",
            )

    def _put(self, label: str, digest: str, text: Any) -> None:
        """Add an ingredient; of two things that go by one name, both count."""
        name, number = label, 1
        while self.code.ingredients.get(name, digest) != digest:
            number += 1
            name = f"{label} ({number})"
        self.code.ingredients[name] = digest
        self.code.sources.add(digest, text)

    def _warn(self, user: FunctionType | None, text: str) -> None:
        place = Place(user.__code__.co_filename, user.__code__.co_firstlineno) if user else None
        warning = f"{place}: {text}" if place else text
        if warning not in self.code.warnings:
            self.code.warnings.append(warning)


def _is_constant(value: Any) -> bool:
    """Return whether a value counts under each name that it goes by."""
    return not (
        isinstance(value, (type, FunctionType, ModuleType, property, BuiltinFunctionType))
        or hasattr(value, "__wrapped__")
    )
