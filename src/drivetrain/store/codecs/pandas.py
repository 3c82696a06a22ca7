"""Tables of pandas as the same Parquet; its index and column types come back with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from drivetrain.errors import Unkeepable
from drivetrain.store.codecs.codec import Written, plain_form
from drivetrain.store.codecs.polars import ROW_GROUP, only_column

if TYPE_CHECKING:
    from pathlib import Path


class PandasCodec:
    """Keeps DataFrame and Series.

    A default index is not written. Any other is written beside the columns: it is the index again when the table is
    read as pandas; read as polars or Arrow, an index with a name is a column, and one without is left out.
    """

    formats = frozenset({"parquet"})
    shares = False

    def write(self, value: Any, path: Path) -> Written:
        if isinstance(value, pd.Series):
            # A series without a name is the column "", as in polars.
            value = value.to_frame("" if value.name is None else value.name)
        if not isinstance(value, pd.DataFrame):
            raise Unkeepable(
                found=f"a pandas {type(value).__qualname__}",
                right="return a DataFrame or a Series, such as `.to_frame()` of an index",
            )
        if not all(isinstance(name, str) for name in value.columns) or not value.columns.is_unique:
            raise Unkeepable(
                found="a table whose column names are not text, or not unique",
                right="rename them: `frame.columns = [str(name) for name in frame.columns]`",
            )
        try:
            table = pa.Table.from_pandas(value)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise Unkeepable(
                found=f"a table of which a column holds several types or objects: {error.args[-1]}",
                right="give each column one type: `frame.astype({…})`",
            ) from error
        pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP)
        return Written("parquet", len(value))

    def read(self, path: Path, form: Any) -> Any:
        with open(path, "rb") as file:  # a path would be taken apart for `key=value` folders
            frame = pq.read_table(file).to_pandas()
        if plain_form(form) is not pd.Series:
            return frame
        series = only_column(frame.columns, frame)
        return series.rename(None) if series.name == "" else series

    def joined(self, values: list[Any]) -> Any:
        """Return the rows of several tables as one."""
        return pd.concat(values, ignore_index=all(isinstance(value.index, pd.RangeIndex) for value in values))


CODEC = PandasCodec()
