"""What people say about runs afterwards: tags, which runs are found by, and notes."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from drivetrain.errors import NotFound, UsageError
from drivetrain.pipeline.run import Run
from drivetrain.registry.version import Version
from drivetrain.store.record import Record, new_id, now

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drivetrain.store.ledger import Ledger

LONGEST_NOTE = 10_000
_TAG = re.compile(r"[\w.:/+-]{1,60}")


class Tag(Record, frozen=True, kw_only=True):
    """A tag of a run: set by whom and when, or taken off again."""

    TABLE: ClassVar[str] = "tag"
    KEY: ClassVar[tuple[str, ...]] = ("run", "tag")
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("tag",),)

    run: str
    tag: str
    is_on: bool = True
    actor: str
    at: datetime


class Note(Record, frozen=True, kw_only=True):
    """A note on a run."""

    TABLE: ClassVar[str] = "note"
    KEY: ClassVar[tuple[str, ...]] = ("run", "id")

    id: str
    run: str
    text: str
    actor: str
    at: datetime


def checked_tags(tags: Iterable[str]) -> list[str]:
    """Return tags again, each once, where they can be tags.

    >>> checked_tags(["best", "best", "v1.2"])
    ['best', 'v1.2']

    Raises:
        UsageError: one is empty, longer than 60 characters, or has spaces or signs that a filter gives a meaning to.
    """
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise UsageError(
                f"{tag!r} cannot be a tag", remedy="use 1 to 60 letters, digits and . : / + - _ such as best or v1.2"
            )
    return list(dict.fromkeys(tags))


def tag(ledger: Ledger, run: str, tags: Iterable[str], *, actor: str, is_on: bool = True) -> list[Tag]:
    """Set tags on a run, or take them off, and return them."""
    made = [Tag(run=run, tag=each, is_on=is_on, actor=actor, at=now()) for each in checked_tags(tags)]
    ledger.write(*made)
    return made


def note(ledger: Ledger, run: str, text: str, *, actor: str) -> Note:
    """Add a note to a run and return it.

    Raises:
        UsageError: it is empty or too long.
    """
    text = text.strip()
    if not text or len(text) > LONGEST_NOTE:
        raise UsageError(
            f"a note of {len(text):,} characters cannot be kept", remedy=f"write 1 to {LONGEST_NOTE:,} characters"
        )
    made = Note(id=new_id("note"), run=run, text=text, actor=actor, at=now())
    ledger.write(made)
    return made


def tags_of(ledger: Ledger, *runs: str) -> dict[str, list[str]]:
    """Return the tags that each of some runs has now, in the order they were set."""
    found: dict[str, list[str]] = {run: [] for run in runs}
    for each in ledger.find(Tag, {"run in": runs}, order="at") if runs else ():
        if each.is_on:
            found[each.run].append(each.tag)
    return found


def notes_of(ledger: Ledger, run: str) -> list[Note]:
    """Return the notes on a run, the earliest first."""
    return ledger.find(Note, {"run": run}, order="at")


def run_named(ledger: Ledger, name: str) -> Run:
    """Return the run with that id.

    `latest` is the newest, `latest~1` the one before, and a version's id means the run that trained it.

    Raises:
        NotFound: there is none.
    """
    back = re.fullmatch(r"latest(?:~(\d{1,4}))?", name)
    if back is not None:
        number = int(back[1] or 0)
        newest = ledger.find(Run, order="-started_at", limit=number + 1)
        if len(newest) > number:
            return newest[number]
    version = ledger.get(Version, name) if "@" in name else None
    run = ledger.get(Run, version.run if version else name)
    if run is None:
        known = [] if "@" in name else [each.id for each in ledger.find(Run, order="-started_at", limit=200)]
        remedy = "`drivetrain models` lists them" if "@" in name else ""
        raise NotFound(kind="version" if "@" in name else "run", name=name, known=known, remedy=remedy)
    return run
