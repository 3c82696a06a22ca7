"""What a worker writes down before it answers: one line a batch, in files that only it appends to."""

from __future__ import annotations

import fcntl
import os
from itertools import count
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from drivetrain.serving.answers import Called

if TYPE_CHECKING:
    from drivetrain.store.store import Store

# A part is closed, and may then be sealed, when it has grown to this size or age.
PART_BYTES = 32 << 20
PART_AGE_S = 600.0

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


class Ended(msgspec.Struct, frozen=True, gc=False):
    """How a stream ended, after how many pieces and seconds; `first_s` is when the first piece was there.

    `closed` is a stream whose listener went away.
    """

    how: Literal["end", "closed", "error", "timeout"]
    pieces: int
    seconds: float
    first_s: float | None = None


class Line(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One batch of predictions of one version, as it stands in a part.

    `at` is in microseconds since 1970. `requests` are the objects that the clients sent. `features` are the columns
    that the model saw, where they are not the request's own. `streams` tell of answers that came in pieces, and `calls`
    of the predictions of other services behind each. `traces` are the ids of the traces that clients have begun, empty
    where one has not.
    """

    at: int
    version: str
    arm: str
    ids: list[str]
    keys: list[Any] | None
    requests: list[Any]
    predictions: list[Any]
    probabilities: list[list[float]] | None = None
    features: dict[str, list[Any]] | None = None
    streams: list[Ended] | None = None
    calls: list[list[Called]] | None = None
    traces: list[str] | None = None


class Label(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The true answer to a prediction, or to an entity, as it became known."""

    at: int
    label: Any
    id: str | None = None
    key: Any = None


class Journal:
    """Appends lines to a part of its own, `KIND-….jsonl`, in the folder of a service.

    The part is locked as long as it is written to. The lock goes with the process, however that ends, so a part that
    can be locked is finished. A line is in the part whole or not at all. One that is not `is_dated` may
    hold ids that are older than the part.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        *,
        part_bytes: int = PART_BYTES,
        part_age_s: float = PART_AGE_S,
        is_dated: bool = True,
    ) -> None:
        self.folder, self.kind, self._is_dated = folder, kind, is_dated
        self._part_bytes, self._part_age_s = part_bytes, part_age_s
        self._handle = -1
        self._size = 0
        self._opened = 0.0
        self.path = Path()

    def write(self, lines: bytes) -> None:
        """Append whole lines; they outlive the process when this returns.

        Raises:
            OSError: the disk is full, or cannot be written; nothing of `lines` is in the part.
        """
        if self._size >= self._part_bytes:
            self.close()
        if self._handle < 0:
            self._open()
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._handle, lines[written:] if written else lines)
        except OSError:
            self._undo()
            raise
        self._size += written

    def _undo(self) -> None:
        """Cut off what a failed write left, and go on in another part: this one may be what cannot grow."""
        try:
            os.ftruncate(self._handle, self._size)
        finally:
            if self._size:
                self.close()

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        if self._handle >= 0:
            os.fdatasync(self._handle)

    def close_if_old(self) -> None:
        """Close a part that has been open for long, so that it can be sealed, or that someone has deleted."""
        if self._handle >= 0 and (monotonic() - self._opened >= self._part_age_s or not self.path.exists()):
            self.close()

    def close(self) -> None:
        """Finish the part; the next line begins another one."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._size = -1, 0

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        millisecond = int(time() * 1000) if self._is_dated else 0
        path = self.folder / f"{self.kind}-{millisecond:013d}-{os.getpid()}-{os.urandom(3).hex()}.jsonl"
        scratch = path.with_suffix(".new")
        handle = os.open(scratch, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            # Locked before it gets its name: nobody can find it finished before it has begun.
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.rename(scratch, path)
        except OSError:
            os.close(handle)
            raise
        self._handle, self._size, self._opened, self.path = handle, 0, monotonic(), path


def one_line(text: bytes) -> msgspec.Raw:
    """Return JSON without line breaks: the log has a batch a line, and within a text JSON has none."""
    return msgspec.Raw(text.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in text or b"\r" in text else text)


class Names:
    """Gives prediction ids: their order is the order of creation, and no two workers give the same.

    Nine letters are the milliseconds, five the process's own, four a number that never repeats within it.
    """

    def __init__(self) -> None:
        self._own = "".join(_ALPHABET[byte & 31] for byte in os.urandom(5))
        self._numbers = count()
        self._millisecond = 0
        self._prefix = ""

    def take(self, amount: int) -> list[str]:
        """Return so many new ids."""
        millisecond = int(time() * 1000)
        if millisecond > self._millisecond:
            self._millisecond = millisecond
            self._prefix = letters(millisecond, 9)
            self._numbers = count()
        names = []
        for _ in range(amount):
            number = next(self._numbers)
            names.append(f"pred-{self._prefix}{_PAIRS[number >> 10 & 1023]}{_PAIRS[number & 1023]}{self._own}")
        return names

    def pair(self) -> tuple[str, str]:
        """Return what ids begin and end with that nobody else gives; their numbers may begin at 0."""
        own = "".join(_ALPHABET[byte & 31] for byte in os.urandom(5))
        return letters(int(time() * 1000), 9), own


def pairs(number: int) -> str:
    """Return the four letters of the number that stands in a prediction id.

    >>> pairs(33)
    '0011'
    """
    return _PAIRS[number >> 10 & 1023] + _PAIRS[number & 1023]


def letters(number: int, length: int) -> str:
    """Return a number in so many letters of an id.

    >>> letters(33, 3)
    '011'
    """
    found = ""
    for _ in range(length):
        found = _ALPHABET[number & 31] + found
        number >>= 5
    return found


def time_of(prediction_id: str) -> float:
    """Return the moment, in seconds since 1970, at which an id was given.

    Raises:
        ValueError: it is no prediction id.
    """
    prefix, _, letters = prediction_id.partition("-")
    if prefix != "pred" or len(letters) != 18 or not set(letters) <= set(_ALPHABET):
        raise ValueError(f"{prediction_id!r} is no prediction id")
    number = 0
    for letter in letters[:9]:
        number = number << 5 | _ALPHABET.index(letter)
    return number / 1000


def folder_of(store: Store, service: str) -> Path:
    """Return the folder where the workers of a service write."""
    return store.root / "serving" / service
