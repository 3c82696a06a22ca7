"""Tables of Arrow as Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from drivetrain.errors import Unkeepable
from drivetrain.store.codecs.codec import Written, plain_form
from drivetrain.store.codecs.polars import ROW_GROUP

if TYPE_CHECKING:
    from pathlib import Path


class ArrowCodec:
    """Keeps Table and RecordBatchReader; a reader is written a piece at a time."""

    formats = frozenset({"parquet"})
    shares = True

    def write(self, value: Any, path: Path) -> Written:
        try:
            if isinstance(value, pa.Table):
                pq.write_table(value, path, compression="zstd", row_group_size=ROW_GROUP)
                return Written("parquet", value.num_rows)
            if isinstance(value, pa.RecordBatchReader):
                rows = 0
                with pq.ParquetWriter(path, value.schema, compression="zstd") as writer:
                    for batch in value:
                        writer.write_batch(batch)
                        rows += batch.num_rows
                return Written("parquet", rows)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise Unkeepable(
                found=f"a table that Parquet cannot hold: {error}", right="cast the column to a type of Parquet"
            ) from error
        raise Unkeepable(found=f"an Arrow {type(value).__qualname__}", right="return a Table")

    def read(self, path: Path, form: Any) -> Any:
        with open(path, "rb") as file:  # a path would be taken apart for `key=value` folders
            table = pq.read_table(file)
        return table.to_reader() if plain_form(form) is pa.RecordBatchReader else table

    def joined(self, values: list[Any]) -> Any:
        """Return the rows of several tables as one."""
        if isinstance(values[0], pa.RecordBatchReader):
            return pa.RecordBatchReader.from_batches(values[0].schema, (batch for each in values for batch in each))
        return pa.concat_tables(values, promote_options="permissive")


CODEC = ArrowCodec()
