"""Tables of polars as Parquet: the form in which every table is kept."""

from __future__ import annotations

import re
from os import strerror
from typing import TYPE_CHECKING, Any

import polars as pl

from drivetrain.errors import Unkeepable, WrongForm
from drivetrain.store.codecs.codec import Written, plain_form

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

# Polars' own default depends on the number of rows, and its row groups on the chunks; fixed, the bytes depend on the
# values alone.
ROW_GROUP = 122_880
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
# pandas keeps an index without a name under such a column, which says nothing to anyone else.
_INDEX = re.compile(r"__index_level_\d+__")


class PolarsCodec:
    """Keeps DataFrame, LazyFrame and Series; a table is read as DataFrame unless another form is asked for.

    A LazyFrame is computed as it is written, a piece at a time, and scanned again when it is read.
    """

    formats = frozenset({"parquet"})
    shares = True

    def write(self, value: Any, path: Path) -> Written:
        if isinstance(value, pl.Series):
            value = value.to_frame()
        if not isinstance(value, (pl.DataFrame, pl.LazyFrame)):
            raise Unkeepable(
                found=f"a polars {type(value).__qualname__}", right="return a DataFrame, a LazyFrame or a Series"
            )
        schema = value.collect_schema()
        if pl.Object in schema.dtypes():
            name = next(name for name, dtype in schema.items() if dtype == pl.Object)
            raise Unkeepable(
                where=f"column {name!r}", found="of the type Object", right="cast it to a type of polars, or drop it"
            )
        try:
            value.lazy().sink_parquet(path, row_group_size=ROW_GROUP)
        except (pl.exceptions.PolarsError, OSError) as error:
            # The disk's errors come wrapped, or as text that ends with the file's name; those of the user's own sources
            # and expressions stay as they are.
            number, text = _OS_ERROR.search(str(error)), str(error)
            if number is None or ("underlying IO error" not in text and path.name not in text):
                raise
            raise OSError(int(number[1]), strerror(int(number[1]))) from error
        if isinstance(value, pl.DataFrame):
            return Written("parquet", value.height)
        return Written("parquet", pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())

    def read(self, path: Path, form: Any) -> Any:
        form = plain_form(form)
        table = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        index = [name for name in table.collect_schema().names() if _INDEX.fullmatch(name)]
        if index:
            table = table.drop(index)
        if form is pl.LazyFrame:
            return table
        frame = table.collect()
        return only_column(frame.columns, frame) if form is pl.Series else frame

    def joined(self, values: list[Any]) -> Any:
        """Return the rows of several tables as one; a column that holds integers here and floats there holds floats."""
        if isinstance(values[0], pl.Series):
            return pl.concat(values)
        return pl.concat(values, how="vertical_relaxed")


def only_column(names: Collection[str], frame: Any) -> Any:
    """Return the one column of a table as a series.

    Raises:
        WrongForm: it has none or several.
    """
    if len(names) != 1:
        raise WrongForm(format=f"parquet with {len(names)} columns", wanted="Series")
    return frame[next(iter(names))]


CODEC = PolarsCodec()
