from typing import Any

import pytest
from tests.store.codecs.kept import again, kept

from drivetrain.errors import WrongForm
from drivetrain.store.store import Store


def test_a_figure_of_matplotlib_is_kept_as_png(store: Store) -> None:
    figure_type = pytest.importorskip("matplotlib.figure").Figure
    figure = figure_type()
    axes = figure.subplots()
    axes.plot([1, 2, 3])

    data = again(store, figure, format="png")

    assert data.startswith(b"\x89PNG")
    assert again(store, axes) == data
    with pytest.raises(WrongForm, match="png"):
        store.value(kept(store, figure), figure_type)


def made_by(library: str) -> Any:
    if library == "plotly":
        return pytest.importorskip("plotly.graph_objects").Figure(data=[{"y": [1, 2]}])
    altair = pytest.importorskip("altair")
    return altair.Chart(altair.Data(values=[{"a": 1}])).mark_bar().encode(x="a:Q")


@pytest.mark.parametrize("library", ["plotly", "altair"])
def test_other_figures_are_kept_as_pages(store: Store, library: str) -> None:
    page = again(store, made_by(library), format="html")

    assert isinstance(page, str)
    assert "<html" in page
