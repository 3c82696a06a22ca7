"""What answers now: the champion, and a challenger that gets a share; kept in step with the registry."""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from drivetrain.errors import DrivetrainError, RequestError
from drivetrain.pipeline.run import StepRun
from drivetrain.registry.registry import champion_of
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import Version
from drivetrain.serving.curve import Curve
from drivetrain.serving.outputs import Outputs
from drivetrain.serving.predictor import Predictor
from drivetrain.serving.ready import ReadyModel
from drivetrain.serving.requests import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.serving.requests import Row
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.ledger import Ledger
    from drivetrain.store.store import Store

_SPACE = 1 << 64
# A version in memory: one that learnt from a table here, or one that was ready.
Arm = Predictor | ReadyModel


class Wanted(msgspec.Struct, frozen=True):
    """Which versions should answer, and with which side inputs."""

    champion: Version | None = None
    challenger: Version | None = None
    share: float = 0.0
    rollout: str = ""
    side: dict[str, Artifact] = {}

    @property
    def key(self) -> tuple[Any, ...]:
        """What is compared to find out whether anything has changed."""
        versions = tuple(version.id if version else "" for version in (self.champion, self.challenger))
        return (*versions, self.share, self.rollout, tuple(sorted((n, a.digest) for n, a in self.side.items())))


def wanted(ledger: Ledger, service: str, model: str) -> Wanted:
    """Return which versions should answer for a service now."""
    champion = champion_of(ledger, model)
    if champion is None:
        return Wanted()
    rollouts = ledger.find(Rollout, {"service": service, "state": "canary"}, order="-started_at", limit=1)
    challenger = ledger.get(Version, rollouts[0].challenger) if rollouts else None
    if challenger is not None and challenger.id == champion.id:
        challenger = None
    names = {*champion.side_inputs, *(challenger.side_inputs if challenger else ())}
    return Wanted(
        champion,
        challenger,
        rollouts[0].share if challenger else 0.0,
        rollouts[0].id if challenger else "",
        {name: artifact for name in sorted(names) if (artifact := _newest(ledger, name)) is not None},
    )


def side_of(ledger: Ledger, version: Version) -> dict[str, Artifact]:
    """Return the side inputs that a version answers with now: the newest tables, or those it was trained beside."""
    return {name: _newest(ledger, name) or artifact for name, artifact in version.side_inputs.items()}


def _newest(ledger: Ledger, dataset: str) -> Artifact | None:
    """Return the table of a dataset that the newest run gave or took from its memory; None where none ran."""
    found = [
        step
        for state in ("finished", "cached")
        for step in ledger.find(StepRun, {"step": dataset, "state": state}, order="-started_at", limit=1)
        if dataset in step.outputs
    ]
    return max(found, key=lambda step: step.started_at).outputs[dataset] if found else None


class Share(NamedTuple):
    """An arm, and the places of the rows that it answers; `columns` are where its own stand in them, None for all."""

    arm: str
    predictor: Arm
    places: Sequence[int]
    columns: list[int] | None


