"""Bytes as they are; anything else that is kept can be read as bytes too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.store.codecs.codec import READERS, Written

if TYPE_CHECKING:
    from pathlib import Path


class BytesCodec:
    """Keeps bytes."""

    formats = frozenset(READERS)
    shares = True

    def write(self, value: Any, path: Path) -> Written:
        path.write_bytes(value)
        return Written("bytes")

    def read(self, path: Path, form: Any) -> bytes:
        return path.read_bytes()


CODEC = BytesCodec()
