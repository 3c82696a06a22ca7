"""Digests of files that are not read through again while nothing has touched them."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.store.digest import Digest

CHUNK_BYTES = 1 << 20
# A file up to this size is read each time, which takes a millisecond or less.
SMALL_BYTES = 1 << 20
# Within this time, a second change may leave the file's times as they are: some file systems count in seconds.
SETTLED_NS = 2_000_000_000


class Fingerprints:
    """Remembers the digest of each large file beside its size, inode and times, one small file each, below `root`.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "rows.csv").write_bytes(b"a")
    >>> Fingerprints(folder / "known").digest(folder / "rows.csv")[:13]
    'sha256:ca9781'
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def digest(self, path: Path) -> Digest:
        """Return the digest of what a file holds.

        Raises:
            OSError: it cannot be read.
        """
        state = path.stat()
        if state.st_size <= SMALL_BYTES:
            return digest_of_file(path)
        known = self._known(path)
        if known is not None and known[0] == _state(state):
            return known[1]
        found = digest_of_file(path)
        # What was written a moment ago may be written again without a trace, and is read again the next time.
        if max(state.st_mtime_ns, state.st_ctime_ns) < time.time_ns() - SETTLED_NS and _state(path.stat()) == _state(
            state
        ):
            self._remember(path, _state(state), found)
        return found

    def remember(self, path: Path, digest: Digest) -> None:
        """Take a digest for known: the file was read or written by us, and nobody writes to it any more."""
        state = path.stat()
        if state.st_size > SMALL_BYTES:
            self._remember(path, _state(state), digest)

    def forget(self, path: Path) -> None:
        """Read the file through the next time."""
        self._place(path).unlink(missing_ok=True)

    def _known(self, path: Path) -> tuple[str, str] | None:
        try:
            state, digest, *_ = self._place(path).read_text("utf-8", "surrogateescape").split(" ", 2)
        except (OSError, ValueError):
            return None
        return state, digest

    def outlived(self) -> Iterator[Path]:
        """Yield what is remembered of files that are gone."""
        for place in sorted(self.root.glob("*")):
            _, _, path = place.read_text("utf-8", "surrogateescape").partition(" sha256:")
            if not Path(path.partition(" ")[2] or self.root / "unknown").exists():
                yield place

    def _remember(self, path: Path, state: str, digest: Digest) -> None:
        place = self._place(path)
        scratch = place.with_name(f"{place.name}-{os.getpid()}-{os.urandom(4).hex()}")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            scratch.write_text(f"{state} {digest} {path.absolute()}", "utf-8", "surrogateescape")
            scratch.replace(place)
        except OSError:
            pass  # without room to remember it, the file is read through again

    def _place(self, path: Path) -> Path:
        return self.root / sha256(os.fsencode(path.absolute())).hexdigest()[:32]


def digest_of_file(path: Path) -> Digest:
    """Return the digest of a file, which is read through."""
    with open(path, "rb", buffering=0) as file:
        return digest_of_open(file)


def digest_of_open(file: IO[bytes]) -> Digest:
    """Return the digest of what is left to read of an open file."""
    state = sha256()
    while chunk := file.read(CHUNK_BYTES):
        state.update(chunk)
    return "sha256:" + state.hexdigest()


def _state(state: os.stat_result) -> str:
    """Return what changes when somebody writes to the file."""
    return f"{state.st_ino}-{state.st_size}-{state.st_mtime_ns}-{state.st_ctime_ns}"
