"""Every error of Drivetrain, as one tree.

    DrivetrainError
    ├── DeclarationError        the user's file declares something that cannot hold
    │   ├── UnknownName
    │   │   └── UnknownMetric   also an AttributeError
    │   ├── DuplicateName
    │   ├── Cycle
    │   ├── MissingAnnotation
    │   └── BadSetting
    ├── UsageError              a command or call asks for something that is not there
    │   ├── NotFound
    │   ├── BadFilter
    │   ├── MissingExtra
    │   ├── BadArchive
    │   ├── BadRow
    │   └── Refused
    │       └── Unreachable     trying again may help
    ├── StoreError              what should be kept cannot be written or read
    │   ├── CorruptArtifact
    │   ├── CorruptLedger
    │   ├── StoreUnavailable    trying again may help
    │   ├── NoCodec
    │   ├── Unkeepable
    │   ├── WrongForm
    │   └── UnsafePickle        a warning as well
    ├── StepFailed              a step of a run raised
    │   ├── CheckFailed
    │   ├── FeatureSkew
    │   ├── StepTimedOut        also a TimeoutError
    │   ├── StepCrashed         its process ended in the middle
    │   └── StepOutOfMemory
    ├── TryAgain                a step raises it: what went wrong may be over in a moment
    ├── GiveUp                  a step raises it: trying again cannot help
    └── RequestError            a request to a service cannot be answered as it stands
        ├── UnreadableImage     its head was well, and its pixels are not
        └── CallFailed          a service that it calls gave no answer

A message says what was found and what would be right; the facts are attributes too. Each error is built from keyword
facts alone, so that it survives the way between processes.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


class Place(NamedTuple):
    """A line of the user's code.

    >>> str(Place("flights.py", 12))
    'flights.py:12'
    """

    file: str
    line: int

    def __str__(self) -> str:
        here = os.getcwd() + os.sep
        return f"{self.file.removeprefix(here)}:{self.line}"


def rebuild(kind: Callable[..., DrivetrainError], facts: dict[str, Any]) -> DrivetrainError:
    """Return the error again from its facts; pickle calls it."""
    return kind(**facts)


class DrivetrainError(Exception):
    """Something went wrong that the user can understand: what, where, and what would be right."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "", place: Place | None = None) -> None:
        self.message, self.remedy, self.place = message, remedy, place
        self.facts: dict[str, Any] = {"message": message, "remedy": remedy, "place": place}
        super().__init__(message)

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        return f"{where}{self.message}" + (f"\n  → {self.remedy}" if self.remedy else "")

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.facts)


def nearest(name: str, known: Collection[str]) -> str:
    """Return a remedy that names the closest of `known`, or lists them.

    >>> nearest("flihts", ["flights", "weather"])
    'did you mean flights?'
    >>> nearest("x", ["b", "a"])
    'the known ones are a, b'
    >>> nearest("x", [])
    'there is none yet'
    """
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return listed(sorted(known))


def listed(known: Sequence[str]) -> str:
    """Return a remedy that lists what is known, the first twelve in their order.

    >>> listed(["b", "a"])
    'the known ones are b, a'
    """
    shown = ", ".join(known[:12])
    return f"the known ones are {shown}{', …' if len(known) > 12 else ''}" if known else "there is none yet"


class DeclarationError(DrivetrainError):
    """The user's file declares something that cannot hold."""

    exit_code = 2


class UnknownName(DeclarationError):
    """A name is used that nothing declares."""

    def __init__(self, *, kind: str, name: str, known: Collection[str], place: Place | None = None) -> None:
        super().__init__(f"no {kind} is named {name!r}", remedy=nearest(name, known), place=place)
        self.kind, self.name, self.known = kind, name, tuple(known)
        self.facts = {"kind": kind, "name": name, "known": self.known, "place": place}


class UnknownMetric(UnknownName, AttributeError):  # type: ignore[misc]  # both have a `name`, which is text
    """An evaluation gives no such metric. It is an AttributeError too, so that `hasattr` has an answer."""

    def __init__(self, *, evaluation: str, metric: str, known: Collection[str], place: Place | None = None) -> None:
        super().__init__(kind=f"metric of {evaluation!r}", name=metric, known=known, place=place)
        self.evaluation, self.metric = evaluation, metric
        self.facts = {"evaluation": evaluation, "metric": metric, "known": self.known, "place": place}


_RENAME = "rename one of the two; a class or function names its part after itself, so that `class Iris` declares 'iris'"


