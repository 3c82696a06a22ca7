"""A split: rows to learn from and rows to judge by, which never mix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from drivetrain.data.dataset import Dataset
from drivetrain.data.duration import duration
from drivetrain.data.features import Features
from drivetrain.data.schema import Column, Roles
from drivetrain.errors import BadSetting, DeclarationError, Place, StepFailed
from drivetrain.system.caller import caller
from drivetrain.system.declaration import declares
from drivetrain.system.part import Job, Output, Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

# Added to what is hashed, so that a split does not follow another use of the same hash.
SEED = 0x5851_F42D_4C95_7F2D


class Side(Part, frozen=True, kw_only=True, eq=False):
    """One side of a split: the feature columns and, last, the label, of the rows on that side."""

    ROLE = "split"
    RUNS = True

    side: Literal["train", "test"]
    source: Features | Dataset
    # A share of the rows, or a length of time.
    test: float | str

    def needs(self, parts: Mapping[str, Part]) -> dict[str, str]:
        return {self.source.name: self.source.name}

    def declared(self) -> dict[str, Any]:
        return {"side": self.side, "test": self.test}

    def check(self, parts: Mapping[str, Part]) -> None:
        if isinstance(self.source, Dataset) and self.source.roles.label is None:
            raise DeclarationError(
                f"{self.source.name!r} is split, and has no label",
                remedy="name its label: `@dt.dataset(label=...)`",
                place=self.place,
            )

    def perform(self, job: Job) -> dict[str, Output]:
        import polars as pl

        detail = dict(job.artifact(self.source.name).detail)
        table: pl.DataFrame = job.value(self.source.name, pl.DataFrame)
        roles = msgspec.convert(detail["roles"], Roles)
        if isinstance(self.source, Dataset):
            detail = direct_detail(self.source.name, detail, roles)
        assert roles.label is not None
        names = [column["name"] for column in detail["columns"]]
        # (rows with a label,): is the row a test row?
        is_test = rows_to_test(table, roles, self.test, part=self.name, place=self.place)
        table = table.filter(table[roles.label].is_not_null())
        chosen = table.filter(is_test if self.side == "test" else ~is_test)
        if chosen.is_empty():
            raise StepFailed(
                step=self.name,
                cause=f"no row of {self.source.name!r} is on its side of the split (test={self.test!r}, "
                f"{table.height:,} rows with a label)",
                place=self.place,
            )
        return {self.name: Output(chosen.select(*names, roles.label), detail)}


@declares
def split(source: Features | Dataset, *, test: float | str = 0.25) -> tuple[Side, Side]:
    """Return two parts: rows to learn from, and rows to judge by, which never mix.

    The test rows are the newest ones where the dataset has a time: the last `test` of them, as a share or as a length
    of time such as `"21d"`. Otherwise they are drawn by a hash of the key, so that a row stays on its side when others
    come. Rows without a label are on neither side.

    >>> from drivetrain.data.dataset import dataset
    >>> @dataset(label="late")
    ... def flights() -> list: ...
    >>> train, test = split(flights, test=0.2)
    >>> test.side
    'test'
    """
    place = caller()
    if not isinstance(source, (Features, Dataset)):
        raise DeclarationError(
            f"dt.split was given {type(source).__name__}, which is neither features nor a dataset",
            remedy="pass the function declared with @dt.features or @dt.dataset",
            place=place,
        )
    if isinstance(test, str):
        duration(test, "test of dt.split", place=place)
    elif not 0 < test < 1:
        raise BadSetting(
            setting="test of dt.split", found=repr(test), right="write a share such as 0.25, or `21d`", place=place
        )
    return (
        Side(side="train", source=source, test=test, place=place),
        Side(side="test", source=source, test=test, place=place),
    )


def rows_to_test(
    table: pl.DataFrame, roles: Roles, test: float | str, *, part: str, place: Place | None = None
) -> pl.Series:
    """Return, for each row that has a label, whether it is a test row.

    Raises:
        StepFailed: a length of time is asked for, and the rows have no time.
    """
    import polars as pl

    assert roles.label is not None
    labelled = table[roles.label].is_not_null()
    if roles.time is not None:
        times = table[roles.time].filter(labelled)
        known = times.drop_nulls().sort()
        if known.is_empty():
            return pl.repeat(False, len(times), eager=True)
        if isinstance(test, str):
            is_test: pl.Series = times > known.tail(1).dt.offset_by(f"-{test}").item()
        else:
            # Rows of the same moment stay together: those at the boundary are all test rows.
            is_test = times >= known[min(int(len(known) * (1 - test)), len(known) - 1)]
        # A row without a time is no evidence about the newest ones.
        return is_test.fill_null(False)
    if isinstance(test, str):
        failed = StepFailed(
            step=part, cause=f"test={test!r} is a length of time, and the dataset declares no time", place=place
        )
        failed.remedy = "declare `@dt.dataset(time=...)`, or split by a share such as test=0.25"
        raise failed
    numbers = pl.int_range(table.height, dtype=pl.UInt64, eager=True) if roles.key is None else table[roles.key]
    return _draws(numbers.filter(labelled)) < test


def _draws(keys: pl.Series) -> pl.Series:
    """Return for each key a number from 0 up to 1 that looks random and is always the same, on any machine."""
    from zlib import crc32

    import numpy as np
    import polars as pl

    if keys.dtype.is_integer():
        state = keys.to_numpy().astype(np.uint64)
    else:
        # polars' own hash may differ between its versions.
        state = np.fromiter((crc32(text.encode()) for text in keys.cast(pl.String)), dtype=np.uint64, count=len(keys))
    # The finalizer of splitmix64 (Steele, Lea and Flood 2014).
    state = state + np.uint64(SEED)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return pl.Series((state ^ (state >> np.uint64(31))) / 2.0**64)


def direct_detail(name: str, detail: Mapping[str, Any], roles: Roles) -> dict[str, Any]:
    """Return what is told of a training table that comes straight from a dataset: its own columns are the features."""
    beside = {roles.key, roles.time, *roles.hidden}
    columns = [msgspec.convert(column, Column) for column in detail["columns"]]
    features = msgspec.to_builtins([column for column in columns if column.name not in beside])
    return {
        "roles": detail["roles"],
        "request": features,
        "columns": features,
        "features": "",
        "dataset": name,
        "side": [],
    }
