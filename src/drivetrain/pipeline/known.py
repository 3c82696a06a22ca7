"""Whether an outcome that is known can be used: its bytes are there and whole, and it is not too old."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from drivetrain.errors import CorruptArtifact, DeclarationError, NotFound
from drivetrain.pipeline.key import key_of
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.store.collection import FORMAT
from drivetrain.store.record import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from drivetrain.pipeline.node import Node
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.ledger import Ledger
    from drivetrain.store.store import Store
    from drivetrain.system.part import Part

# SQLite takes a few ten thousand values with a statement.
KEYS_A_QUESTION = 5_000
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Known(NamedTuple):
    """The step's earlier run with a key, and why its outcome cannot be used; empty where it can."""

    step: StepRun | None
    fault: str


def outcomes_before(system: str, steps: Iterable[str], ledger: Ledger) -> dict[str, StepRun]:
    """Return the finished outcomes that the run of a system that was written last had of these steps, by key.

    Two questions for all: most keys of a run are those of the run before.
    """
    with ledger.transaction(is_durable=False):
        ledger.prepare(Run, StepRun)
    rows = ledger.select(
        "SELECT key, step, parent FROM step_run WHERE state IN ('finished', 'cached') AND run = "
        "(SELECT id FROM run WHERE system = ? ORDER BY rowid DESC LIMIT 1)",
        (system,),
    )
    wanted = set(steps)
    keys = [key for key, step, parent in rows if (parent or step) in wanted]
    found: dict[str, StepRun] = {}
    for start in range(0, len(keys), KEYS_A_QUESTION):
        some = keys[start : start + KEYS_A_QUESTION]
        for outcome in ledger.find(StepRun, {"key in": some, "state": "finished"}, order="started_at"):
            found[outcome.key] = outcome
    return found


def known_outcome(part: Part, key: str, *, store: Store, before: Mapping[str, StepRun] | None = None) -> Known:
    """Return what the ledger knows of a key, with the bytes looked at; `before` has outcomes that are known already."""
    step = (before or {}).get(key)
    if step is None:
        found = store.ledger.find(StepRun, {"key": key, "state": "finished"}, order="-started_at", limit=1)
        if not found:
            return Known(None, "")
        step = found[0]
    lasts = part.lasts()
    if lasts is not None and now() - step.started_at > lasts:
        valid_for = getattr(part, "valid_for", lasts)
        return Known(step, f"it was valid for {valid_for}, and is from {_moment(step.started_at)}")
    for name, artifact in step.outputs.items():
        for digest in digests_of(artifact, store):
            if fault := store.artifacts.fault(digest):
                whose = name if digest == artifact.digest else f"{name} (what is told of it)"
                return Known(step, f"its output {whose} was {fault}")
    return Known(step, "")


def taken(known: StepRun, node: Node, *, run: str) -> StepRun:
    """Return what was finished before as a node's outcome in a run, under the node's own names."""
    return msgspec.structs.replace(
        known,
        run=run,
        step=node.name,
        state="cached",
        reason="nothing changed",
        started_at=now(),
        seconds=0.0,
        outputs=dict(zip(node.part.outputs(), known.outputs.values(), strict=True)),
        error="",
        tries=1,
        parent=node.part.name if node.label else "",
    )


def digests_of(artifact: Artifact, store: Store) -> Iterator[str]:
    """Yield the digest of an artifact's bytes, of its members, and of what is kept beside it, such as a profile."""
    yield artifact.digest
    if artifact.format == FORMAT and not store.artifacts.fault(artifact.digest):
        for member in store.collection(artifact).members.values():
            yield from digests_of(member, store)
    for value in artifact.detail.values():
        if isinstance(value, str) and _DIGEST.fullmatch(value):
            yield value


def lost_digest(error: BaseException) -> str:
    """Return the digest of the artifact that an error says is damaged or gone; empty for any other error."""
    if isinstance(error, CorruptArtifact):
        return error.digest
    return error.name if isinstance(error, NotFound) and error.kind == "artifact" else ""


def giver_of(digest: str, artifacts: Mapping[str, Artifact], store: Store) -> str:
    """Return the output that an artifact is, or a part of; empty where it is none."""
    return next((name for name, artifact in artifacts.items() if digest in digests_of(artifact, store)), "")


def checked_afterwards(
    step: StepRun, part: Part, measure: Callable[[], Mapping[str, str]]
) -> tuple[StepRun, list[str]]:
    """Return a step that has just run as it is to be recorded, and warnings; `measure` gives its ingredients anew.

    What changed while it ran may have been read before or after. Where that is a file, the environment or the
    items of a mapped step, the outcome gets a key that is never met again.
    """
    try:
        now_made_of = measure()
    except DeclarationError as error:  # a file that it declares is gone
        now_made_of = {name: digest for name, digest in step.ingredients.items() if not name.startswith("file.")}
        if len(now_made_of) == len(step.ingredients):
            raise error
    names = step.ingredients.keys() | now_made_of.keys()
    changed = sorted(name for name in names if step.ingredients.get(name) != now_made_of.get(name))
    outside = [name for name in changed if name.startswith(("file.", "environment.", "input."))]
    if outside:
        step = msgspec.structs.replace(step, key=key_of(step.ingredients | {"changed while it ran": step.run}))
    warnings = [
        f"{part.place}: the {name.replace('.', ' ', 1)} changed while {part.name!r} ran; "
        + ("what it gave is not used again" if outside else "what it held before is what the key knows")
        for name in outside or [name for name in changed if name.startswith("constant.")]
    ]
    return step, warnings


def _moment(at: datetime) -> str:
    here = at.astimezone()
    same_day = here.date() == datetime.now(UTC).astimezone().date()
    return f"{here:%H:%M:%S}" if same_day else f"{here:%Y-%m-%d %H:%M}"
