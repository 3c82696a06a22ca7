"""The name of immutable bytes: `sha256:` and 64 hexadecimal digits, as OCI names its blobs."""

from __future__ import annotations

from hashlib import sha256

Digest = str


def digest_of(data: bytes) -> Digest:
    """Return the digest of `data`.

    >>> digest_of(b"")[:19]
    'sha256:e3b0c44298fc'
    """
    return "sha256:" + sha256(data).hexdigest()
