"""Tables in the forms that users write: polars, pandas, Arrow; inside, all of them are polars frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.errors import Place, StepFailed

if TYPE_CHECKING:
    import polars as pl


def as_frame(value: Any, *, part: str, place: Place | None = None) -> pl.DataFrame:
    """Return a table as a polars frame; a lazy one is collected.

    Raises:
        StepFailed: it is no table.

    >>> import polars as pl
    >>> as_frame(pl.LazyFrame({"a": [1]}), part="flights").height
    1
    """
    made = polars_of(value)
    if made is not None:
        return made
    kind = type(value)
    failed = StepFailed(
        step=part, cause=f"{part!r} returned {kind.__module__}.{kind.__qualname__}, which is no table", place=place
    )
    failed.remedy = "return a polars LazyFrame or DataFrame, a pandas DataFrame or a pyarrow Table"
    raise failed


def polars_of(value: Any) -> pl.DataFrame | None:
    """Return a table as a polars frame, and of anything else nothing.

    >>> polars_of([1, 2]) is None
    True
    """
    import polars as pl

    if isinstance(value, pl.DataFrame):
        return value
    if isinstance(value, pl.LazyFrame):
        return value.collect()
    kind = type(value)
    if f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}" in ("pandas.DataFrame", "pyarrow.Table"):
        made = pl.from_arrow(value) if kind.__qualname__ == "Table" else pl.from_pandas(value)
        assert isinstance(made, pl.DataFrame)
        return made
    return None


def in_form(frame: pl.DataFrame, form: Any) -> Any:
    """Return a frame in the form that an annotation asks for; a polars frame where it asks for none.

    >>> import polars as pl
    >>> type(in_form(pl.DataFrame({"a": [1]}), pl.LazyFrame)).__name__
    'LazyFrame'
    """
    name = f"{getattr(form, '__module__', '').partition('.')[0]}.{getattr(form, '__qualname__', '')}"
    if name == "polars.LazyFrame":
        return frame.lazy()
    if name == "pandas.DataFrame":
        return frame.to_pandas()
    if name == "pyarrow.Table":
        return frame.to_arrow()
    return frame


def is_table(form: Any) -> bool:
    """Return whether an annotation is a table's type.

    >>> is_table(int)
    False
    """
    return getattr(form, "__qualname__", "") in ("DataFrame", "LazyFrame", "Table") and getattr(
        form, "__module__", ""
    ).partition(".")[0] in ("polars", "pandas", "pyarrow")
