import os
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from tests.data.work import Work

from drivetrain.data.checks import not_null
from drivetrain.data.dataset import dataset
from drivetrain.data.profile import Profile
from drivetrain.data.source import read
from drivetrain.errors import CheckFailed, NotFound, StepFailed, UnknownName, UsageError
from drivetrain.pipeline.code import CodeReader
from drivetrain.pipeline.key import ingredients_of
from drivetrain.store.store import Store
from drivetrain.system.function import step


def test_a_dataset_tells_its_roles_columns_and_profile(tmp_path: Path) -> None:
    @dataset(key="id", label="late", later=["departed"], checks=[not_null("id")])
    def flights() -> pl.LazyFrame:
        return pl.LazyFrame({"id": [1, 2], "departed": [3, 4], "late": [True, None]})

    work = Work(tmp_path, flights)

    frame = work.until("flights")

    detail = work.artifact("flights").detail
    assert frame.height == 2
    assert detail["roles"] == {"key": "id", "label": "late", "later": ("departed",)}
    assert [column["name"] for column in detail["columns"]] == ["id", "departed", "late"]
    profile = work.store.json(detail["profile"], dict[str, Profile])
    assert profile["late"].nulls == 1
    assert msgspec.json.encode(detail)


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_tables_of_other_libraries_are_taken(tmp_path: Path, library: str) -> None:
    vendor = pytest.importorskip(library)
    pytest.importorskip("pyarrow")
    made: Any = vendor.DataFrame({"a": [1, 2]}) if library == "pandas" else vendor.table({"a": [1, 2]})

    @dataset
    def numbers() -> pl.DataFrame:
        return made  # type: ignore[no-any-return]

    assert Work(tmp_path, numbers).until("numbers")["a"].to_list() == [1, 2]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    @dataset
    def numbers() -> list[int]:
        return [1]

    with pytest.raises(StepFailed, match=r"builtins\.list, which is no table"):
        Work(tmp_path, numbers).until("numbers")


def test_a_role_without_its_column_is_answered_with_the_nearest(tmp_path: Path) -> None:
    @dataset(key="flight")
    def flights() -> pl.DataFrame:
        return pl.DataFrame({"flights": [1]})

    with pytest.raises(UnknownName, match="did you mean flights") as caught:
        Work(tmp_path, flights).until("flights")
    assert caught.value.place
    assert caught.value.place.file == __file__


def test_a_key_must_be_unique_and_a_time_a_time(tmp_path: Path) -> None:
    @dataset(key="id")
    def twice() -> pl.DataFrame:
        return pl.DataFrame({"id": [1, 1]})

    @dataset(time="at")
    def text() -> pl.DataFrame:
        return pl.DataFrame({"at": ["2013-01-01"]})

    work = Work(tmp_path, twice, text)

    with pytest.raises(CheckFailed, match=r"unique\(id\)"):
        work.until("twice")
    with pytest.raises(StepFailed, match="to_datetime"):
        work.until("text")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.parquet", pl.DataFrame.write_parquet),
        ("a.csv", pl.DataFrame.write_csv),
        ("a.ndjson", pl.DataFrame.write_ndjson),
        ("a.arrow", pl.DataFrame.write_ipc),
    ],
)
def test_files_are_read_by_their_suffix_from_the_project_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Any
) -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    (tmp_path / "data").mkdir()
    (tmp_path / "inner").mkdir()
    (tmp_path / "drivetrain.toml").touch()
    write(frame, tmp_path / "data" / name)
    monkeypatch.chdir(tmp_path / "inner")

    assert read(f"data/{name}").collect().equals(frame)
    assert read(f"data/*{Path(name).suffix}").collect().equals(frame)


def test_a_missing_file_is_answered_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flights.parquet").touch()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(NotFound, match=r"did you mean flights\.parquet"):
        read("flihts.parquet")
    with pytest.raises(UsageError, match="no suffix"):
        read("flights")


PLACE = "data.csv"


def through() -> int:
    return read("data.csv").collect().height


def test_a_changed_file_changes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("a\n1\n")

    @dataset
    def in_the_code() -> pl.LazyFrame:
        return read("data.csv")

    @dataset
    def in_a_setting(path: str = "data.csv") -> pl.LazyFrame:
        return read(path)

    @dataset
    def in_a_constant() -> pl.LazyFrame:
        return read(PLACE)

    @step
    def in_a_helper() -> int:
        return through()

    store = Store.open(tmp_path / "store")

    def measured() -> list[dict[str, str]]:
        return [
            ingredients_of(
                part, code=CodeReader(tmp_path), settings=part.settings(), inputs={}, store=store, root=tmp_path
            )[0]
            for part in (in_the_code, in_a_setting, in_a_constant, in_a_helper)
        ]

    before = measured()
    os.utime("data.csv", ns=(0, 0))
    touched = measured()
    Path("data.csv").write_text("a\n2\n")
    after = measured()

    assert before == touched
    assert all("file.data.csv" in made_of for made_of in before)
    assert all(old != new for old, new in zip(before, after, strict=True))
