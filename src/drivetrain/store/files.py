"""Artifacts in a local folder: the default, with nothing to install."""

from __future__ import annotations

import os
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from drivetrain.errors import CorruptArtifact, NotFound, StoreUnavailable
from drivetrain.store.digest import Digest, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 1 << 20


class FileArtifacts:
    """Keeps each artifact as one read-only file, `sha256/ab/cdef…`, below `root`.

    A file gets its name only after its bytes are on the disk, and the folder is synced before the digest is returned:
    a name that exists is whole, and a digest that was returned survives a power cut.

    >>> import tempfile
    >>> artifacts = FileArtifacts(Path(tempfile.mkdtemp()))
    >>> artifacts.get(artifacts.put(b"row"))
    b'row'
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._scratch = root / "partial"
        self._numbers = count()
        # A digest verified once by this process is not read through again for each use.
        self._verified: set[Digest] = set()
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the folder {root} cannot be made: {error.strerror}") from error

    def put(self, data: bytes) -> Digest:
        digest = digest_of(data)
        if self.has(digest):
            return digest
        scratch = self.scratch_path()
        try:
            with open(scratch, "xb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
            self._name(scratch, digest)
        except OSError as error:
            raise self._unwritable_after(scratch, error) from error
        return digest

    def adopt(self, path: Path) -> Digest:
        digest = _digest_of_file(path)
        try:
            with open(path, "rb") as file:
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
            if self.has(digest):
                path.unlink()
            else:
                self._name(path, digest)
        except OSError as error:
            raise self._unwritable_after(path, error) from error
        return digest

    def get(self, digest: Digest) -> bytes:
        path = self._place(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(kind="artifact", name=digest, remedy=f"{path} is gone: run the step again") from error
        found = digest_of(data)
        if found != digest:
            raise CorruptArtifact(digest=digest, found=found, path=str(path))
        return data

    def path(self, digest: Digest) -> Path:
        path = self._place(digest)
        if digest not in self._verified:
            if not path.exists():
                raise NotFound(kind="artifact", name=digest, remedy=f"{path} is gone: run the step again")
            found = _digest_of_file(path)
            if found != digest:
                raise CorruptArtifact(digest=digest, found=found, path=str(path))
            self._verified.add(digest)
        return path

    def has(self, digest: Digest) -> bool:
        return self._place(digest).exists()

    def scratch_path(self) -> Path:
        """Return the path of a new file in the same file system, for `adopt`."""
        return self._scratch / f"{os.getpid()}-{next(self._numbers)}-{os.urandom(4).hex()}"

    def __iter__(self) -> Iterator[Digest]:
        for path in sorted((self.root / "sha256").glob("??/*")):
            yield f"sha256:{path.parent.name}{path.name}"

    def _place(self, digest: Digest) -> Path:
        return self.root / "sha256" / digest[7:9] / digest[9:]

    def _name(self, scratch: Path, digest: Digest) -> None:
        place = self._place(digest)
        fresh = not place.parent.exists()
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(scratch, place)
        _sync_folder(place.parent)
        if fresh:
            _sync_folder(place.parent.parent)

    def unwritable(self, error: OSError) -> StoreUnavailable:
        """Return the error that tells the user why nothing can be written here."""
        return StoreUnavailable(
            f"an artifact cannot be written below {self.root}: {error.strerror}",
            remedy="free some space or mend the folder's permissions, then run again: finished steps are kept",
        )

    def _unwritable_after(self, scratch: Path, error: OSError) -> StoreUnavailable:
        scratch.unlink(missing_ok=True)
        return self.unwritable(error)


def _digest_of_file(path: Path) -> Digest:
    state = sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            state.update(chunk)
    return "sha256:" + state.hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
