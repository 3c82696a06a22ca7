"""Messages made from the text of a .proto file while the program runs, without generated modules.

Generated modules refuse to work with another major version of protobuf than the one that made them; text does not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORD = re.compile(r'//[^\n]*|"[^"]*"|[\w.]+|[^\w\s]')
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_FIELD, f"TYPE_{name.upper()}")
    for name in ("double", "float", "int64", "uint64", "int32", "uint32", "bool", "string", "bytes")
}


class Protos:
    """The messages and services of some .proto files, in a pool of their own.

    A program that also has the generated modules of the same protocol does not meet these.

    >>> protos = Protos({"a.proto": 'syntax = "proto3"; package a; message Row { optional double x = 1; }'})
    >>> row = protos.message("a.Row")(x=0.5)
    >>> protos.message("a.Row").FromString(row.SerializeToString()).x
    0.5
    """

    def __init__(self, texts: dict[str, str]) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        self.files = {name: _Parser(name, text).file() for name, text in texts.items()}
        for file in self.files.values():
            self._pool.Add(file)
        self._classes: dict[str, Any] = {}

    def message(self, name: str) -> Any:
        """Return the class of a message by its full name; what it is made of is known only while the program runs."""
        found = self._classes.get(name)
        if found is None:
            found = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))
            self._classes[name] = found
        return found

    def services(self) -> list[str]:
        """Return the full names of the services."""
        return [f"{file.package}.{service.name}" for file in self.files.values() for service in file.service]

    def methods(self) -> Iterator[tuple[str, Any]]:
        """Yield each method's path, such as `/a.B/C`, with its descriptor."""
        for file in self.files.values():
            for service in file.service:
                for method in service.method:
                    yield f"/{file.package}.{service.name}/{method.name}", method

    def file_with(self, symbol: str) -> bytes:
        """Return the descriptor of the file that declares a message, field, service or method.

        Raises:
            KeyError: none does.
        """
        return bytes(self._pool.FindFileContainingSymbol(symbol).serialized_pb)

    def file_named(self, name: str) -> bytes:
        """Return the descriptor of a file.

        Raises:
            KeyError: there is none of this name.
        """
        return bytes(self._pool.FindFileByName(name).serialized_pb)


class _Parser:
    """Reads the part of proto3 that the files here are written in: messages, enums, maps, oneofs and services."""

    def __init__(self, name: str, text: str) -> None:
        self._words: list[str] = [word for word in _WORD.findall(text) if not word.startswith("//")]
        self._at = 0
        self._file = descriptor_pb2.FileDescriptorProto(name=name, syntax="proto3")

    def file(self) -> Any:
        while self._at < len(self._words):
            word = self._next()
            if word == "message":
                self._message(self._file.message_type.add())
            elif word == "enum":
                self._enum(self._file.enum_type.add())
            elif word == "service":
                self._service(self._file.service.add())
            elif word == "package":
                self._file.package = self._next()
                self._skip(";")
            elif word == "syntax":
                self._skip("=", '"proto3"', ";")
            else:
                raise ValueError(f"{self._file.name}: {word!r} is not understood")
        self._resolve()
        return self._file

    def _next(self) -> str:
        self._at += 1
        return self._words[self._at - 1]

    def _skip(self, *words: str) -> None:
        for word in words:
            found = self._next()
            if found != word:
                raise ValueError(f"{self._file.name}: {found!r} stands where {word!r} should")

    def _is_next(self, word: str) -> bool:
        """Return whether a word comes next, and pass it if so."""
        if self._words[self._at] != word:
            return False
        self._at += 1
        return True

    def _message(self, message: Any) -> None:
        message.name = self._next()
        self._skip("{")
        while not self._is_next("}"):
            if self._is_next("message"):
                self._message(message.nested_type.add())
            elif self._is_next("enum"):
                self._enum(message.enum_type.add())
            elif self._is_next("oneof"):
                message.oneof_decl.add(name=self._next())
                self._skip("{")
                while not self._is_next("}"):
                    self._field(message, self._next(), _FIELD.LABEL_OPTIONAL).oneof_index = len(message.oneof_decl) - 1
            elif self._is_next("map"):
                self._map(message)
            elif self._is_next("repeated"):
                self._field(message, self._next(), _FIELD.LABEL_REPEATED)
            elif self._is_next("optional"):
                self._field(message, self._next(), _FIELD.LABEL_OPTIONAL).proto3_optional = True
            else:
                self._field(message, self._next(), _FIELD.LABEL_OPTIONAL)
        # What says whether an optional field is set is a oneof of its own, behind those that were declared.
        for field in message.field:
            if field.proto3_optional:
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")

    def _field(self, message: Any, kind: str, label: int) -> Any:
        field = message.field.add(name=self._next(), label=label)
        self._skip("=")
        field.number = int(self._next())
        self._skip(";")
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type_name = kind
        return field

    def _map(self, message: Any) -> None:
        self._skip("<")
        key = self._next()
        self._skip(",")
        value = self._next()
        self._skip(">")
        name = self._words[self._at]
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL, type=_SCALARS[key])
        held = entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL)
        if value in _SCALARS:
            held.type = _SCALARS[value]
        else:
            held.type_name = value
        self._field(message, entry.name, _FIELD.LABEL_REPEATED)

    def _enum(self, enum: Any) -> None:
        enum.name = self._next()
        self._skip("{")
        while not self._is_next("}"):
            value = enum.value.add(name=self._next())
            self._skip("=")
            value.number = int(self._next())
            self._skip(";")

    def _service(self, service: Any) -> None:
        service.name = self._next()
        self._skip("{")
        while not self._is_next("}"):
            self._skip("rpc")
            method = service.method.add(name=self._next())
            self._skip("(")
            method.client_streaming = self._is_next("stream")
            method.input_type = self._next()
            self._skip(")", "returns", "(")
            method.server_streaming = self._is_next("stream")
            method.output_type = self._next()
            self._skip(")", ";")

    def _resolve(self) -> None:
        """Write the full name of each type where it is used, as those who read descriptors expect."""
        kinds: dict[str, int] = {}
        package = f".{self._file.package}"

        def collect(message: Any, scope: str) -> None:
            kinds[f"{scope}.{message.name}"] = _FIELD.TYPE_MESSAGE
            for enum in message.enum_type:
                kinds[f"{scope}.{message.name}.{enum.name}"] = _FIELD.TYPE_ENUM
            for nested in message.nested_type:
                collect(nested, f"{scope}.{message.name}")

        def found(name: str, scope: str) -> str:
            while f"{scope}.{name}" not in kinds:
                if not scope:
                    raise ValueError(f"{self._file.name}: the type {name!r} is not declared")
                scope = scope.rpartition(".")[0]
            return f"{scope}.{name}"

        def settle(message: Any, scope: str) -> None:
            scope = f"{scope}.{message.name}"
            for field in message.field:
                if field.type_name:
                    field.type_name = found(field.type_name, scope)
                    field.type = kinds[field.type_name]
            for nested in message.nested_type:
                settle(nested, scope)

        for enum in self._file.enum_type:
            kinds[f"{package}.{enum.name}"] = _FIELD.TYPE_ENUM
        for message in self._file.message_type:
            collect(message, package)
        for message in self._file.message_type:
            settle(message, package)
        for service in self._file.service:
            for method in service.method:
                method.input_type = found(method.input_type, package)
                method.output_type = found(method.output_type, package)
