from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from tests.store.codecs.kept import again, kept

from drivetrain.errors import Unkeepable, WrongForm
from drivetrain.store.store import Store

DTYPES = arrays.scalar_dtypes() | arrays.unicode_string_dtypes() | arrays.byte_string_dtypes()


@settings(max_examples=60, deadline=None)
@given(array=arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, min_side=0, max_side=4)))
def test_an_array_comes_back(one_store: Store, array: Any) -> None:
    seen = one_store.value(one_store.keep(array, part="part"), np.ndarray)

    assert seen.dtype == array.dtype
    assert seen.shape == np.shape(array)
    assert seen.tobytes() == np.asarray(array).tobytes()


def test_a_scalar_comes_back_as_the_number_that_is_wanted(store: Store) -> None:
    auc = kept(store, np.float32(0.75))

    assert type(store.value(auc)) is np.float32
    assert store.value(auc, float) == 0.75
    with pytest.raises(WrongForm):
        store.value(kept(store, np.str_("text")), int)


def test_a_table_is_read_as_the_array_of_its_columns(store: Store) -> None:
    assert store.value(kept(store, pl.DataFrame({"a": [1, 2], "b": [3, 4]})), np.ndarray).tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.array([object()]), "dtype object"),
        (np.zeros(2, dtype=[("a", object)]), "objects"),
        (np.ma.masked_array([1, 2], mask=[False, True]), "MaskedArray"),
        (np.random.default_rng(0), "Generator"),
    ],
)
def test_what_npy_would_not_give_back_is_refused(store: Store, array: Any, named: str) -> None:
    with pytest.raises(Unkeepable, match=named):
        store.keep(array, part="part")


def test_an_array_of_objects_in_a_file_is_not_unpickled(store: Store) -> None:
    path = store.artifacts.scratch_path()
    with path.open("xb") as file:
        np.save(file, np.array([{}]), allow_pickle=True)
    artifact = kept(store, np.zeros(1))
    forged = type(artifact)(digest=store.artifacts.adopt(path), format="npy", size_bytes=1)

    with pytest.raises(ValueError, match="allow_pickle"):
        store.value(forged)


def test_an_array_and_the_next_reader_do_not_share_memory(store: Store) -> None:
    artifact = kept(store, np.zeros(2))

    store.value(artifact)[0] = 9

    assert again(store, np.zeros(2)).tolist() == store.value(artifact).tolist() == [0, 0]
