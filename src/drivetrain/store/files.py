"""Artifacts in a local folder: the default, with nothing to install."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from drivetrain.errors import CorruptArtifact, NotFound, StoreUnavailable
from drivetrain.store.digest import Digest, digest_of
from drivetrain.store.fingerprints import Fingerprints, digest_of_file

if TYPE_CHECKING:
    from collections.abc import Iterator

# A file that nobody has written to for this long was left by a process that was killed.
LEFTOVER_S = 86_400.0
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class FileArtifacts:
    """Keeps each artifact as one read-only file, `sha256/ab/cdef…`, below `root`.

    A file gets its name only after its bytes are on the disk, and the folder is synced before the digest is returned:
    a name that exists is whole, and a digest that was returned survives a power cut.

    >>> import tempfile
    >>> artifacts = FileArtifacts(Path(tempfile.mkdtemp()))
    >>> artifacts.get(artifacts.put(b"row"))
    b'row'
    """

    def __init__(self, root: Path, fingerprints: Fingerprints | None = None) -> None:
        self.root = root
        self._fingerprints = fingerprints or Fingerprints(root / "verified")
        self._scratch = root / "partial"
        self._numbers = count()
        # What was verified once is not read through again while its file has not been touched.
        self._verified: dict[Digest, tuple[int, ...]] = {}
        # Folders whose own name is known to be on the disk.
        self._synced: set[Path] = set()
        try:
            fresh = not root.exists()
            self._scratch.mkdir(parents=True, exist_ok=True)
            (root / "sha256").mkdir(exist_ok=True)
            if fresh:
                sync_folder(root)
                sync_folder(root.parent)
            self._sweep()
        except OSError as error:
            raise StoreUnavailable(f"the folder {root} cannot be used: {error.strerror}") from error

    def put(self, data: bytes) -> Digest:
        digest = digest_of(data)
        scratch = self.scratch_path()
        try:
            if not self._is_safe(digest):
                with open(scratch, "xb", buffering=0) as file:
                    view = memoryview(data)
                    while view:
                        view = view[file.write(view) :]
                    os.fchmod(file.fileno(), 0o444)
                    os.fsync(file.fileno())
                self._name(scratch, digest)
        except OSError as error:
            self.discard(scratch)
            raise self.unwritable(error) from error
        return digest

    def adopt(self, path: Path) -> Digest:
        try:
            digest = digest_of_file(path)
            if self._is_safe(digest):
                path.unlink()
            else:
                with open(path, "rb") as file:
                    os.fchmod(file.fileno(), 0o444)
                    os.fsync(file.fileno())
                self._name(path, digest)
                self._verified[digest] = _state(self.place(digest))
                self._fingerprints.remember(self.place(digest), digest)
        except OSError as error:
            if path.parent == self._scratch:  # a file from elsewhere is its owner's
                self.discard(path)
            raise self.unwritable(error) from error
        return digest

    def get(self, digest: Digest) -> bytes:
        path = self.place(digest)
        with self._translated(digest, path):
            data = path.read_bytes()
        found = digest_of(data)
        if found != digest:
            raise CorruptArtifact(digest=digest, found=found, path=str(path))
        return data

    def path(self, digest: Digest) -> Path:
        path = self.place(digest)
        with self._translated(digest, path):
            state = _state(path)
            if self._verified.get(digest) != state:
                found = digest_of_file(path)
                if found != digest:
                    self._fingerprints.forget(path)
                    raise CorruptArtifact(digest=digest, found=found, path=str(path))
                self._verified[digest] = state
        return path

    def has(self, digest: Digest) -> bool:
        return self.place(digest).exists()

    def fault(self, digest: Digest) -> Literal["", "deleted", "damaged"]:
        path = self.place(digest)
        try:
            return "" if self._fingerprints.digest(path) == digest else "damaged"
        except FileNotFoundError:
            return "deleted"
        except OSError:
            return "damaged"

    def scratch_path(self) -> Path:
        """Return the path of a new file in the same file system, for `adopt`."""
        return self._scratch / f"{os.getpid()}-{next(self._numbers)}-{os.urandom(4).hex()}"

    def __iter__(self) -> Iterator[Digest]:
        for path in sorted((self.root / "sha256").glob("??/*")):
            yield f"sha256:{path.parent.name}{path.name}"

    def discard(self, scratch: Path) -> None:
        """Remove a scratch file where that can be done; a leftover is swept away later."""
        try:
            scratch.unlink(missing_ok=True)
        except OSError:
            pass

    def _sweep(self) -> None:
        """Remove what killed processes left half-written."""
        for path in self._scratch.iterdir():
            try:
                if time.time() - path.stat().st_mtime > LEFTOVER_S:
                    path.unlink()
            except FileNotFoundError:
                pass  # another process was faster

    def place(self, digest: Digest) -> Path:
        """Return where the artifact lies, or would lie, unverified."""
        # Digests come from requests too: anything else could name a file outside.
        if not _DIGEST.fullmatch(digest):
            raise NotFound(kind="artifact", name=digest, remedy="a digest is `sha256:` and 64 hexadecimal digits")
        return Path(f"{self.root}/sha256/{digest[7:9]}/{digest[9:]}")

    def _is_safe(self, digest: Digest) -> bool:
        """Return whether the artifact is there already and whole, and make sure that its name is on the disk."""
        place = self.place(digest)
        if not place.exists() or self.fault(digest):
            return False  # a damaged file is replaced by what is put now
        # Another process may have named it a moment ago, and not synced the folder yet.
        self._sync(place.parent)
        return True

    def _name(self, scratch: Path, digest: Digest) -> None:
        place = self.place(digest)
        try:
            os.rename(scratch, place)
        except FileNotFoundError:
            place.parent.mkdir(parents=True, exist_ok=True)
            os.rename(scratch, place)
        self._sync(place.parent)

    def _sync(self, folder: Path) -> None:
        sync_folder(folder)
        if folder not in self._synced:
            sync_folder(folder.parent)
            self._synced.add(folder)

    @contextmanager
    def _translated(self, digest: Digest, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(kind="artifact", name=digest, remedy=f"{path} is gone: run the step again") from error
        except OSError as error:
            raise StoreUnavailable(f"the artifact {path} cannot be read: {error.strerror}") from error

    def unwritable(self, error: OSError) -> StoreUnavailable:
        """Return the error that tells the user why nothing can be written here."""
        return StoreUnavailable(
            f"an artifact cannot be written below {self.root}: {error.strerror}",
            remedy="free some space or mend the folder's permissions, then run again: finished steps are kept",
        )


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes when somebody writes to the file."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
