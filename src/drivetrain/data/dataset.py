"""A dataset: rows that are checked, versioned and profiled before anything is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, overload

import msgspec

from drivetrain.data.checks import Check, not_null, run_checks, unique
from drivetrain.data.duration import duration
from drivetrain.data.schema import Roles, columns_of
from drivetrain.data.table import as_frame
from drivetrain.errors import DeclarationError, StepFailed, UnknownName
from drivetrain.system.declaration import declares
from drivetrain.system.function import FunctionPart
from drivetrain.system.part import Job, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    import polars as pl

    from drivetrain.system.conduct import Options
    from drivetrain.system.part import Part


class Dataset(FunctionPart, frozen=True, kw_only=True, eq=False):
    """A function that gives rows. What it returns is checked, kept as Parquet and profiled.

    With `valid_for`, what it gave is used again only for that long.
    """

    ROLE = "dataset"

    roles: Roles = Roles()
    checks: tuple[Check, ...] = ()
    valid_for: str = ""

    def declared(self) -> dict[str, Any]:
        return {
            "roles": msgspec.to_builtins(self.roles),
            "checks": [check.declared() for check in self.checks],
        }

    def lasts(self) -> timedelta | None:
        return duration(self.valid_for, f"{self.name}.valid_for", place=self.place) if self.valid_for else None

    def check(self, parts: Mapping[str, Part]) -> None:
        FunctionPart.check(self, parts)
        for check in self.checks:
            if not isinstance(check, Check):
                raise DeclarationError(
                    f"{check!r} is no check",
                    remedy='write for example `checks=[dt.not_null("carrier")]`',
                    place=self.place,
                )
        self.lasts()

    def outputs_from(self, result: Any, job: Job) -> dict[str, Output]:
        frame = as_frame(result, part=self.name, place=self.place)
        return {self.name: Output(frame, self._examined(frame, job))}

    def gathered(self, job: Job, name: str) -> dict[str, Any]:
        import polars as pl

        return self._examined(job.value(name, pl.DataFrame), job)

    def _examined(self, frame: pl.DataFrame, job: Job) -> dict[str, Any]:
        """Return what is known of the rows, which are checked first."""
        from drivetrain.data.profile import profile_table

        self._check_roles(frame)
        warnings = run_checks(frame, self.checks, part=self.name, place=self.place)
        detail = {
            "roles": msgspec.to_builtins(self.roles),
            "columns": msgspec.to_builtins(columns_of(frame)),
            "profile": job.store.keep_json(profile_table(frame)),
        }
        return detail | ({"warnings": warnings} if warnings else {})

    def _check_roles(self, frame: pl.DataFrame) -> None:
        roles = self.roles
        for name in (roles.key, roles.time, *roles.hidden):
            if name is not None and name not in frame.columns:
                raise UnknownName(kind=f"column of {self.name!r}", name=name, known=frame.columns, place=self.place)
        if roles.time is not None and not frame[roles.time].dtype.is_temporal():
            failed = StepFailed(
                step=self.name,
                cause=f"its time column {roles.time!r} has the type {frame[roles.time].dtype}",
                place=self.place,
            )
            failed.remedy = f'parse it, for example `.with_columns(pl.col("{roles.time}").str.to_datetime())`'
            raise failed
        if roles.key is not None and (frame[roles.key].null_count() or frame[roles.key].is_duplicated().any()):
            run_checks(frame, [unique(roles.key), not_null(roles.key)], part=self.name, place=self.place)


@overload
def dataset(function: Callable[..., Any], /) -> Dataset: ...
@overload
def dataset(
    *,
    key: str | None = None,
    time: str | None = None,
    label: str | None = None,
    later: Sequence[str] = (),
    checks: Check | Sequence[Check] = (),
    valid_for: str = "",
    **options: Unpack[Options],
) -> Callable[[Callable[..., Any]], Dataset]: ...
@declares
def dataset(
    function: Callable[..., Any] | None = None,
    /,
    *,
    key: str | None = None,
    time: str | None = None,
    label: str | None = None,
    later: Sequence[str] = (),
    checks: Check | Sequence[Check] = (),
    valid_for: str = "",
    **options: Unpack[Options],
) -> Any:
    """Declare a function that gives rows: a polars LazyFrame or DataFrame, a pandas DataFrame or a pyarrow Table.

    `key` identifies a row, `time` says when the question is asked, `label` is the answer, and `later` are columns that
    are known only afterwards: neither they nor the label ever reach a features function. With
    `each={"month": months}` the dataset is made of partitions, of which only new and changed ones are read. The other
    options are those of `step`.

    A source that changes without a trace here, such as a database, is `valid_for` a length of time like `12h`: after
    that it is read again.

    >>> import polars as pl
    >>> @dataset(key="flight_id", label="late")
    ... def flights() -> pl.DataFrame:
    ...     return pl.DataFrame({"flight_id": [1, 2], "late": [False, True]})
    >>> flights.roles.hidden, flights().height
    (('late',), 2)
    """
    if isinstance(later, str):
        later = (later,)
    if isinstance(checks, Check):
        checks = (checks,)
    roles = Roles(key=key, time=time, label=label, later=tuple(later))
    declared: dict[str, Any] = {
        "roles": roles, "checks": tuple(checks), "valid_for": valid_for, "options": options
    }  # fmt: skip
    if function is not None:
        return Dataset.of(function, **declared)
    return lambda function: Dataset.of(function, **declared)
