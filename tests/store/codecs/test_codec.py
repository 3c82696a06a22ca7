import subprocess
import sys
from typing import Any

import polars as pl
import pytest
from tests.store.codecs.kept import kept

from drivetrain.errors import MissingExtra, NoCodec, StoreError, WrongForm
from drivetrain.store.artifact import Artifact
from drivetrain.store.codecs.codec import READERS, codec_for, codec_named, reader_of
from drivetrain.store.store import Store


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        (pl.LazyFrame, "polars"),
        (pl.DataFrame | None, "polars"),
        (dict[str, Any], "json"),
        (str, "text"),
        (None, "json"),
    ],
)
def test_a_type_or_annotation_tells_its_codec(kind: Any, family: str) -> None:
    assert codec_for(kind, part="part") is codec_named(family)


def test_a_type_that_nothing_keeps_is_named_with_its_part() -> None:
    with pytest.raises(NoCodec, match="'clock' returns object"):
        codec_for(object, part="clock")


@pytest.mark.parametrize("form", sorted(READERS))
def test_every_form_on_disk_has_a_reader(form: str) -> None:
    if READERS[form] in {"sklearn", "lightgbm", "xgboost", "onnx", "torch"}:
        pytest.importorskip({"sklearn": "skops"}.get(READERS[form], READERS[form]))

    assert form in reader_of(form, allow_pickle=True).formats


def test_a_form_that_a_newer_version_wrote_is_told_so(store: Store) -> None:
    with pytest.raises(StoreError, match="'hologram'"):
        store.value(Artifact(digest=store.artifacts.put(b""), format="hologram", size_bytes=0))


@pytest.mark.parametrize(("value", "form"), [(pl.DataFrame({"a": [1]}), dict), ({"a": 1}, pl.DataFrame), ("x", int)])
def test_a_value_is_not_handed_in_as_what_it_is_not(store: Store, value: Any, form: Any) -> None:
    with pytest.raises(WrongForm, match=form.__name__):
        store.value(kept(store, value), form)


def test_a_type_that_says_nothing_of_the_form_takes_what_there_is(store: Store) -> None:
    class Anything:
        pass

    table = kept(store, pl.DataFrame({"a": [1]}))

    assert isinstance(store.value(table, Anything), pl.DataFrame)
    assert isinstance(store.value(table, pl.DataFrame | dict), pl.DataFrame)


@pytest.mark.parametrize(
    ("family", "library", "extra"),
    [
        ("pandas", "pandas", "pandas"),
        ("arrow", "pyarrow", "arrow"),
        ("sklearn", "skops", "sklearn"),
        ("lightgbm", "lightgbm", "lightgbm"),
        ("xgboost", "xgboost", "xgboost"),
        ("onnx", "onnx", "onnx"),
        ("torch", "torch", "torch"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    family: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec_named.cache_clear()
    monkeypatch.delitem(sys.modules, f"drivetrain.store.codecs.{family}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(MissingExtra) as caught:
        codec_named(family)

    assert caught.value.facts["library"].partition(".")[0] == library
    assert f"drivetrain[{extra}]" in str(caught.value)
    codec_named.cache_clear()


def test_finding_a_codec_loads_no_library() -> None:
    program = """
import sys
from drivetrain.store.codecs.codec import codec_for
codec_for(dict, part="p"), codec_for(str, part="p")
assert not {"polars", "numpy", "pandas"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
