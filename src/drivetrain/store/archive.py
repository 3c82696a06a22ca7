"""An archive: rows and their artifacts in one tar file that describes itself; what is read from one is not trusted.

manifest.json                      what follows, with sizes and digests
rows.jsonl                         a row of the ledger a line: its table, and its values as they are stored
artifacts/sha256/ab/cdef…          the artifacts, each under its digest
curves/N                           the points of curve N: first all steps, then all values, 8 bytes each
logs/RUN/STEP.log                  what a step printed
"""

from __future__ import annotations

import os
import re
import tarfile
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, Literal

import msgspec

from drivetrain.errors import BadArchive, CorruptLedger, StoreUnavailable
from drivetrain.store import exact
from drivetrain.store.digest import digest_of
from drivetrain.store.fingerprints import CHUNK_BYTES
from drivetrain.store.folder import sync_folder
from drivetrain.store.garbage import with_inner
from drivetrain.store.record import now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from drivetrain.store.rows import Row
    from drivetrain.store.store import Store

FORMAT = 1
MANIFEST, ROWS = "manifest.json", "rows.jsonl"
# A manifest of a million artifacts has a third of this, and no row comes near its limit.
MANIFEST_BYTES = 256 << 20
ROW_BYTES = 64 << 20
# A curve of sixty million points.
FILE_BYTES = 1 << 30
_FILE = re.compile(r"curves/[0-9]{1,19}|logs/[\w-]{1,100}/[^/\x00-\x1f]{1,250}\.log")
_ARTIFACT = re.compile(r"artifacts/sha256/([0-9a-f]{2})/([0-9a-f]{62})")

Kind = Literal["runs", "everything"]


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of an archive that is no artifact."""

    size_bytes: int
    digest: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an archive holds. `missing` are digests that its rows mention and that were gone when it was written."""

    drivetrain_archive: int
    kind: Kind
    runs: list[str]
    created_at: datetime
    rows: int
    rows_bytes: int
    rows_digest: str
    artifacts: dict[str, int]
    files: dict[str, Member] = {}
    missing: list[str] = []


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row as it is written in an archive."""

    table: str
    values: dict[str, str | int | float | None]


class Archive:
    """An archive that is open for reading; `verify` first."""

    def __init__(self, path: Path, tar: tarfile.TarFile) -> None:
        self.path, self._tar = path, tar
        self._members: dict[str, tarfile.TarInfo] = {}
        self.manifest = self._read_manifest()

    def verify(self) -> None:
        """Read all of it once.

        Raises:
            BadArchive: something is missing, too much, or not what its digest says.
        """
        held = self.manifest
        wanted = {name_of(digest): Member(size, digest) for digest, size in held.artifacts.items()} | held.files
        wanted[ROWS] = Member(held.rows_bytes, held.rows_digest)
        for member in self._walk():
            if member.name == MANIFEST:
                continue
            known = wanted.get(member.name)
            if known is None:
                raise self.bad(f"it holds {member.name!r}, which its manifest does not name")
            if member.size != known.size_bytes:
                raise self.bad(f"{member.name} has {member.size:,} bytes, not {known.size_bytes:,}")
            state = sha256()
            for chunk in self._chunks(member):
                state.update(chunk)
            if "sha256:" + state.hexdigest() != known.digest:
                raise self.bad(f"{member.name} does not have the digest that the manifest names")
        absent = [name for name in wanted if name not in self._members]
        if absent:
            raise self.bad(f"it is not whole: {absent[0]} and {len(absent) - 1} more are missing")

    def lines(self) -> Iterator[Line]:
        """Yield the rows, in the order of writing."""
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        file = self._tar.extractfile(self._members[ROWS])
        assert file is not None
        count = 0
        while text := file.readline(ROW_BYTES):
            count += 1
            try:
                body = exact.decode(text) if b'{"$float":' in text else decode(text)
                yield msgspec.convert(body, Line)
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise self.bad(f"line {count} of {ROWS} is no row: {error}") from error
        if count != self.manifest.rows:
            raise self.bad(f"it has {count} rows, not {self.manifest.rows}")

    def copy_artifact(self, digest: str, path: Path) -> None:
        """Write an artifact's bytes into a new file."""
        with open(path, "xb") as file:
            for chunk in self._chunks(self._members[name_of(digest)]):
                file.write(chunk)

    def file(self, name: str) -> bytes:
        """Return the bytes of a file that is no artifact."""
        return b"".join(self._chunks(self._members[name]))

    def bad(self, found: str, right: str = "") -> BadArchive:
        """Return the error that says what is wrong with this archive."""
        return BadArchive(path=str(self.path), found=found, right=right)

    def _read_manifest(self) -> Manifest:
        first = self._tar.next()
        if first is None or first.name != MANIFEST or not self._is_plain(first) or first.size > MANIFEST_BYTES:
            raise self.bad("it does not begin with a manifest", "name a file that `drivetrain store export` wrote")
        data = b"".join(self._chunks(first))
        try:
            number = msgspec.json.decode(data, type=_Number).drivetrain_archive
            if number != FORMAT:
                raise self.bad(f"it is of form {number}, and this version reads form {FORMAT}", "update drivetrain")
            manifest = msgspec.json.decode(data, type=Manifest)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self.bad(f"its manifest cannot be read: {error}") from error
        odd = [digest for digest in manifest.artifacts if not _ARTIFACT.fullmatch(name_of(digest))]
        if odd:
            raise self.bad(f"its manifest names {odd[0]!r}, which is no digest")
        for name, member in manifest.files.items():
            if not _FILE.fullmatch(name) or member.size_bytes > FILE_BYTES:
                raise self.bad(f"its manifest names {name!r}, which is no file of an archive")
        return manifest

    def _walk(self) -> Iterator[tarfile.TarInfo]:
        for member in self._tar:
            if not self._is_plain(member):
                raise self.bad(f"it holds {member.name!r}, which is no plain file")
            if member.name in self._members:
                raise self.bad(f"it holds {member.name} twice")
            self._members[member.name] = member
            yield member

    def _is_plain(self, member: tarfile.TarInfo) -> bool:
        # A sparse file has a size that it does not have in the archive.
        return member.type == tarfile.REGTYPE and not member.issparse()

    def _chunks(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        file: IO[bytes] | None = self._tar.extractfile(member)
        assert file is not None
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


class _Number(msgspec.Struct, frozen=True):
    drivetrain_archive: int


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an archive for reading.

    Raises:
        BadArchive: it cannot be read, then or later on.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            yield Archive(path, tar)
    except FileNotFoundError as error:
        raise BadArchive(path=str(path), found="there is no such file", right="name an archive") from error
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, MemoryError) as error:
        # A header may claim any size and any place in the file.
        raise BadArchive(path=str(path), found=f"it is no whole tar file ({error})") from error


