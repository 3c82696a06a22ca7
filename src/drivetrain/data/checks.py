"""Checks that every row of a dataset must pass; they are declared as values and run in one pass over the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import msgspec

from drivetrain.data.duration import duration
from drivetrain.errors import CheckFailed, DeclarationError, Place, UnknownName
from drivetrain.store.record import now
from drivetrain.system.caller import caller
from drivetrain.system.declaration import declares

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

Severity = Literal["fail", "warn"]
EXAMPLES = 5


class Check(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One condition on the rows of a dataset. `severity="warn"` records that it is broken and lets the step go on."""

    # A condition on the table as a whole has no rows to show.
    WHOLE_TABLE: ClassVar[bool] = False

    severity: Severity = "fail"

    def __post_init__(self) -> None:
        known = get_args(Severity)
        if self.severity not in known:
            raise UnknownName(kind="severity of a check", name=str(self.severity), known=known, place=caller())

    def columns(self) -> tuple[str, ...]:
        """Return the columns that the check names."""
        return ()

    def failing(self) -> pl.Expr:
        """Return an expression that is true in the rows that break the check."""
        raise NotImplementedError

    def declared(self) -> dict[str, Any]:
        """Return the check as plain values."""
        return {"check": str(self), "severity": self.severity}


class Unique(Check, frozen=True, kw_only=True, eq=False):
    """No two rows have the same values in these columns."""

    names: tuple[str, ...]

    def columns(self) -> tuple[str, ...]:
        return self.names

    def failing(self) -> pl.Expr:
        import polars as pl

        return (pl.col(self.names[0]) if len(self.names) == 1 else pl.struct(self.names)).is_duplicated()

    def __str__(self) -> str:
        return f"unique({', '.join(self.names)})"


class NotNull(Check, frozen=True, kw_only=True, eq=False):
    """These columns have a value in every row."""

    names: tuple[str, ...]

    def columns(self) -> tuple[str, ...]:
        return self.names

    def failing(self) -> pl.Expr:
        import polars as pl

        return pl.any_horizontal(pl.col(name).is_null() for name in self.names)

    def __str__(self) -> str:
        return f"not_null({', '.join(self.names)})"


class Between(Check, frozen=True, kw_only=True, eq=False):
    """The values of a column lie within bounds, both included; a null passes, a NaN does not."""

    column: str
    low: Any
    high: Any

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def failing(self) -> pl.Expr:
        import polars as pl

        return ~pl.col(self.column).is_between(self.low, self.high)

    def __str__(self) -> str:
        return f"between({self.column}, {self.low}, {self.high})"


class OneOf(Check, frozen=True, kw_only=True, eq=False):
    """The values of a column are among those listed; a null passes."""

    column: str
    values: tuple[Any, ...]

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def failing(self) -> pl.Expr:
        import polars as pl

        column = pl.col(self.column)
        if all(isinstance(value, str) for value in self.values):
            column = column.cast(pl.String)
        return ~column.is_in(list(self.values))

    def __str__(self) -> str:
        return f"one_of({self.column}, {', '.join(map(str, self.values))})"


class Matches(Check, frozen=True, kw_only=True, eq=False):
    """The text of a column matches a regular expression; a null passes."""

    column: str
    regex: str

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def failing(self) -> pl.Expr:
        import polars as pl

        return ~pl.col(self.column).cast(pl.String).str.contains(self.regex)

    def __str__(self) -> str:
        return f"matches({self.column}, {self.regex})"


class RowCount(Check, frozen=True, kw_only=True, eq=False):
    """The table has a number of rows within bounds, both included."""

    WHOLE_TABLE = True

    at_least: int
    at_most: int | None

    def failing(self) -> pl.Expr:
        import polars as pl

        few = pl.len() < self.at_least
        return few if self.at_most is None else few | (pl.len() > self.at_most)

    def __str__(self) -> str:
        return f"row_count(at_least={self.at_least}" + (f", at_most={self.at_most})" if self.at_most else ")")


class Fresh(Check, frozen=True, kw_only=True, eq=False):
    """The newest value of a time column is at most so old. Times without a zone count as UTC."""

    WHOLE_TABLE = True

    column: str
    within: str

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def failing(self) -> pl.Expr:
        import polars as pl

        present = pl.lit(now().replace(tzinfo=None), dtype=pl.Datetime("us"))
        newest = pl.col(self.column).max().cast(pl.Datetime("us"))
        return (newest < present.dt.offset_by(f"-{self.within}")).fill_null(True)

    def __str__(self) -> str:
        return f"fresh({self.column}, within={self.within})"


class Holds(Check, frozen=True, kw_only=True, eq=False):
    """An expression of the user's is true in every row; where it is null, the row passes."""

    expression: Any  # a polars expression, whose type is not loaded here
    name: str

    def columns(self) -> tuple[str, ...]:
        return tuple(self.expression.meta.root_names())

    def failing(self) -> pl.Expr:
        expression: pl.Expr = self.expression
        return ~expression

    def declared(self) -> dict[str, Any]:
        from hashlib import sha256

        text = self.expression.meta.serialize()
        return super().declared() | {"expression": sha256(text).hexdigest()[:16]}

    def __str__(self) -> str:
        return self.name or f"check({self.expression})"


@declares
def unique(*columns: str, severity: Severity = "fail") -> Check:
    """Require that no two rows have the same values in these columns.

    >>> str(unique("flight_id"))
    'unique(flight_id)'
    """
    return Unique(names=_named(columns, "unique"), severity=severity)


@declares
def not_null(*columns: str, severity: Severity = "fail") -> Check:
    """Require a value in each of these columns, in every row.

    >>> str(not_null("carrier", "origin"))
    'not_null(carrier, origin)'
    """
    return NotNull(names=_named(columns, "not_null"), severity=severity)


