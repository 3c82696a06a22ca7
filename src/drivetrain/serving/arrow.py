"""What pyarrow reads for the server: bodies in zstd and brotli."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODECS = {"zstd": "zstd", "br": "brotli"}


def decompressed(body: bytes, encoding: str, *, step: int) -> Iterator[bytes]:
    """Yield what comes out of a body compressed by `zstd` or `br`, at most `step` bytes at once.

    Raises:
        MissingExtra: pyarrow is not installed.
        OSError: the body is cut off or broken.
    """
    try:
        import pyarrow
    except ImportError:
        purpose = f"reading a body compressed by {encoding}"
        raise MissingExtra(library="pyarrow", extra="arrow", purpose=purpose) from None
    with pyarrow.CompressedInputStream(pyarrow.BufferReader(body), _CODECS[encoding]) as stream:
        while part := stream.read(step):
            yield part