class Live:
    """The versions that answer, ready: it never changes; a swap puts another one in its place.

    One reader serves both arms. A column that only the challenger knows may be left out; rows that lack what the
    challenger cannot do without are answered by the champion.
    """

    def __init__(self, want: Wanted, champion: Arm, challenger: Arm | None) -> None:
        self.want, self.champion, self.challenger = want, champion, challenger
        self.limit = int(want.share * _SPACE)
        self._salt = want.rollout.encode()[:16]
        roles = champion.version.signature.roles
        self.reader = champion.reader if challenger is None else _joint(champion.reader, challenger.reader)
        names = self.reader.names
        self.key_place = names.index(roles.key) if roles.key in names else None
        self.champion_places = _places(self.reader, champion.reader)
        self.challenger_places = _places(self.reader, challenger.reader) if challenger else None
        self._required = [
            names.index(name)
            for name, may_lack in (
                zip(challenger.reader.names, challenger.reader.may_lack, strict=True) if challenger else ()
            )
            if not may_lack
        ]
        arms = [champion, challenger] if challenger else [champion]
        # Whether answers come in pieces, or are awaited one by one; neither goes through the batches.
        self.streams = any(arm.version.signature.streams for arm in arms)
        self.is_awaited = any(arm.is_awaited for arm in arms)
        # Whether a batch may take any time: the loop then never waits for one.
        self.may_wait = any(arm.may_wait for arm in arms)
        self.curve = Curve(champion.seconds if challenger is None else _together(champion.seconds, challenger.seconds))

    @cached_property
    def outputs(self) -> Outputs:
        """What it gives to protocols that speak of tensors: as the champion does."""
        return Outputs(self.champion.version.signature)

    def is_for_challenger(self, row: Row, name: str) -> bool:
        """Return whether the challenger answers a row: the same entity gets the same arm for as long as it is tried."""
        key = row[self.key_place] if self.key_place is not None else None
        return self.is_drawn(str(name if key is None else key)) and self._is_whole(row)

    def is_drawn(self, name: str) -> bool:
        """Return whether the challenger answers something of this name."""
        digest = blake2b(name.encode(), digest_size=8, salt=self._salt).digest()
        return int.from_bytes(digest, "big") < self.limit

    def _is_whole(self, row: Row) -> bool:
        """Return whether a row has what the challenger cannot do without."""
        return all(row[place] is not None for place in self._required)

    def share_of(self, rows: Sequence[Row], name: str) -> Share:
        """Return the arm that answers all rows of something with this name."""
        places = range(len(rows))
        if self.challenger is not None and self.is_drawn(name) and all(map(self._is_whole, rows)):
            return Share("canary", self.challenger, places, self.challenger_places)
        return Share("champion", self.champion, places, self.champion_places)

    def shares(self, rows: Sequence[Row], names: Sequence[str], places: Sequence[int]) -> list[Share]:
        """Return which arm answers which of the rows at these places; an arm that answers none is left out."""
        if self.challenger is None:
            return [Share("champion", self.champion, places, self.champion_places)]
        drawn = [self.is_for_challenger(rows[place], names[place]) for place in places]
        others = [place for place, is_for in zip(places, drawn, strict=True) if not is_for]
        tried = [place for place, is_for in zip(places, drawn, strict=True) if is_for]
        found = [
            Share("champion", self.champion, others, self.champion_places),
            Share("canary", self.challenger, tried, self.challenger_places),
        ]
        return [share for share in found if share.places]

    def named(self, number: str = "") -> list[Version]:
        """Return the versions that answer, the champion first: all, or the one that has this number.

        Raises:
            RequestError: 404, it does not answer.
        """
        versions = [arm.version for arm in (self.champion, self.challenger) if arm]
        found = [each for each in versions if not number or str(each.number) == number]
        if not found:
            known = " and ".join(str(each.number) for each in versions)
            message = f"version {number[:20]!r} of {versions[0].model} does not answer here, but {known} does"
            raise RequestError(status=404, message=message)
        return found

    def pinned(self, number: str) -> Live:
        """Return what answers a request that names a version: the champion alone, while a challenger is tried too.

        Raises:
            RequestError: 404, the version does not answer; 409, it is the challenger, which is judged by its share.
        """
        (version,) = self.named(number)
        if version.id == self.champion.version.id:
            return self._alone
        message = f"{version.id} is being tried on a share of the entities, and cannot be asked for: name no version"
        raise RequestError(status=409, message=message)

    @cached_property
    def _alone(self) -> Live:
        return self if self.challenger is None else Live(self.want, self.champion, None)

    def versions(self) -> dict[str, str]:
        """Return the id of the version of each arm."""
        arms = {"champion": self.champion.version.id}
        if self.challenger:
            arms["canary"] = self.challenger.version.id
        return arms


def _together(first: dict[int, float], second: dict[int, float]) -> dict[int, float]:
    """Return how long both arms take, if that is known: several rows are a call of each, one row is a call of one."""
    both = first.keys() & second.keys()
    return {rows: max(first[rows], second[rows]) if rows == 1 else first[rows] + second[rows] for rows in both}


def _joint(first: Reader, second: Reader) -> Reader:
    added = [column for column in second.columns if column.name not in first.names]
    if not added:
        return first
    return Reader(
        [*first.columns, *added],
        optional=first.optional | {column.name for column in added},
        types=second.given_types | first.given_types,
    )


def _places(reader: Reader, of: Reader) -> list[int] | None:
    """Return where the columns of one reader stand in the rows of another; None when they are the same."""
    return None if reader.names == of.names else [reader.names.index(name) for name in of.names]


def picked(rows: Sequence[Row], places: list[int] | None) -> Sequence[Row]:
    """Return rows with the columns of one arm."""
    return rows if places is None else [tuple([row[place] for place in places]) for row in rows]


def load(store: Store, want: Wanted, before: Live | None) -> tuple[Live | None, str]:
    """Return the wanted versions ready to answer, and why the challenger is not among them, if it is not.

    What `before` has loaded already is taken over.

    Raises:
        Exception: the champion cannot be loaded; its code is the user's and may raise anything.
    """
    if want.champion is None:
        return None, ""
    known = {}
    if before is not None and before.want.side == want.side:
        known = {each.version.id: each for each in (before.champion, before.challenger) if each}

    def ready(version: Version) -> Arm:
        side = {name: want.side.get(name, artifact) for name, artifact in version.side_inputs.items()}
        return known.get(version.id) or arm_of(store, version, side)

    champion = ready(want.champion)
    if want.challenger is None:
        return Live(want, champion, None), ""
    try:
        return Live(want, champion, ready(want.challenger)), ""
    except Exception as error:  # a challenger that cannot answer must not hold up the champion
        reason = f"{want.challenger.id} cannot be loaded: {reason_of(error)}"
        return Live(want, champion, None), reason


def arm_of(store: Store, version: Version, side: Mapping[str, Artifact]) -> Arm:
    """Return a version ready to answer, with these tables as its side inputs.

    Raises:
        Exception: its code or its files fail; they are the user's.
    """
    if version.signature.task == "values":
        return ReadyModel.load(store, version)
    return Predictor.load(store, version, side=side)


def reason_of(error: Exception) -> str:
    """Return in one line what went wrong."""
    return error.message if isinstance(error, DrivetrainError) else f"{type(error).__name__}: {error}"
