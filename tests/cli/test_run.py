"""`drivetrain run`, as a user sees it."""

from __future__ import annotations

import msgspec
import pytest
from tests.project import Project

pytest.importorskip("sklearn")
pytest.importorskip("skops")

SYSTEM = """
import polars as pl
from sklearn.linear_model import LogisticRegression

import drivetrain as dt


@dt.dataset(key="id", label="large")
def rows() -> pl.DataFrame:
    x = pl.int_range(200, eager=True)
    return pl.DataFrame({"id": x, "x": (x % 10).cast(pl.Float64), "large": x % 10 > 6})


train, test = dt.split(rows, test=0.3)


@dt.model
def size(train: pl.DataFrame) -> LogisticRegression:
    x, y = dt.xy(train)
    return LogisticRegression().fit(x, y)


@dt.evaluation
def quality(size: LogisticRegression, test: pl.DataFrame) -> dt.metrics.Binary:
    return dt.metrics.binary(size, test)


gate = dt.Gate(size, require=[quality.auc >= 0.8])
"""


def test_a_run_whose_gate_refuses_exits_with_three(project: Project) -> None:
    project.write(SYSTEM.replace("quality.auc >= 0.8", "quality.auc >= 1.5"))
    told = project.command("run", check=3)
    assert "gate: size@1 did not pass" in told.stdout
    assert "drivetrain models" in told.stdout
    assert told.stderr == ""
    in_json = msgspec.json.decode(project.command("run", "--json", check=3).stdout)
    assert in_json["run"]["state"] == "finished"
    project.write(SYSTEM)
    project.command("run")


def test_serving_is_named_next_only_where_a_gate_has_decided(project: Project) -> None:
    project.write(f"{SYSTEM}\nservice = dt.Service(size)\n")
    assert "`drivetrain serve`" in project.command("run").stdout
    no = "\n\n@dt.step\ndef no() -> bool:\n    return False\n\n\n"
    skipped = SYSTEM.replace("\ngate = dt.Gate(size, ", f"{no}gate = dt.Gate(size, when=no, ")
    project.write(f"{skipped}\nservice = dt.Service(size)\n")
    told = project.command("run").stdout
    assert "no is false" in told
    assert "`drivetrain serve`" not in told


def test_the_metrics_stand_in_the_order_of_the_evaluation_also_when_it_did_not_run_again(project: Project) -> None:
    project.write(SYSTEM)
    first, second = project.command("run").stdout, project.command("run").stdout
    assert "quality: auc 1, average_precision 1, log_loss" in first
    figures = [line for line in first.splitlines() if "quality: auc" in line]
    assert "· quality" in second
    assert figures == [line for line in second.splitlines() if "quality: a" in line]


WARNED = """
import polars as pl

import drivetrain as dt


@dt.dataset(checks=[dt.between("kg", 0, 100, severity="warn"), dt.not_null("kg")])
def parcels() -> pl.DataFrame:
    return pl.DataFrame({"kg": [1.0, 250.0, -3.0, 7.0], "name": ["a", "b", "c", "d"]})
"""


def test_a_check_that_warns_is_seen_in_each_run_and_in_show(project: Project) -> None:
    project.write(WARNED)
    warning = "between(kg, 0, 100) does not hold in 2 of 4 rows (50.0%), for example kg=250.0, name=b"
    for _ in ("it ran", "it did not run again"):
        lines = project.command("run").stdout.splitlines()
        place = next(number for number, line in enumerate(lines) if "parcels" in line)
        assert lines[place + 1] == f"  ! {warning}"
    assert f"! parcels: {warning}" in project.command("show", "latest").stdout
    (step,) = project.json("run")["steps"]
    assert step["outputs"]["parcels"]["detail"]["warnings"] == [warning]
