"""Artifacts in a local folder: the default, with nothing to install."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from drivetrain.errors import CorruptArtifact, NotFound, StoreUnavailable
from drivetrain.store.digest import Digest, digest_of
from drivetrain.store.fingerprints import Fingerprints, digest_of_file, digest_of_open
from drivetrain.store.folder import make_beside, make_folder, make_folders, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

# A file that nobody has written to for this long was left by a process that was killed.
LEFTOVER_S = 86_400.0
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class FileArtifacts:
    """Keeps each artifact as one read-only file, `sha256/ab/cdef…`, below `root`.

    A file gets its name only after its bytes are on the disk, and the folder is synced before the digest is returned:
    a name that exists is whole, and a digest that was returned survives a power cut. A name that is there already is
    given anew, to the new bytes: nobody can tell whether a sync of it has failed, or a bit of its file has flipped.
    A store that is not `durable` does not wait for the disk.

    >>> import tempfile
    >>> artifacts = FileArtifacts(Path(tempfile.mkdtemp()))
    >>> artifacts.get(artifacts.put(b"row"))
    b'row'
    """

    def __init__(self, root: Path, fingerprints: Fingerprints | None = None, *, durable: bool = True) -> None:
        self.root, self._durable = root, durable
        self._fingerprints = fingerprints or Fingerprints(root / "verified")
        self._scratch = root / "partial"
        self._numbers = count()
        # What was verified once is not read through again while its file has not been touched.
        self._verified: dict[Digest, tuple[int, ...]] = {}
        # Folders whose own name is known to be on the disk.
        self._synced: set[Path] = set()
        try:
            if not self._scratch.is_dir():  # made last, so that what a killed process began is completed
                if durable:
                    make_folders(root)
                    make_folder(root / "sha256")
                (root / "sha256").mkdir(parents=True, exist_ok=True)
                self._scratch.mkdir(exist_ok=True)
            self._sweep()
        except OSError as error:
            raise self.unwritable(error) from error

    def put(self, data: bytes) -> Digest:
        digest = digest_of(data)
        scratch = self.scratch_path()
        try:
            with open(scratch, "xb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                self._finish(file)
            self._name(scratch, digest)
        except OSError as error:
            self.discard(scratch)
            raise self.unwritable(error) from error
        return digest

    def adopt(self, path: Path) -> Digest:
        try:
            with open(path, "rb", buffering=0) as file:
                digest = digest_of_open(file)
                self._finish(file)
            place = self._name(path, digest)
            self._verified[digest] = _state(place)
            self._fingerprints.remember(place, digest)
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

    def _finish(self, file: IO[bytes]) -> None:
        """Put a file that is complete onto the disk, and let nobody write to it."""
        os.fchmod(file.fileno(), 0o444)
        if self._durable:
            os.fsync(file.fileno())

    def _name(self, scratch: Path, digest: Digest) -> Path:
        """Give a file that is on the disk its name, and return where it lies now."""
        place = self.place(digest)
        folder = place.parent
        if folder not in self._synced or not folder.exists():
            # One wait for the disk serves all whose names begin alike.
            alike = [folder.with_name(folder.name[0] + digit) for digit in "0123456789abcdef"]
            if self._durable:
                make_beside(alike)
            else:
                for each in alike:
                    each.mkdir(exist_ok=True)
            self._synced.update(alike)
        os.rename(scratch, place)
        if self._durable:
            sync_folder(folder)
        return place

    @contextmanager
    def _translated(self, digest: Digest, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(kind="artifact", name=digest, remedy=f"{path} is gone: run the step again") from error
        except OSError as error:
            raise self.unreadable(path, error) from error

    def unreadable(self, path: Path, error: OSError) -> StoreUnavailable:
        """Return the error that tells the user why an artifact cannot be read now."""
        return StoreUnavailable(
            f"the artifact {path} cannot be read: {error.strerror or error}",
            remedy="mend the disk, the file's permissions or the limit on open files, then run again",
        )

    def unwritable(self, error: OSError) -> StoreUnavailable:
        """Return the error that tells the user why nothing can be written here."""
        return StoreUnavailable(
            f"an artifact cannot be written below {self.root}: {error.strerror}",
            remedy="free some space or mend the folder's permissions, then run again: finished steps are kept",
        )


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes when somebody writes to the file, even one who then sets its times back."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def is_being_written(scratch: Path) -> bool:
    """Return whether the process that began a scratch file is still there, as far as this machine can tell."""
    pid = scratch.name.partition("-")[0]
    if not pid.isdecimal() or int(pid) == 0:
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True
