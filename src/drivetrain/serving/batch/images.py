"""Images as the rows of a job: each file below a folder is a row with its path."""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import polars as pl

from drivetrain.errors import UsageError
from drivetrain.serving.batch.plan import Part, Plan
from drivetrain.serving.batch.source import File

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.serving.batch.job import Settings
    from drivetrain.serving.requests import Reader


def plan_of_images(files: Sequence[File], settings: Settings, reader: Reader) -> Plan:
    """Return the parts of some images; the only image that the version takes is the column of their paths.

    Raises:
        UsageError: it takes none, or several.
    """
    root = files[0].root
    name = PurePosixPath(root).name or "images"
    columns = [column.name for column in reader.columns if column.kind == "image"]
    if len(columns) != 1:
        takes = "no image" if not columns else f"{len(columns)} images ({', '.join(columns)})"
        raise UsageError(
            f"{name} holds images and no file of rows, and the version takes {takes}",
            remedy="give a file of rows, with a column for each value that it takes",
        )
    taken = files[: settings.limit]
    folder = File(path=root, root=root, name=name, format="image", stamp="",
                  size_bytes=sum(file.size_bytes for file in taken))  # fmt: skip
    listed = pl.DataFrame([pl.Series(columns[0], [file.name for file in taken], dtype=pl.String)])
    count = max(1, round(len(taken) / settings.part_rows))
    edges = [len(taken) * place // count for place in range(count + 1)]
    parts = [
        Part(
            number=number, file=folder, schema=dict(listed.schema), folders=pl.DataFrame(), start=start, stop=stop,
            first_row=start, most=None, name=f"{name}-{number:05}" if count > 1 else name,
            listed=listed.slice(start, stop - start),
        )
        for number, (start, stop) in enumerate(pairwise(edges))
    ]  # fmt: skip
    return Plan(files=list(taken), parts=parts, rows=len(taken))