class DuplicateName(DeclarationError):
    """Two parts claim one name."""

    def __init__(self, *, name: str, first: Place | None, place: Place | None = None) -> None:
        super().__init__(f"{name!r} is declared already at {first}", remedy=_RENAME, place=place)
        self.name, self.first = name, first
        self.facts = {"name": name, "first": first, "place": place}


class Cycle(DeclarationError):
    """Parts need each other in a circle."""

    def __init__(self, *, names: Sequence[str], place: Place | None = None) -> None:
        circle = " → ".join([*names, names[0]])
        super().__init__(f"these parts need each other: {circle}", remedy="remove one of the arrows", place=place)
        self.names = tuple(names)
        self.facts = {"names": self.names, "place": place}


class MissingAnnotation(DeclarationError):
    """A part does not say what it returns, so nothing tells how to keep it."""

    def __init__(self, *, part: str, example: str, place: Place | None = None) -> None:
        super().__init__(
            f"{part!r} does not say what it returns", remedy=f"annotate it, for example `-> {example}`", place=place
        )
        self.part, self.example = part, example
        self.facts = {"part": part, "example": example, "place": place}


class BadSetting(DeclarationError):
    """A setting has a value that cannot be kept or does not fit its default."""

    def __init__(self, *, setting: str, found: str, right: str, place: Place | None = None) -> None:
        super().__init__(f"the setting {setting} is {found}", remedy=right, place=place)
        self.setting, self.found, self.right = setting, found, right
        self.facts = {"setting": setting, "found": found, "right": right, "place": place}


class UsageError(DrivetrainError):
    """A command or call asks for something that is not there."""

    exit_code = 2


class NotFound(UsageError):
    """Nothing of that kind has that name or id."""

    def __init__(self, *, kind: str, name: str, known: Collection[str] = (), remedy: str = "") -> None:
        super().__init__(f"no {kind} {name!r} is known", remedy=remedy or nearest(name, known))
        self.kind, self.name, self.known = kind, name, tuple(known)
        self.facts = {"kind": kind, "name": name, "known": self.known, "remedy": remedy}


class BadFilter(UsageError):
    """A filter over runs cannot be understood; the message points at the place."""

    def __init__(self, *, filter: str, start: int, found: str, right: str, length: int = 1) -> None:  # noqa: A002  # as users call it
        line = "".join(each if each.isprintable() else " " for each in filter)
        super().__init__(f"{found}\n  {line}\n  {' ' * start}{'^' * max(length, 1)}", remedy=right)
        self.filter, self.start, self.length, self.found, self.right = filter, start, length, found, right
        self.facts = {"filter": filter, "start": start, "length": length, "found": found, "right": right}


class MissingExtra(UsageError):
    """An optional library is needed and not installed."""

    def __init__(self, *, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {library}, which is not installed", remedy=f'pip install "drivetrain[{extra}]"'
        )
        self.facts = {"library": library, "extra": extra, "purpose": purpose}


class BadArchive(UsageError):
    """An archive is not whole, not ours, or does not fit what is here; nothing of it was taken."""

    def __init__(self, *, path: str, found: str, right: str = "") -> None:
        super().__init__(
            f"the archive {path} cannot be imported: {found}", remedy=right or "export it again, or copy it again"
        )
        self.path, self.found, self.right = path, found, right
        self.facts = {"path": path, "found": found, "right": right}


class BadRow(UsageError):
    """A row of a batch cannot be answered; rows count from 0, after the header."""

    def __init__(self, *, file: str, row: int, field: str = "", found: str = "", wanted: str = "") -> None:
        where = f"row {row:,}" + (f" of {file}" if file else "") + (f", field {field!r}" if field else "")
        super().__init__(
            f"{where}: found {found}, wanted {wanted}",
            remedy="mend it; or leave such rows out (`--on-bad-row skip`) or without an answer (`keep`), and read why",
        )
        self.file, self.row, self.field = file, row, field
        self.facts = {"file": file, "row": row, "field": field, "found": found, "wanted": wanted}


class Refused(UsageError):
    """Something is not done because it would not be safe."""


class Unreachable(Refused):
    """An engine elsewhere cannot be reached at the moment; trying again may help."""


class StoreError(DrivetrainError):
    """What should be kept cannot be written or read."""


class CorruptArtifact(StoreError):
    """The bytes of an artifact are not those that were put."""

    def __init__(self, *, digest: str, found: str, path: str) -> None:
        super().__init__(
            f"artifact {digest[:19]}… is damaged: its bytes have the digest {found[:19]}… ({path})",
            remedy="`drivetrain store fsck` says what needs it; with --repair it is set aside, and its step runs anew",
        )
        self.digest, self.found, self.path = digest, found, path
        self.facts = {"digest": digest, "found": found, "path": path}


