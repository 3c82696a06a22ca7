"""Gates, versions and aliases, on a small real system that is run in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivetrain.errors import NotFound, Refused, UnknownName
from drivetrain.pipeline.engine import Execution
from drivetrain.pipeline.plan import make_plan
from drivetrain.registry.bundle import load
from drivetrain.registry.registry import champion_of, point_alias, roll_back, version, versions
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import Decision, Version
from drivetrain.security.event import Event, broken_link
from drivetrain.store.record import now
from drivetrain.store.store import Store
from drivetrain.system.load import load_system

pytest.importorskip("sklearn")
pytest.importorskip("skops")

SYSTEM = """
import polars as pl
from sklearn.linear_model import LogisticRegression

import drivetrain as dt


@dt.dataset(key="id", label="large")
def rows(noise: float = 0.0) -> pl.DataFrame:
    x = pl.int_range(400, eager=True)
    wave = (x * 37 % 100).cast(pl.Float64)
    large = wave + noise * (x * 53 % 90) > 60
    return pl.DataFrame({"id": x, "x": wave, "y": (x * 11 % 7).cast(pl.Float64), "spare": x % 3, "large": large})


@dt.features
def shape(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("id", scaled=pl.col("x") / 100, other="y")


train, test = dt.split(shape, test=0.3)


@dt.model
def size(train: pl.DataFrame, strength: float = 1.0) -> LogisticRegression:
    x, y = dt.xy(train)
    return LogisticRegression(C=strength).fit(x, y)


@dt.evaluation
def quality(size: LogisticRegression, test: pl.DataFrame) -> dt.metrics.Binary:
    return dt.metrics.binary(size, test)


gate = dt.Gate(size, require=[quality.auc >= 0.8, quality.brier <= dt.champion])
service = dt.Service(size, canary=None)
"""


class World:
    """A project whose system is run again and again, with changes."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, Store.open(root / ".drivetrain")
        self.text = SYSTEM

    def run(
        self, *, settings: dict[str, object] | None = None, force: frozenset[str] = frozenset(), **changes: str
    ) -> Decision:
        for old, new in changes.items():
            self.text = self.text.replace(old, new)
        path = self.root / "system.py"
        path.write_text(self.text)
        system = load_system(path)
        Execution(make_plan(system, settings=settings), store=self.store, root=self.root, force=force).execute()
        return self.store.ledger.find(Decision, order="-at", limit=1)[0]

    def replace(self, old: str, new: str) -> None:
        assert old in self.text
        self.text = self.text.replace(old, new)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_first_version_that_passes_becomes_champion(world: World) -> None:
    decision = world.run()
    champion = champion_of(world.store.ledger, "size")
    assert decision.outcome == "promoted"
    assert champion is not None
    assert champion.id == "size@1"
    assert [column.name for column in champion.signature.request] == ["id", "x", "y", "spare"]
    assert [column.name for column in champion.signature.request if column.nullable] == ["spare"]
    assert [column.name for column in champion.signature.features] == ["scaled", "other"]
    assert champion.metrics["quality.auc"] > 0.9


def test_running_again_registers_nothing_new(world: World) -> None:
    world.run()
    decision = world.run()
    assert decision.outcome == "unchanged"
    assert len(versions(world.store.ledger, "size")) == 1


@pytest.fixture
def drawn(world: World) -> World:
    """The same system with a model whose strength is another one each time, told by a file that no key knows."""
    (world.root / "strength.txt").write_text("1.0")
    world.replace("import polars as pl\n", "from pathlib import Path\n\nimport polars as pl\n")
    world.replace(
        "    x, y = dt.xy(train)\n",
        '    x, y = dt.xy(train)\n    strength = float((Path(__file__).parent / "strength.txt").read_text())\n',
    )
    return world


def test_a_forced_step_that_gives_another_model_makes_a_version_that_is_judged(drawn: World) -> None:
    drawn.run()
    (drawn.root / "strength.txt").write_text("5.0")
    unforced = drawn.run()
    decision = drawn.run(force=frozenset(["size"]))
    again = drawn.run()

    assert (unforced.version, unforced.outcome) == ("size@1", "unchanged")
    assert (decision.version, decision.outcome, decision.champion) == ("size@2", "promoted", "size@1")
    assert "size@1 on the same rows" in decision.judgements[1].note
    # What ran last is what a run finds.
    assert (again.version, again.outcome) == ("size@2", "unchanged")
    first, second = (version(drawn.store.ledger, name) for name in ("size@1", "size@2"))
    assert first.key == second.key
    assert first.artifact.digest != second.artifact.digest


def test_a_forced_step_that_gives_another_model_may_be_refused(drawn: World) -> None:
    drawn.run()
    (drawn.root / "strength.txt").write_text("0.0001")
    decision = drawn.run(force=frozenset(["size"]))
    champion = champion_of(drawn.store.ledger, "size")

    assert (decision.version, decision.outcome) == ("size@2", "refused")
    assert champion is not None
    assert champion.id == "size@1"


def test_a_forced_step_that_gives_the_same_model_makes_no_version(world: World) -> None:
    world.run()
    decision = world.run(force=frozenset(["size"]))
    assert (decision.version, decision.outcome) == ("size@1", "unchanged")


def test_a_model_that_was_lost_and_is_made_anew_is_the_version_only_where_it_is_the_same(drawn: World) -> None:
    drawn.run()
    lost = drawn.store.artifacts.path(version(drawn.store.ledger, "size@1").artifact.digest)
    lost.unlink()
    same = drawn.run()
    restored = lost.exists()
    lost.unlink()
    (drawn.root / "strength.txt").write_text("5.0")
    with pytest.raises(Refused, match="size@2 cannot be compared with the champion: what is kept of size@1 is lost"):
        drawn.run()

    assert (same.version, same.outcome, restored) == ("size@1", "unchanged", True)
    point_alias(drawn.store.ledger, "size", "champion", "size@2", reason="size@1 is lost", actor="ada")
    assert drawn.run().outcome == "unchanged"


def test_a_worse_version_is_refused_with_the_figures_of_both(world: World) -> None:
    world.run()
    decision = world.run(settings={"size.strength": 0.0001})
    assert decision.outcome == "refused"
    (judged,) = [judged for judged in decision.judgements if "champion" in judged.condition]
    assert not judged.holds
    assert judged.found is not None
    assert judged.limit is not None
    assert judged.found > judged.limit
    champion = champion_of(world.store.ledger, "size")
    assert champion is not None
    assert champion.id == "size@1"


def test_the_champion_is_judged_with_its_own_features(world: World) -> None:
    world.run()
    world.replace('other="y"', 'other="y", squared=(pl.col("x") / 100) ** 2')
    decision = world.run()
    (judged,) = [judged for judged in decision.judgements if "champion" in judged.condition]
    first = version(world.store.ledger, "size@1")
    assert judged.limit == pytest.approx(first.metrics["quality.brier"])
    old = load(world.store, first.code)
    assert "squared" not in Path(old.parts["shape"].place.file).read_text()


def test_a_canary_is_begun_where_the_service_asks_for_one(world: World) -> None:
    world.run()
    world.replace("canary=None", "canary=dt.Canary(share=0.3)")
    decision = world.run(settings={"size.strength": 5.0})
    assert decision.outcome == "canary"
    (rollout,) = world.store.ledger.find(Rollout)
    assert (rollout.champion, rollout.challenger, rollout.share) == ("size@1", "size@2", 0.3)


def test_an_unmeasured_metric_is_a_refusal_that_says_so(world: World) -> None:
    world.replace("-> dt.metrics.Binary", "-> dict[str, float]")
    world.replace("quality.auc >= 0.8", "quality.ouc >= 0.8")
    decision = world.run()
    assert decision.outcome == "refused"
    assert "gave no such metric" in decision.judgements[0].note


def test_promotion_and_rollback_are_recorded_with_who_and_why(world: World) -> None:
    world.run()
    world.run(settings={"size.strength": 5.0})
    ledger = world.store.ledger
    point_alias(ledger, "size", "champion", "size@1", reason="to be sure", actor="ada")
    before = now()
    point_alias(ledger, "size", "champion", "size@2", reason="it is better", actor="ada")
    change = roll_back(ledger, "size", reason="it is not", actor="grace")
    assert (change.version, change.previous, change.actor) == ("size@1", "size@2", "grace")
    then = champion_of(ledger, "size", before)
    assert then is not None
    assert then.id == "size@1"
    assert broken_link(ledger.find(Event, order="number")) is None


def test_a_rollback_needs_an_earlier_champion(world: World) -> None:
    world.run()
    with pytest.raises(Refused, match="no earlier champion"):
        roll_back(world.store.ledger, "size", reason="", actor="ada")
    with pytest.raises(NotFound, match="size@7"):
        version(world.store.ledger, "size@7")


def test_a_version_answers_from_its_bundle_whatever_the_folder_holds(world: World) -> None:
    world.run()
    (world.root / "system.py").write_text("raise RuntimeError('rewritten')")
    (found,) = world.store.ledger.find(Version)
    assert "shape" in load(world.store, found.code).parts


def test_going_back_twice_does_not_go_forth_again(world: World) -> None:
    world.run()
    world.run(settings={"size.strength": 5.0})
    ledger = world.store.ledger
    point_alias(ledger, "size", "champion", "size@2", reason="", actor="ada")
    assert roll_back(ledger, "size", reason="", actor="ada").version == "size@1"
    with pytest.raises(Refused, match="no earlier champion"):
        roll_back(ledger, "size", reason="", actor="ada")


def test_a_model_that_cannot_answer_is_not_registered(world: World) -> None:
    world.replace("import drivetrain as dt\n", "import drivetrain as dt\nfrom dataclasses import dataclass\n")
    world.replace(
        "@dt.model\n",
        "@dataclass\nclass Half:\n    share: float\n\n    def predict_proba(self, x):\n"
        "        import numpy as np\n        return np.full((len(x), 2), self.share)\n\n\n@dt.model\n",
    )
    world.replace("-> LogisticRegression", "-> Half")
    world.replace("return LogisticRegression(C=strength).fit(x, y)", "return Half(0.5)")
    world.replace("size: LogisticRegression", "size: Half")
    with pytest.raises(Refused, match="cannot predict"):
        world.run()
    assert not versions(world.store.ledger, "size")


def test_a_version_is_not_registered_where_a_monitor_watches_a_feature_that_it_lacks(world: World) -> None:
    world.text += 'watch = dt.Monitor(service, drift=dt.Drift(columns=["scalde"]))\n'
    with pytest.raises(UnknownName, match="did you mean scaled") as seen:
        world.run()
    assert seen.value.place is not None
    assert seen.value.place.line == SYSTEM.count("\n") + 1
    assert versions(world.store.ledger, "size") == []
    assert world.run(scalde="scaled").outcome == "promoted"