def write_archive(
    path: Path, store: Store, rows: Iterable[Row], files: Iterable[tuple[str, bytes]], *, kind: Kind, runs: list[str]
) -> Manifest:
    """Write rows, every artifact that they mention, and files into one, which gets its name once it is whole.

    Raises:
        CorruptLedger: a row is damaged.
        CorruptArtifact: an artifact is damaged.
        StoreUnavailable: the file cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.partial")
    lines = path.with_name(f".{path.name}.{os.getpid()}.rows")
    beside = path.with_name(f".{path.name}.{os.getpid()}.files")
    try:
        count, state, exactly, anywhere = 0, sha256(), set[str](), set[str]()
        with open(lines, "xb") as file:
            for row in rows:
                if not row.is_whole:
                    key = [str(row.values[name]) for name in row.key]
                    raise CorruptLedger(table=row.table, key=key, path=str(store.ledger.path))
                data = exact.encode({"table": row.table, "values": row.values}) + b"\n"
                file.write(data)
                state.update(data)
                count += 1
                anywhere |= row.digests()
                exactly |= row.needs()
        members: dict[str, Member] = {}
        with open(beside, "xb") as file:
            for name, data in files:
                file.write(data)
                members[name] = Member(len(data), digest_of(data))
        needed = sorted(with_inner(store, anywhere))
        present = [digest for digest in needed if store.artifacts.has(digest)]
        manifest = Manifest(
            drivetrain_archive=FORMAT,
            kind=kind,
            runs=runs,
            created_at=now(),
            rows=count,
            rows_bytes=lines.stat().st_size,
            rows_digest="sha256:" + state.hexdigest(),
            artifacts={digest: store.artifacts.place(digest).stat().st_size for digest in present},
            files=members,
            missing=sorted(exactly - set(present)),
        )
        with open(scratch, "xb") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                _add(tar, MANIFEST, msgspec.json.encode(manifest))
                _add_file(tar, ROWS, lines)
                with open(beside, "rb") as source:
                    for name, member in members.items():
                        _add(tar, name, source.read(member.size_bytes))
                for digest in present:
                    _add_file(tar, name_of(digest), store.artifacts.path(digest))
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreUnavailable(f"the archive {path} cannot be written: {error.strerror}") from error
    finally:
        scratch.unlink(missing_ok=True)
        lines.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)
    return manifest


def name_of(digest: str) -> str:
    """Return the name of an artifact in an archive."""
    return f"artifacts/sha256/{digest[7:9]}/{digest[9:]}"


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, BytesIO(data))


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    with open(path, "rb") as file:
        tar.addfile(member, file)
