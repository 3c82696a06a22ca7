"""The columns of a table, and the roles that some of them play."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["bool", "int", "float", "str", "date", "datetime", "tensor", "image", "structure", "other"]


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column: its name, its kind for people and requests, its exact type, and one real value.

    `dtype` is the polars type as text, such as `Int64` or `Datetime('us')`; of a tensor it is numpy's, such as
    `float32`. `form` is what else a kind of value needs to know, such as a tensor's shape: see `data/kinds/`.
    """

    name: str
    kind: Kind
    dtype: str
    nullable: bool = False
    example: Any = None
    form: dict[str, Any] = {}


class Roles(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which columns of a dataset are more than inputs.

    `key` identifies a row, `time` says when the question is asked, `label` is the answer, and `later` are columns that
    are known only afterwards: neither they nor the label ever reach a features function.
    """

    key: str | None = None
    time: str | None = None
    label: str | None = None
    later: tuple[str, ...] = ()

    @property
    def hidden(self) -> tuple[str, ...]:
        """The columns that a request does not have."""
        return (*self.later, *((self.label,) if self.label else ()))


def columns_of(frame: pl.DataFrame) -> list[Column]:
    """Return the columns of a frame, each with its first value that is not null as the example.

    >>> import polars as pl
    >>> [column.kind for column in columns_of(pl.DataFrame({"a": [1], "b": ["x"]}))]
    ['int', 'str']
    """
    found = []
    for series in frame.iter_columns():
        values = series.drop_nulls().head(1).to_list()
        found.append(
            Column(
                name=series.name,
                kind=kind_of(series.dtype),
                dtype=str(series.dtype),
                nullable=series.null_count() > 0,
                example=values[0] if values else None,
            )
        )
    return found


def kind_of(dtype: pl.DataType) -> Kind:
    """Return the kind of a polars type."""
    import polars as pl

    if dtype == pl.Boolean:
        return "bool"
    if dtype.is_integer():
        return "int"
    if dtype.is_float() or dtype.is_decimal():
        return "float"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "str"
    if dtype == pl.Date:
        return "date"
    if dtype == pl.Datetime:
        return "datetime"
    return "other"


def dtype_of(column: Column) -> pl.DataType:
    """Return the polars type in which a request's values for this column are read.

    Text and categories are read as text.
    """
    import polars as pl

    if column.kind == "str":
        return pl.String()
    if column.kind == "datetime":
        inner = column.dtype.partition("(")[2].rstrip(")").replace("'", "").replace("time_unit=", "")
        unit, _, zone = inner.partition(", ")
        zone = zone.replace("time_zone=", "")
        return pl.Datetime(unit or "us", None if zone in ("", "None") else zone)  # type: ignore[arg-type]
    kinds: dict[str, pl.DataType] = {"bool": pl.Boolean(), "date": pl.Date(), "int": pl.Int64(), "float": pl.Float64()}
    exact = getattr(pl, column.dtype, None)
    return exact() if exact is not None and column.kind in ("int", "float") else kinds.get(column.kind, pl.Object())
