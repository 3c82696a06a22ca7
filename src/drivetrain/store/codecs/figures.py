"""Figures as pictures and pages: written only, and read as bytes (matplotlib) or text (plotly, altair).

Nothing is imported here: whoever made the figure has its library, and the figure's own methods do the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.errors import Unkeepable
from drivetrain.store.codecs.codec import Written

if TYPE_CHECKING:
    from pathlib import Path

DOTS_PER_INCH = 144


class FiguresCodec:
    """Keeps matplotlib's figures (or the figure of an Axes) as PNG, those of plotly and altair as HTML."""

    formats: frozenset[str] = frozenset()
    shares = False

    def write(self, value: Any, path: Path) -> Written:
        figure = getattr(value, "figure", None) or value
        if hasattr(figure, "savefig"):
            # Without the library's version the same picture gives the same bytes after an upgrade.
            figure.savefig(path, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", metadata={"Software": None})
            return Written("png")
        if hasattr(value, "write_html"):  # plotly
            # The page holds plotly's script, so that it opens without a network; an id of our own is not random.
            path.write_text(value.to_html(include_plotlyjs=True, div_id="figure"), encoding="utf-8")
            return Written("html")
        if hasattr(value, "to_html"):  # altair
            path.write_text(value.to_html(), encoding="utf-8")
            return Written("html")
        raise Unkeepable(found=f"a {type(value).__qualname__}, which is no figure", right="return the figure itself")

    def read(self, path: Path, form: Any) -> Any:
        raise NotImplementedError("a figure is read as bytes or text")


CODEC = FiguresCodec()
