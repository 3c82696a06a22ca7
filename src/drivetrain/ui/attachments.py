"""What steps attached: how each is shown on its run's page, and its bytes, which a browser never trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import msgspec
import polars as pl
from starlette.responses import FileResponse

from drivetrain.errors import NotFound
from drivetrain.pipeline.attachment import Attachment, attachments_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from drivetrain.pipeline.run import StepRun
    from drivetrain.ui.console import Console

MOST_CHARACTERS = 20_000
MOST_ROWS, MOST_COLUMNS = 12, 16
# Larger ones are offered as a file.
MOST_SHOWN_BYTES = 20 << 20
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"})
_TEXTS = frozenset({"text/plain", "text/csv", "text/markdown", "application/json", "application/x-yaml"})
# Opened on its own, an attachment has no origin: it reaches neither the console nor any other address.
_ALONE = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'self'"
_PAGE = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)

AttachmentKind = Literal["image", "page", "text", "table", "file"]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """An attachment, and as much of it as a page can hold."""

    attachment: Attachment
    kind: AttachmentKind
    address: str
    text: str = ""
    columns: list[str] = []
    rows: list[list[str]] = []
    is_cut: bool = False


def shown(console: Console, steps: Iterable[StepRun]) -> list[Shown]:
    """Return what the steps of a run attached, in order."""
    return [_shown(console, each) for each in attachments_of(console.store, steps)]


def answer(console: Console, request: Request) -> Response:
    """Return the bytes of an attachment.

    Raises:
        NotFound: nothing is attached under that name.
    """
    asked = request.query_params
    key = (request.path_params["run"], asked.get("step", ""), asked.get("name", ""))
    found = console.store.ledger.get(Attachment, *key)
    if found is None:
        raise NotFound(kind="attachment", name=key[2], remedy="its run's page lists what there is")
    kind = _kind(found)
    media_type = "text/plain; charset=utf-8" if kind == "text" else found.media_type
    is_open = kind in ("image", "page", "text")
    return FileResponse(
        console.store.artifacts.path(found.artifact.digest),
        media_type=media_type if is_open else "application/octet-stream",
        filename=found.file or found.name,
        content_disposition_type="inline" if is_open else "attachment",
        headers={
            "content-security-policy": _PAGE if kind == "page" else _ALONE,
            # It is framed by the run's page, and by nothing else.
            "x-frame-options": "SAMEORIGIN",
        },
    )


def _kind(attachment: Attachment) -> AttachmentKind:
    if attachment.artifact.size_bytes > MOST_SHOWN_BYTES:
        return "file"
    if attachment.media_type in _IMAGES:
        return "image"
    if attachment.media_type == "text/html":
        return "page"
    if attachment.artifact.format == "parquet":
        return "table"
    return "text" if attachment.media_type in _TEXTS else "file"


def _shown(console: Console, attachment: Attachment) -> Shown:
    kind = _kind(attachment)
    address = (
        f"/attachments/{quote(attachment.run, safe='')}"
        f"?step={quote(attachment.step, safe='')}&name={quote(attachment.name, safe='')}"
    )
    artifacts, digest = console.store.artifacts, attachment.artifact.digest
    if not artifacts.has(digest):
        return Shown(attachment=attachment, kind="file", address=address)
    if kind == "text":
        data = artifacts.get(digest)
        if attachment.media_type == "application/json" and len(data) < MOST_CHARACTERS:
            data = _indented(data)
        text = data[: 4 * MOST_CHARACTERS].decode(errors="replace")
        is_cut = len(text) > MOST_CHARACTERS
        return Shown(attachment=attachment, kind=kind, address=address, text=text[:MOST_CHARACTERS], is_cut=is_cut)
    if kind == "table":
        table = pl.read_parquet(artifacts.path(digest), n_rows=MOST_ROWS, glob=False)
        rows = attachment.artifact.rows
        return Shown(
            attachment=attachment,
            kind=kind,
            address=address,
            columns=table.columns[:MOST_COLUMNS],
            rows=[[_cell(value) for value in row[:MOST_COLUMNS]] for row in table.iter_rows()],
            is_cut=len(table.columns) > MOST_COLUMNS or (rows is not None and rows > MOST_ROWS),
        )
    return Shown(attachment=attachment, kind=kind, address=address)


def _indented(data: bytes) -> bytes:
    try:
        return msgspec.json.format(data)
    except msgspec.DecodeError:
        return data  # a file that only bears the name


def _cell(value: object) -> str:
    text = "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"
