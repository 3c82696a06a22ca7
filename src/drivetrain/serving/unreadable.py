"""Images that break off: a model finds out at the pixels, and it is told by row and field as of other values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.errors import RequestError, UnreadableImage
from drivetrain.serving.requests import MAX_PROBLEMS, unfit, wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.serving.requests import Reader, Row


def placed(error: RequestError, reader: Reader, rows: Sequence[Row]) -> RequestError:
    """Return what is wrong with rows, by row and field where it is an image among them; any other error as it is."""
    if not isinstance(error, UnreadableImage):
        return error
    found = f"an image that cannot be read: {error.reason}"
    problems = [
        {"row": number, "field": column.name, "found": found, "wanted": wanted(column)}
        for number, row in enumerate(rows)
        for column, value in zip(reader.columns, row, strict=True)
        if column.kind == "image" and value is not None and value.has(error.digest)
    ]
    return unfit(problems[:MAX_PROBLEMS], more=len(problems) > MAX_PROBLEMS) if problems else error
