"""Curves and logs go with their runs: deleted, checked, exported, numbered anew and mended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from tests.monitoring.test_transfer import repacked

from drivetrain.errors import BadArchive, CorruptLedger
from drivetrain.experiments.remark import Note, Tag
from drivetrain.monitoring.transfer import export_everything, export_runs, import_archive
from drivetrain.pipeline import curve
from drivetrain.pipeline.approval import Request
from drivetrain.pipeline.attachment import Attachment, attach
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.points import Points, points_of
from drivetrain.pipeline.retention import delete_runs
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.serving.damage import diagnose
from drivetrain.store.record import now
from drivetrain.store.store import Store
from drivetrain.system.part import Job

NAN = float("nan")
LOSSES = [0.5, NAN, -0.0, float("inf"), 0.125]


class Logging:
    """A step that logs into a store."""

    def __init__(self, store: Store, run: str) -> None:
        self.store, self.run = store, run
        self.points = Points(cast("Job", self), "fit")


def write_run(store: Store, name: str, *, losses: list[float] | None = None, origin: str = "", age: int = 0) -> None:
    """Write a run of one step: what it logged, or, with `origin`, the curve of the run it was taken from."""
    at = now() - timedelta(days=age)
    state = "cached" if origin else "finished"
    step = StepRun(run=name, step="fit", role="step", state=state, key="k", origin=origin or name, reason="", started_at=at)  # type: ignore[arg-type]  # fmt: skip  # noqa: E501
    store.ledger.write(Run(id=name, system="s", state="finished", started_at=at), step)
    if losses is not None:
        logging = Logging(store, name)
        for loss in losses:
            logging.points.log("loss", loss)
        logging.points.close()
    if origin:
        taken = store.ledger.get(Figure, origin, "metric", "fit.loss")
        assert taken is not None
        store.ledger.write(msgspec.structs.replace(taken, run=name))


def loss_of(store: Store, run: str) -> list[str]:
    figure = store.ledger.get(Figure, run, "metric", "fit.loss")
    assert figure is not None
    assert figure.curve is not None
    return [repr(value) for _, value in points_of(store.ledger, figure.curve)]


def point_count(store: Store) -> int:
    ((found,),) = store.ledger.query("SELECT count(*) FROM point")
    return int(found)


def flip(store: Store, run: str = "run-1") -> None:
    figure = store.ledger.get(Figure, run, "metric", "fit.loss")
    assert figure is not None
    store.ledger.query("UPDATE point SET value = 0.75 WHERE curve = ? AND step = 0", figure.curve)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "store")
    write_run(made, "run-1", losses=LOSSES, age=3)
    write_run(made, "run-2", origin="run-1", age=2)
    write_run(made, "run-3", losses=[3.0, 2.0], age=1)
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "home")
    yield made
    made.close()


def test_the_points_go_with_the_last_run_that_names_them(store: Store) -> None:
    delete_runs(store, "run-3", actor="ada", reason="")
    assert point_count(store) == len(LOSSES)
    delete_runs(store, "run-2", actor="ada", reason="")
    assert loss_of(store, "run-1") == ["0.5", "nan", "0.0", "inf", "0.125"]
    delete_runs(store, "run-1", actor="ada", reason="")

    assert point_count(store) == 0


def test_a_deleted_run_takes_its_logs_along(store: Store) -> None:
    for run in ("run-2", "run-3"):
        (store.root / "logs" / run).mkdir(parents=True)

    delete_runs(store, "run-3", actor="ada", reason="")

    assert [path.name for path in (store.root / "logs").iterdir()] == ["run-2"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE point SET value = 0.50000001 WHERE curve = 1 AND step = 0",
        "UPDATE point SET value = 0 WHERE curve = 1 AND step = 1",
        "UPDATE point SET step = 9 WHERE curve = 1 AND step = 4",
        "UPDATE point SET curve = 7 WHERE curve = 1 AND step = 4",
        "UPDATE point SET value = 'x' WHERE curve = 1 AND step = 4",
        "DELETE FROM point WHERE curve = 1 AND step = 2",
        "DELETE FROM point WHERE curve = 1",
    ],
)
def test_any_change_of_a_point_is_found_and_never_shown(store: Store, damage: str) -> None:
    assert diagnose(store).findings == []
    store.ledger.query(damage)

    (finding,) = diagnose(store).findings

    assert (finding.damage.kind, finding.damage.what) == ("curve changed", "curve 1")
    assert finding.affects == ["metric fit.loss of run-2", "metric fit.loss of run-1"]
    with pytest.raises(CorruptLedger, match="curve"):
        points_of(store.ledger, 1)
    assert points_of(store.ledger, 2) == [(0, 3.0), (1, 2.0)]


def test_a_damaged_curve_is_set_aside_and_its_figures_stay(store: Store) -> None:
    flip(store)

    assert curve.set_aside(store) == [1]

    assert diagnose(store).findings == []
    figures = store.ledger.find(Figure, {"name": "fit.loss"}, order="run")
    assert [(each.run, each.value, each.curve) for each in figures] == [
        ("run-1", 0.125, None), ("run-2", 0.125, None), ("run-3", 2.0, 2)
    ]  # fmt: skip
    assert (store.quarantine / "curve-1.jsonl").read_text().startswith("[0, 0.75]\n")


def test_a_curve_that_is_not_logged_in_order_has_a_checksum_too(store: Store) -> None:
    logging = Logging(store, "run-3")
    for step in (5, 3, 5, 4):
        logging.points.log("late", float(step), step)
        logging.points.flush()
    logging.points.close()

    figure = store.ledger.get(Figure, "run-3", "metric", "fit.late")

    assert figure is not None
    assert figure.curve_sum == curve.checksum([(3, 3.0), (4, 4.0), (5, 5.0)])
    assert diagnose(store).findings == []


def test_curves_are_numbered_anew_and_twice_is_once(store: Store, home: Store, tmp_path: Path) -> None:
    write_run(home, "run-9", losses=[9.0])
    export_runs(store, ["run-2"], tmp_path / "runs.tar")

    first, second = (import_archive(home, tmp_path / "runs.tar", actor="ada") for _ in range(2))

    assert (first.runs, first.curves) == (["run-1", "run-2"], 1)
    assert (second.runs, second.rows, second.curves) == ([], 0, 0)
    assert loss_of(home, "run-9") == ["9.0"]
    assert loss_of(home, "run-1") == loss_of(home, "run-2") == loss_of(store, "run-1")
    assert point_count(home) == len(LOSSES) + 1
    assert diagnose(home).findings == []


def test_a_run_that_comes_later_finds_the_curve_that_came_before(store: Store, home: Store, tmp_path: Path) -> None:
    write_run(home, "run-9", losses=[9.0])
    for name in ("run-1", "run-2"):
        export_runs(store, [name], tmp_path / f"{name}.tar")
        import_archive(home, tmp_path / f"{name}.tar", actor="ada")

    assert loss_of(home, "run-2") == loss_of(store, "run-1")
    assert point_count(home) == len(LOSSES) + 1


@pytest.mark.parametrize("is_set_aside", [False, True])
def test_a_backup_mends_a_damaged_curve(store: Store, tmp_path: Path, is_set_aside: bool) -> None:
    before = loss_of(store, "run-1")
    export_everything(store, tmp_path / "all.tar")
    flip(store)
    if is_set_aside:
        curve.set_aside(store)

    imported = import_archive(store, tmp_path / "all.tar", actor="ada")

    assert imported.curves == 1
    assert diagnose(store).findings == []
    assert loss_of(store, "run-1") == loss_of(store, "run-2") == before


def test_a_damaged_curve_is_not_exported(store: Store, tmp_path: Path) -> None:
    flip(store)

    with pytest.raises(CorruptLedger):
        export_everything(store, tmp_path / "all.tar")
    export_runs(store, ["run-3"], tmp_path / "runs.tar")


def curve_left_out(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    del members["curves/1"], manifest["files"]["curves/1"]


def curve_changed(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["curves/1"], manifest["files"]["curves/1"] = members["curves/2"], manifest["files"]["curves/2"]


def strange_log(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["logs/run-8/a.log"], manifest["files"]["logs/run-8/a.log"] = members["curves/2"], manifest["files"]["curves/2"]  # fmt: skip  # noqa: E501


def outside(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    name = "logs/../../evil.log"
    members[name], manifest["files"][name] = members["curves/2"], manifest["files"]["curves/2"]


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        (curve_left_out, "curve 1 is in it without a figure"),
        (curve_changed, "not those that its figures tell of"),
        (strange_log, "not the run"),
        (outside, "no file of an archive"),
    ],
)
def test_a_forged_file_is_refused(store: Store, home: Store, tmp_path: Path, forge: Any, told: str) -> None:
    export_everything(store, tmp_path / "all.tar")

    with pytest.raises(BadArchive, match=told):
        import_archive(home, repacked(tmp_path / "all.tar", forge), actor="ada")

    assert not home.ledger.find(Run)
    assert not (home.root / "logs").exists()


def test_all_that_belongs_to_a_run_goes_with_it(store: Store, home: Store, tmp_path: Path) -> None:
    at = now()
    asked = Request(id="approval-1", name="ok", subject="d", output="fit", run="run-1", state="approved", asked_at=at)
    store.ledger.write(
        Tag(run="run-2", tag="best", actor="ada", at=at),
        Note(id="note-1", run="run-2", text="a word", actor="ada", at=at),
        asked,
    )
    attach(store, "run-1", "fit", "confusion", {"true": 3})
    (store.root / "logs" / "run-1").mkdir(parents=True)
    (store.root / "logs" / "run-1" / "rows[a%2Fb].log").write_bytes(b"epoch 1\n\xff")

    export_runs(store, ["run-2"], tmp_path / "runs.tar")
    import_archive(home, tmp_path / "runs.tar", actor="ada")

    assert [each.tag for each in home.ledger.find(Tag)] == ["best"]
    assert [each.text for each in home.ledger.find(Note)] == ["a word"]
    assert home.ledger.find(Request) == [asked]
    (attached,) = home.ledger.find(Attachment)
    assert home.value(attached.artifact) == {"true": 3}
    assert (home.root / "logs" / "run-1" / "rows[a%2Fb].log").read_bytes() == b"epoch 1\n\xff"


def test_a_tag_that_was_taken_off_since_stays_off(store: Store, home: Store, tmp_path: Path) -> None:
    tag = Tag(run="run-3", tag="best", actor="ada", at=now())
    store.ledger.write(tag)
    export_runs(store, ["run-3"], tmp_path / "runs.tar")
    import_archive(home, tmp_path / "runs.tar", actor="ada")
    home.ledger.write(msgspec.structs.replace(tag, is_on=False, at=now()))

    import_archive(home, tmp_path / "runs.tar", actor="ada")

    assert [each.is_on for each in home.ledger.find(Tag)] == [False]


def test_an_answer_from_an_earlier_run_comes_with_the_run_that_used_it(
    store: Store, home: Store, tmp_path: Path
) -> None:
    asked = Request(
        id="approval-7", name="ok", subject="d", output="fit", run="run-0", state="approved", asked_at=now()
    )
    (step,) = store.ledger.find(StepRun, {"run": "run-3"})
    kept = store.keep(True, part="ok", detail={"approval": {"request": "approval-7"}})
    store.ledger.write(asked, msgspec.structs.replace(step, step="ok", outputs={"ok": kept}))

    export_runs(store, ["run-3"], tmp_path / "runs.tar")
    import_archive(home, tmp_path / "runs.tar", actor="ada")

    assert home.ledger.find(Request) == [asked]


def test_a_curve_that_is_being_logged_is_never_called_damaged(store: Store) -> None:
    logging, looking = Logging(store, "run-3"), Store.open(store.root)
    is_done = threading.Event()

    def log() -> None:
        for number in range(60):
            for step in range(500):
                logging.points.log("busy", float(step), number * 500 + step)
                logging.points.log("late", float(step), step)
            logging.points.flush()
        is_done.set()

    thread = threading.Thread(target=log)
    thread.start()
    looks = 0
    while not is_done.is_set():
        assert curve.damaged(looking.ledger) == {}
        looks += 1
    thread.join()
    logging.points.close()

    assert looks > 1
    assert curve.damaged(looking.ledger) == {}