@declares
def between(column: str, low: Any, high: Any, *, severity: Severity = "fail") -> Check:
    """Require values from `low` to `high`, both included; a null passes, a NaN does not.

    >>> str(between("distance_miles", 10, 6_000))
    'between(distance_miles, 10, 6000)'
    """
    return Between(column=column, low=low, high=high, severity=severity)


@declares
def one_of(column: str, values: Sequence[Any], *, severity: Severity = "fail") -> Check:
    """Require one of `values` wherever there is a value.

    >>> str(one_of("origin", ["EWR", "JFK", "LGA"]))
    'one_of(origin, EWR, JFK, LGA)'
    """
    return OneOf(column=column, values=tuple(values), severity=severity)


@declares
def matches(column: str, regex: str, *, severity: Severity = "fail") -> Check:
    """Require text that matches a regular expression, somewhere unless it is anchored with `^` and `$`.

    >>> str(matches("tail_number", "^N"))
    'matches(tail_number, ^N)'
    """
    return Matches(column=column, regex=regex, severity=severity)


@declares
def row_count(at_least: int = 1, at_most: int | None = None, *, severity: Severity = "fail") -> Check:
    """Require a number of rows.

    >>> str(row_count(1_000))
    'row_count(at_least=1000)'
    """
    return RowCount(at_least=at_least, at_most=at_most, severity=severity)


@declares
def fresh(column: str, within: str = "2d", *, severity: Severity = "fail") -> Check:
    """Require that the newest time in a column is at most `within` old when the dataset is read: `12h`, `2d`.

    >>> str(fresh("observed_at", within="6h"))
    'fresh(observed_at, within=6h)'
    """
    duration(within, "within of dt.fresh", place=caller())
    return Fresh(column=column, within=within, severity=severity)


@declares
def check(expression: Any, *, name: str = "", severity: Severity = "fail") -> Check:
    """Require that a polars expression is true in every row; where it is null, the row passes.

    >>> import polars as pl
    >>> str(check(pl.col("landed_at") > pl.col("departed_at"), name="lands after it left"))
    'lands after it left'
    """
    if not hasattr(expression, "meta"):
        raise DeclarationError(
            f"dt.check was given {type(expression).__name__}, which is no polars expression",
            remedy='write a condition on columns, such as `dt.check(pl.col("price") > 0)`',
            place=caller(),
        )
    return Holds(expression=expression, name=name, severity=severity)


def run_checks(frame: pl.DataFrame, checks: Sequence[Check], *, part: str, place: Place | None = None) -> list[str]:
    """Run the checks in one pass over a table; return what those of severity `warn` found.

    Raises:
        CheckFailed: rows break a check; the message lists every broken one.
        UnknownName: a check names a column that is not there.
    """
    import polars as pl

    for one in checks:
        for column in one.columns():
            if column not in frame.columns:
                raise UnknownName(kind=f"column of {part!r}", name=column, known=frame.columns, place=place)
    found = frame.select(
        (one.failing() if one.WHOLE_TABLE else one.failing().fill_null(False).sum()).cast(pl.Int64).alias(str(number))
        for number, one in enumerate(checks)
    )
    counts = found.row(0) if checks else ()
    broken = [(one, count) for one, count in zip(checks, counts, strict=True) if count]
    failed = [(one, count) for one, count in broken if one.severity == "fail"]
    if failed:
        raise CheckFailed(
            step=part,
            cause="; ".join(_finding(one, count, frame) for one, count in failed),
            rows="\n".join(_rows(one, frame) for one, _ in failed if not one.WHOLE_TABLE),
            place=place,
        )
    return [_finding(one, count, frame) + _example(one, frame) for one, count in broken]


def _named(columns: tuple[str, ...], check: str) -> tuple[str, ...]:
    if not columns or not all(isinstance(column, str) for column in columns):
        raise DeclarationError(
            f"dt.{check} needs the names of columns", remedy=f'write `dt.{check}("flight_id")`', place=caller()
        )
    return columns


def _finding(one: Check, count: int, frame: pl.DataFrame) -> str:
    if isinstance(one, RowCount):
        return f"{one} does not hold: there are {frame.height:,} rows"
    if isinstance(one, Fresh):
        newest: object = frame[one.column].max()
        return f"{one} does not hold: the newest is {newest}"
    share = count / frame.height
    shown = f"{share:.1%}" if share >= 0.001 else "under 0.1%"
    return f"{one} does not hold in {count:,} of {frame.height:,} rows ({shown})"


def _example(one: Check, frame: pl.DataFrame) -> str:
    """Return the first row that breaks a check in a few words; nothing where the check is on the whole table."""
    if one.WHOLE_TABLE:
        return ""
    row = _first_rows(one, frame, rows=1, columns=3).row(0, named=True)
    return ", for example " + ", ".join(f"{name}={value}" for name, value in row.items())


def _first_rows(one: Check, frame: pl.DataFrame, *, rows: int, columns: int) -> pl.DataFrame:
    """Return the first rows that break a check: its own columns first, then others up to so many columns."""
    own = list(dict.fromkeys(one.columns()))
    shown = [*own, *(name for name in frame.columns if name not in own)][: max(len(own), columns)]
    return frame.lazy().filter(one.failing()).select(shown).head(rows).collect()


def _rows(one: Check, frame: pl.DataFrame) -> str:
    """Return the first rows that break a check as a small table."""
    import polars as pl

    rows = _first_rows(one, frame, rows=EXAMPLES, columns=6)
    with pl.Config(
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_formatting="ASCII_MARKDOWN",
        tbl_cols=-1,
        tbl_width_chars=120,
        fmt_str_lengths=24,
    ):
        text = str(rows)
    return f"{one}:\n{text}"
