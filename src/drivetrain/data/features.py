"""Features: rows become model inputs, by one function in training and on the server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Unpack, overload

import msgspec

from drivetrain.data.dataset import Dataset
from drivetrain.data.schema import Column, Roles, columns_of
from drivetrain.data.table import as_frame, in_form, is_table
from drivetrain.errors import DeclarationError, StepFailed
from drivetrain.system.declaration import declares
from drivetrain.system.function import FunctionPart
from drivetrain.system.part import Job, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import polars as pl

    from drivetrain.system.conduct import Options
    from drivetrain.system.part import Part


class Features(FunctionPart, frozen=True, kw_only=True, eq=False):
    """A function from rows to model inputs.

    Its rows are those of the one dataset with a label, which it gets without the label and without what is known only
    later; its other inputs it gets whole. What it gives is proved to be the same for a row alone as among others.
    """

    ROLE = "features"

    # The dataset whose rows become inputs; known once the system is put together.
    entity: Dataset | None = None

    def check(self, parts: Mapping[str, Part]) -> None:
        FunctionPart.check(self, parts)
        inputs = [parts[name] for name in self.needs(parts).values()]
        datasets = [part.name for part in inputs if isinstance(part, Dataset)]
        labelled = [part for part in inputs if isinstance(part, Dataset) and part.roles.label is not None]
        if len(labelled) == 1:
            msgspec.structs.force_setattr(self, "entity", labelled[0])
            return
        found = (
            f"takes {' and '.join(part.name for part in labelled)}, which all have a label"
            if labelled
            else f"takes {', '.join(datasets)}, of which none has a label"
            if datasets
            else "takes no dataset"
        )
        raise DeclarationError(
            f"the features {self.name!r} {found}",
            remedy="exactly one input must be a dataset that names its label, `@dt.dataset(label=...)`: "
            "its rows are those that the model learns from and requests look like",
            place=self.place,
        )

    def perform(self, job: Job) -> dict[str, Output]:
        import polars as pl

        from drivetrain.data.parity import check_parity

        assert self.entity is not None
        entity, roles = self.entity.name, self.entity.roles
        hints = self.annotations()
        side = {
            name: job.value(name, pl.DataFrame if is_table(hints.get(name)) else hints.get(name))
            for name in self.needs({})
            if name != entity
        }
        rows: pl.DataFrame = job.value(entity, pl.DataFrame)
        try:
            features = compute(self, rows, side, settings=job.settings)
        except Exception as error:
            self._explain(error)
            raise
        check_parity(self, rows, features, side, settings=job.settings)
        beside = [name for name in (roles.key, roles.time) if name is not None]
        kept = pl.DataFrame([*(rows[name] for name in beside), *features, rows[roles.label or ""]])
        columns = [msgspec.convert(column, Column) for column in job.artifact(entity).detail["columns"]]
        detail = {
            "roles": msgspec.to_builtins(roles),
            "request": msgspec.to_builtins(self._request(columns, rows.head(1), features.columns, side, job.settings)),
            "columns": msgspec.to_builtins(columns_of(features)),
            "features": self.name,
            "dataset": entity,
            "side": list(side),
        }
        return {self.name: Output(kept, detail)}

    def _explain(self, error: Exception) -> None:
        """Add to the error why a column is not there, if it is one that was taken away."""
        assert self.entity is not None
        roles = self.entity.roles
        for name in roles.hidden:
            if re.search(f"[\"'`]{re.escape(name)}[\"'`]", str(error)):
                why = "is the label" if name == roles.label else "is known only later"
                error.add_note(
                    f"{name!r} {why}, so it is taken away before a features function is called, as on the server; "
                    "do without it here, or compute what needs it in the dataset"
                )

    def _request(
        self,
        columns: Sequence[Column],
        row: pl.DataFrame,
        names: Sequence[str],
        side: Mapping[str, Any],
        settings: Mapping[str, Any],
    ) -> list[Column]:
        """Return the columns that a client sends; those that the function can do without may be left out."""
        assert self.entity is not None
        roles = self.entity.roles
        return [
            column
            if column.nullable
            or column.name in (roles.key, roles.time)
            or self._uses(column, row, names, side, settings)
            else msgspec.structs.replace(column, nullable=True)
            for column in columns
            if column.name not in roles.hidden
        ]

    def _uses(
        self,
        column: Column,
        row: pl.DataFrame,
        names: Sequence[str],
        side: Mapping[str, Any],
        settings: Mapping[str, Any],
    ) -> bool:
        try:
            found = compute(self, row.drop(column.name), side, settings=settings)
        except Exception:  # whatever the user's function raises without the column says that it uses it
            return True
        return found.columns != list(names)


@overload
def features(function: Callable[..., Any], /) -> Features: ...
@overload
def features(**options: Unpack[Options]) -> Callable[[Callable[..., Any]], Features]: ...
@declares
def features(function: Callable[..., Any] | None = None, /, **options: Unpack[Options]) -> Any:
    """Declare a function from rows to model inputs, the very same in training and on the server.

    Exactly one of its inputs is a dataset with a label. If that dataset has a key, the function returns the key column
    beside the features and may change the order of the rows; otherwise it keeps their order. Key and time are not
    features: a column of their name is set aside. `options` are those of `step`.

    >>> import polars as pl
    >>> @features
    ... def departure(flights: pl.DataFrame) -> pl.DataFrame:
    ...     return flights.select("flight_id", far=pl.col("miles") > 500)
    >>> departure(pl.DataFrame({"flight_id": [1], "miles": [2_475]})).row(0)
    (1, True)
    """
    if function is not None:
        return Features.of(function)
    return lambda function: Features.of(function, options=options)


def compute(
    part: Features,
    rows: pl.DataFrame,
    side: Mapping[str, Any],
    *,
    settings: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """Return the features of rows, in the order of the rows; training and the server both come through here.

    `part` belongs to a system. `side` holds the other inputs by name, as polars frames. Hidden columns are
    taken away first. A key that is absent or null is made up, and one may come several times. `settings` are those of
    training; by default those declared.

    Raises:
        StepFailed: the function gives no table, or not each row once.
    """
    assert part.entity is not None, "the part of a system, which has checked it"
    roles = part.entity.roles
    rows = _without(rows, roles.hidden)
    if roles.key is None:
        return _called(part, rows, side, roles, settings)
    rows = _with_keys(rows, roles.key)
    if rows[roles.key].n_unique() == rows.height:
        return _called(part, rows, side, roles, settings)
    # Two requests may ask about one key at once: the first of each goes with the others, then the second ones, …
    import polars as pl

    turn = rows.select(pl.int_range(pl.len()).over(roles.key)).to_series()
    places = pl.int_range(rows.height, eager=True)
    groups = [turn == number for number in turn.unique().sort()]
    found = pl.concat(
        [_called(part, rows.filter(group), side, roles, settings) for group in groups],
        how="vertical_relaxed",
    )
    return found[pl.concat([places.filter(group) for group in groups]).arg_sort()]


def _called(
    part: Features,
    rows: pl.DataFrame,
    side: Mapping[str, Any],
    roles: Roles,
    settings: Mapping[str, Any] | None,
) -> pl.DataFrame:
    """Call the function, and return its feature columns in the order of the rows."""
    import polars as pl

    hints = part.annotations()
    settings = part.settings() | dict(settings or {})
    arguments = {}
    for name in part.parameters():
        if name in side:
            value = side[name]
            arguments[name] = in_form(value, hints.get(name)) if isinstance(value, pl.DataFrame) else value
        elif name in settings:
            arguments[name] = settings[name]
        else:
            arguments[name] = in_form(rows, hints.get(name))
    found = as_frame(part.function(**arguments), part=part.name, place=part.place)
    if roles.key is not None:
        found = _in_order(part, found, rows[roles.key])
    elif found.height != rows.height:
        raise _wrong_rows(
            part,
            f"it gives {found.height:,} rows for {rows.height:,}",
            "give one row for each that comes in, in the same order; "
            "or let the dataset name a key, `@dt.dataset(key=...)`, and return that column too",
        )
    clash = next((name for name in roles.hidden if name in found.columns), None)
    if clash is not None:
        raise _wrong_rows(part, f"it gives a column {clash!r}, as a hidden one is named", "give it another name")
    found = _without(found, (roles.key, roles.time))
    if not found.columns:
        raise _wrong_rows(part, "it gives no column that is a feature", "return the features beside the key")
    return found


def _without(frame: pl.DataFrame, names: Collection[str | None]) -> pl.DataFrame:
    """Return a frame without some columns. `drop` goes by way of a query, which takes longer than answering a row."""
    kept = [name for name in frame.columns if name not in names]
    return frame if len(kept) == frame.width else frame[:, kept]


def _with_keys(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """Return the rows with a key each: one that is missing is made up."""
    import polars as pl

    if key not in rows.columns:
        return rows.with_columns(pl.format("row-{}", pl.int_range(pl.len())).alias(key))
    nulls = rows[key].null_count()
    if not nulls:
        return rows
    if nulls == rows.height and rows[key].dtype.is_integer():
        # As requests nearly always are; an expression for it would take longer than most features functions.
        made = pl.Series(key, range(1, rows.height + 1), dtype=pl.Int64)
        return rows.clone().replace_column(rows.get_column_index(key), made)
    number = pl.int_range(pl.len())
    if rows[key].dtype.is_integer():
        # Above all that are given, so that none of them is met.
        return rows.with_columns(pl.col(key).fill_null(pl.col(key).max().fill_null(0) + 1 + number))
    return rows.with_columns(pl.col(key).cast(pl.String).fill_null(pl.format("row-{}", number)))


def _in_order(part: Features, found: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
    """Return what the function gave in the order of the keys, each exactly once."""
    key = keys.name
    if key not in found.columns:
        raise _wrong_rows(
            part,
            f"it does not return the key {key!r} beside the features, so its rows cannot be told apart",
            f'return the key too, for example `.select("{key}", ...)`',
        )
    given = found[key].cast(keys.dtype)
    if given.len() == keys.len() and given.equals(keys):
        return found
    twice = given.filter(given.is_duplicated())
    missing = keys.filter(~keys.is_in(given.implode()))
    strange = given.filter(~given.is_in(keys.implode()))
    if twice.len() or missing.len() or strange.len():
        what = (
            f"it gives {key}={twice[0]!r} more than once"
            if twice.len()
            else f"it gives no row for {missing.len():,} of {keys.len():,} keys, such as {key}={missing[0]!r}"
            if missing.len()
            else f"it gives a row for {key}={strange[0]!r}, which did not come in"
        )
        raise _wrong_rows(
            part,
            what,
            "give one row for each that comes in: filter rows in the dataset, and join other datasets from the left "
            "with one match at most",
        )
    return keys.to_frame().join(found.with_columns(given), on=key, how="left", maintain_order="left")


def _wrong_rows(part: Features, cause: str, remedy: str) -> StepFailed:
    failed = StepFailed(step=part.name, cause=cause, place=part.place)
    failed.remedy = remedy
    return failed
