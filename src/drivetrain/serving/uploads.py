"""Images that are sent as they are: as the whole body, or as a part of a form, as browsers send them."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from drivetrain.errors import RequestError

if TYPE_CHECKING:
    from drivetrain.serving.requests import Reader
    from drivetrain.serving.route import Request

FORM = "multipart/form-data"
UPLOADS = (FORM, "image/png", "image/jpeg", "image/webp")
_BOUNDARY = re.compile(r'boundary="?([^";\s]{1,200})"?', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="([^"\r\n]{0,200})"')
_MAX_PARTS = 200


def is_upload(content_type: str) -> bool:
    """Return whether a body of a type is an upload.

    >>> is_upload("multipart/form-data; boundary=x"), is_upload("application/json")
    (True, False)
    """
    return content_type.partition(";")[0].strip().lower() in UPLOADS


def as_json_body(request: Request, reader: Reader) -> bytes:
    """Return an upload as the JSON body that says the same.

    The body of an image is the one field that takes an image; other fields may stand in the query. In a form, the part
    of a field that takes a text is that text, one that takes an image is its bytes, and any other is JSON. What is no
    JSON is a text, which the field takes or is refused with.

    Raises:
        RequestError: 400, the form cannot be read; 422, nothing here takes an image.
    """
    kind = request.headers.get("content-type") or ""
    kinds = {column.name: column.kind for column in reader.columns}
    given: list[tuple[str, bytes]] = [(name, value.encode()) for name, value in parse_qsl(request.query)]
    if kind.partition(";")[0].strip().lower() == FORM:
        given += _parts(request.body, kind)
    else:
        images = [name for name, each in kinds.items() if each == "image"]
        if len(images) != 1:
            found = "nothing that takes an image" if not images else f"{len(images)} fields that take an image"
            raise RequestError(status=422, message=f"the body is an image, and this model has {found}")
        given.append((images[0], request.body))
    # Written by hand: a name that stands twice is refused where the JSON is read.
    fields = [f"{_text(name)}:{_value(kinds.get(name, ''), value)}" for name, value in given]
    return ("{" + ",".join(fields) + "}").encode()


def _value(kind: str, value: bytes) -> str:
    if kind == "image":
        text = value[:8].lower()
        return _text(value.decode()) if text.startswith((b"http://", b"https://")) else _base64(value)
    try:
        told = value.decode()
    except UnicodeDecodeError:
        return _base64(value)
    if kind in ("str", "date", "datetime"):
        return _text(told)
    try:
        msgspec.json.decode(told.strip() or "null")
    except (msgspec.DecodeError, RecursionError):
        return _text(told)
    return told.strip() or "null"


def _base64(value: bytes) -> str:
    return f'"{base64.b64encode(value).decode()}"'


def _text(value: str) -> str:
    return msgspec.json.encode(value).decode()


def _parts(body: bytes, kind: str) -> list[tuple[str, bytes]]:
    """Return the parts of a form, each with its name."""
    found = _BOUNDARY.search(kind)
    if found is None:
        raise RequestError(status=400, message="the form's Content-Type names no boundary")
    pieces = (b"\r\n" + body).split(b"\r\n--" + found[1].encode())
    if len(pieces) < 3 or pieces[0] != b"" or not pieces[-1].startswith(b"--"):
        raise RequestError(status=400, message="the form cannot be read: its parts do not stand between boundaries")
    if len(pieces) > _MAX_PARTS:
        raise RequestError(status=413, message=f"the form has more than {_MAX_PARTS} parts")
    parts: list[tuple[str, Any]] = []
    for piece in pieces[1:-1]:
        head, separator, value = piece.partition(b"\r\n\r\n")
        line = next((each for each in head.split(b"\r\n") if each[:20].lower() == b"content-disposition:"), b"")
        name = _NAME.search(line)
        if not separator or name is None:
            raise RequestError(status=400, message="a part of the form has no name")
        parts.append((name[1].decode(errors="replace"), value))
    return parts
