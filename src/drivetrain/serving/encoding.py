"""Bodies that travel compressed: read up to the limit and no further, and written where that is worth it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from drivetrain.errors import MissingExtra, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Shorter answers fit a few packets as they are.
WORTH_BYTES = 16 << 10
# What takes longer than the loop can spare is done in a thread: at some 100 MB a second, half a millisecond.
QUICK_BYTES = 64 << 10
# Types of answers that no encoding makes smaller.
COMPRESSED = frozenset({"application/vnd.apache.parquet"})
_GZIP, _ZLIB, _RAW = 31, 15, -15
_STEP_BYTES = 1 << 20
_KNOWN = ("gzip", "deflate", "zstd", "br")


def decoded(body: bytes, encoding: str, *, limit: int) -> bytes:
    """Return what was compressed by a `Content-Encoding`, never holding more than `limit` bytes of it and a step.

    Raises:
        RequestError: 413, more comes out than is allowed; 400, it is cut off or broken; 415, the encoding is not known.

    >>> decoded(zlib.compress(b"rows"), "deflate", limit=10)
    b'rows'
    """
    name = encoding.strip().lower()
    if name == "identity":
        return body
    if name not in _KNOWN:
        message = f"send the body plain, or with `Content-Encoding: {'` or `'.join(_KNOWN)}`, not {encoding[:40]!r}"
        raise RequestError(status=415, message=message)
    parts, size = [], 0
    try:
        for part in _inflated(body, name) if name in ("gzip", "deflate") else _by_arrow(body, name):
            size += len(part)
            if size > limit:
                message = f"the body is too large: more than {limit:,} bytes come out of it, and no more are read"
                raise RequestError(status=413, message=message)
            parts.append(part)
    except MissingExtra as missing:
        message = f"this server cannot read `Content-Encoding: {name}`, but gzip and deflate: {missing.remedy}"
        raise RequestError(status=415, message=message) from None
    except (zlib.error, EOFError, OSError) as error:
        raise RequestError(status=400, message=f"the body is no {name}: {error}") from None
    return b"".join(parts)


def _inflated(body: bytes, name: str) -> Iterator[bytes]:
    """Yield what comes out of a body in steps; gzip may have several members."""
    form = _GZIP if name == "gzip" else _ZLIB if _has_header(body) else _RAW
    while True:
        stream = zlib.decompressobj(form)
        part = stream.decompress(body, _STEP_BYTES)
        while part:
            yield part
            part = stream.decompress(stream.unconsumed_tail, _STEP_BYTES)
        if not stream.eof:
            raise EOFError("it is cut off")
        body = stream.unused_data
        if not body.strip(b"\0"):  # some pad the end with zeros
            return
        if name != "gzip":
            raise zlib.error(f"{len(body):,} bytes stand behind its end")


def _has_header(body: bytes) -> bool:
    """Return whether a body that should be deflated is in zlib's form, as the standard asks, or raw as some send it."""
    return len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _by_arrow(body: bytes, name: str) -> Iterator[bytes]:
    from drivetrain.serving.arrow import decompressed

    return decompressed(body, name, step=_STEP_BYTES)


def chosen(accepted: str) -> str:
    """Return the encoding for an answer, by what the client accepts; empty where it takes none of ours.

    >>> chosen("br;q=1.0, gzip;q=0.8"), chosen("deflate, gzip;q=0"), chosen("*;q=0")
    ('gzip', 'deflate', '')
    """
    weights = {}
    for each in accepted.lower().split(","):
        name, _, weight = each.partition(";")
        weights[name.strip()] = weight.replace(" ", "").removeprefix("q=").strip("0.") if weight else "1"
    return next((name for name in ("gzip", "deflate") if weights.get(name, weights.get("*", ""))), "")


def encoded(body: bytes, name: str) -> bytes:
    """Return an answer compressed, with the least effort: speed counts for more than the last percent.

    >>> decoded(encoded(b"rows", "gzip"), "gzip", limit=10)
    b'rows'
    """
    stream = zlib.compressobj(1, zlib.DEFLATED, _GZIP if name == "gzip" else _ZLIB)
    return stream.compress(body) + stream.flush()