class CorruptLedger(StoreError):
    """A row of the ledger is not what was written: the disk has changed it, or somebody by hand."""

    def __init__(self, *, table: str, key: Sequence[str], path: str) -> None:
        super().__init__(
            f"row {', '.join(key)} of the table {table} is damaged: its values do not have its checksum ({path})",
            remedy="`drivetrain store import BACKUP` puts it back; `drivetrain store fsck` says what needs it, and "
            "with --repair sets it aside",
        )
        self.table, self.key, self.path = table, tuple(key), path
        self.facts = {"table": table, "key": self.key, "path": path}


class StoreUnavailable(StoreError):
    """The store cannot be reached or written at the moment; trying again may help."""


class NoCodec(StoreError):
    """No codec keeps values of this type."""

    def __init__(self, *, type_name: str, part: str, place: Place | None = None) -> None:
        super().__init__(
            f"{part!r} returns {type_name}, which no safe codec can keep",
            remedy="return a frame, array, dict, dataclass, text, bytes or a supported model; or set "
            "`allow_pickle = true` under [store] in drivetrain.toml, knowing that a pickle can run any code when read",
            place=place,
        )
        self.type_name, self.part = type_name, part
        self.facts = {"type_name": type_name, "part": part, "place": place}


class Unkeepable(StoreError):
    """A value holds something that its form on disk cannot hold; `where` is the way to it."""

    def __init__(self, *, found: str, right: str, where: str = "", part: str = "", place: Place | None = None) -> None:
        what = f"what {part!r} returns" if part else "the value"
        super().__init__(f"{what} cannot be kept: {f'{where} is ' if where else ''}{found}", remedy=right, place=place)
        self.found, self.right, self.where, self.part = found, right, where, part
        self.facts = {"found": found, "right": right, "where": where, "part": part, "place": place}


class WrongForm(StoreError):
    """An artifact is asked for as a type that its form on disk does not give."""

    def __init__(self, *, format: str, wanted: str) -> None:  # noqa: A002  # the name that the field has in `Artifact`
        super().__init__(
            f"an artifact that is kept as {format} cannot be handed in as {wanted}",
            remedy="annotate the parameter with the type that the step before it returns",
        )
        self.format, self.wanted = format, wanted
        self.facts = {"format": format, "wanted": wanted}


class UnsafePickle(StoreError, UserWarning):
    """A pickle is written or read, which can run any code; warned of each time."""

    def __init__(self, *, type_name: str, does: str) -> None:
        super().__init__(
            f"a pickle of {type_name} is {does}: reading it can run any code, and another version of a library may "
            "read it wrongly or not at all",
            remedy="return a frame, array, dict, dataclass or supported model, and take out `allow_pickle`",
        )
        self.type_name, self.does = type_name, does
        self.facts = {"type_name": type_name, "does": does}


class StepFailed(DrivetrainError):
    """A step of a run raised."""

    def __init__(self, *, step: str, cause: str, traceback: str = "", place: Place | None = None) -> None:
        super().__init__(f"step {step!r} failed: {cause}", place=place)
        self.step, self.cause, self.traceback = step, cause, traceback
        self.facts = {"step": step, "cause": cause, "traceback": traceback, "place": place}


class CheckFailed(StepFailed):
    """Rows of a dataset break a check that it declares."""

    def __init__(self, *, step: str, cause: str, rows: str = "", place: Place | None = None) -> None:
        super().__init__(step=step, cause=cause, place=place)
        self.rows = rows
        self.remedy = "mend the source, or loosen the check where it is declared"
        self.facts = {"step": step, "cause": cause, "rows": rows, "place": place}

    def __str__(self) -> str:
        return super().__str__() + (f"\n{self.rows}" if self.rows else "")


class FeatureSkew(StepFailed):
    """A features function gives other values for a row alone than for the same row among others."""

    def __init__(self, *, step: str, cause: str, place: Place | None = None) -> None:
        super().__init__(step=step, cause=cause, place=place)
        self.remedy = (
            "the server sees rows alone: compute each row from itself and from other datasets, never from the batch, "
            "and keep the order of the rows or return the key column"
        )
        self.facts = {"step": step, "cause": cause, "place": place}


