"""The contract of a place that keeps immutable bytes under their digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drivetrain.store.digest import Digest


class Artifacts(Protocol):
    """Keeps bytes under their digest; what is put stays as it is, and is checked when it is read."""

    def put(self, data: bytes) -> Digest:
        """Keep `data` so that it survives a power cut, and return its digest."""
        ...

    def adopt(self, path: Path) -> Digest:
        """Keep the bytes of a finished file, which is moved in, and return their digest."""
        ...

    def get(self, digest: Digest) -> bytes:
        """Return the bytes.

        Raises:
            NotFound: nothing is kept under `digest`.
            CorruptArtifact: the bytes no longer have that digest.
        """
        ...

    def path(self, digest: Digest) -> Path:
        """Return a local file that holds the bytes, verified; it must not be written to."""
        ...

    def has(self, digest: Digest) -> bool:
        """Return whether something is kept under `digest`, without reading it."""
        ...

    def fault(self, digest: Digest) -> Literal["", "deleted", "damaged"]:
        """Return what is wrong with the bytes under `digest`.

        Large ones are read through only where their file was touched since it was last verified.
        """
        ...

    def __iter__(self) -> Iterator[Digest]: ...
