import polars as pl
import pytest
from tests.store.codecs.kept import again, kept

from drivetrain.errors import Unkeepable
from drivetrain.store.store import Store

pa = pytest.importorskip("pyarrow")


def test_a_table_comes_back_with_its_schema(store: Store) -> None:
    table = pa.table(
        {"a": pa.array([1, None], pa.int16()), "b": pa.array(["x", "y"]).dictionary_encode(), "c": [[1], []]}
    )
    table = table.replace_schema_metadata({"source": "test"})

    seen = again(store, table, pa.Table, format="parquet")

    assert seen.equals(table)
    assert seen.schema.metadata[b"source"] == b"test"


def test_a_reader_is_written_a_piece_at_a_time_and_read_as_one(store: Store) -> None:
    table = pa.table({"a": list(range(10))})

    artifact = kept(store, table.to_reader(max_chunksize=3))

    assert artifact.rows == 10
    assert store.value(artifact, pa.RecordBatchReader).read_all().equals(table)


def test_arrow_and_polars_read_each_other(store: Store) -> None:
    assert store.value(kept(store, pl.DataFrame({"a": [1]})), pa.Table).to_pydict() == {"a": [1]}
    assert store.value(kept(store, pa.table({"a": [1]})), pl.DataFrame).to_dict(as_series=False) == {"a": [1]}


def test_an_array_alone_is_refused(store: Store) -> None:
    with pytest.raises(Unkeepable, match="return a Table"):
        store.keep(pa.array([1]), part="part")