class StepTimedOut(StepFailed, TimeoutError):
    """A step took longer than it may, and was ended; `place` is the line that it was at."""

    def __init__(self, *, step: str, timeout_s: float, traceback: str = "", place: Place | None = None) -> None:
        super().__init__(step=step, cause=f"it took longer than {timeout_s:g} s", traceback=traceback, place=place)
        self.remedy = "find out what it waits for, or raise `timeout_s` where it is declared"
        self.timeout_s = timeout_s
        self.facts = {"step": step, "timeout_s": timeout_s, "traceback": traceback, "place": place}


class StepCrashed(StepFailed):
    """The process of a step ended in the middle of it: a crash, `os._exit`, or a kill from outside."""

    def __init__(self, *, step: str, ending: str, traceback: str = "", place: Place | None = None) -> None:
        super().__init__(step=step, cause=f"its process {ending}", traceback=traceback, place=place)
        self.ending = ending
        self.facts = {"step": step, "ending": ending, "traceback": traceback, "place": place}


class StepOutOfMemory(StepFailed):
    """A step took more memory than it may, and was ended; `place` is the line that it was at."""

    def __init__(
        self, *, step: str, found_gib: float, memory_gib: float, traceback: str = "", place: Place | None = None
    ) -> None:
        cause = f"it took {found_gib:.2f} GiB of memory, and may take {memory_gib:g}"
        super().__init__(step=step, cause=cause, traceback=traceback, place=place)
        self.remedy = "read fewer rows at once (a LazyFrame, or `each=`), or raise `memory_gib` where it is declared"
        self.found_gib, self.memory_gib = found_gib, memory_gib
        self.facts = {
            "step": step, "found_gib": found_gib, "memory_gib": memory_gib, "traceback": traceback, "place": place
        }  # fmt: skip


class TryAgain(DrivetrainError):
    """Raised by a step whose failure may be over in a moment; a step with `retry` is then tried again."""


class GiveUp(DrivetrainError):
    """Raised by a step whose failure no further try can mend, whatever its `retry` says."""


class RequestError(DrivetrainError):
    """A request cannot be answered as it stands; `problems` names each field and row.

    `allowed` are the methods that the path takes (405); under `error_id` the server's log has more (500); after
    `retry_after_s` there would be room (503).
    """

    def __init__(
        self,
        *,
        status: int,
        message: str,
        problems: Sequence[Mapping[str, Any]] = (),
        allowed: Sequence[str] = (),
        error_id: str = "",
        retry_after_s: int = 1,
    ) -> None:
        super().__init__(message)
        self.status, self.problems = status, [dict(problem) for problem in problems]
        self.allowed, self.error_id, self.retry_after_s = list(allowed), error_id, retry_after_s
        self.facts = {"status": status, "message": message, "problems": self.problems}
        self.facts |= {"allowed": self.allowed, "error_id": error_id, "retry_after_s": retry_after_s}


class UnreadableImage(RequestError):
    """The pixels of an image cannot be read; whoever has the rows finds it among them by its digest."""

    def __init__(self, *, reason: str, digest: str) -> None:
        super().__init__(status=422, message=f"an image cannot be read: {reason}")
        self.reason, self.digest = reason, digest
        self.facts = {"reason": reason, "digest": digest}


_WRONG = "refuses what it is asked"
# By the status of a called service: what the client is told, and in which words.
_TOLD_OF_CALLS = {
    **dict.fromkeys((401, 403, 404, 421), (502, "does not take requests from here")),
    **dict.fromkeys((429, 503), (503, "cannot answer at the moment")),
    504: (504, "did not answer in the time that was left"),
}


class CallFailed(RequestError):
    """A service that was called gave no answer: `service` is which, `called_status` and `reason` what it said itself.

    `status` is what the client is told: 500 where the call was wrong, 502 where the service failed or let us not in,
    503 where it is away or has too much to do, and 504 where the time was up.
    """

    def __init__(
        self,
        *,
        service: str,
        called_status: int,
        reason: str,
        problems: Sequence[Mapping[str, Any]] = (),
        error_id: str = "",
        retry_after_s: int = 1,
    ) -> None:
        status, words = _TOLD_OF_CALLS.get(called_status, (500, _WRONG) if called_status < 500 else (502, "failed"))
        super().__init__(
            status=status,
            message=f"the service {service!r}, which is called here, {words} ({called_status}): {reason}",
            problems=problems,
            error_id=error_id,
            retry_after_s=retry_after_s,
        )
        self.service, self.called_status, self.reason = service, called_status, reason
        self.facts = {"service": service, "called_status": called_status, "reason": reason, "problems": self.problems}
        self.facts |= {"error_id": error_id, "retry_after_s": retry_after_s}
