"""How Schemathesis writes the bodies that it does not know: as they are."""

from __future__ import annotations

from typing import Any

import schemathesis

KINDS = (
    "application/x-ndjson",
    *(f"application/vnd.apache.{kind}" for kind in ("arrow.stream", "arrow.file", "parquet")),
)


@schemathesis.serializer(*KINDS)
def as_it_is(ctx: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@schemathesis.deserializer("text/html", "text/csv", *KINDS)
def as_text(ctx: Any, response: Any) -> str:
    return response.content.decode(errors="replace")
