"""Large tables from one process to another without a copy: an Arrow file that the taker maps into its memory."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from drivetrain.store.artifact import Artifact

# Below this, reading Parquet costs less than another file.
LARGE_BYTES = 4 << 20


class Handover:
    """Keeps the Arrow files of one run, beside the artifacts, until the run ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def give(self, artifact: Artifact, value: Any) -> None:
        """Leave a large polars table for others."""
        polars = sys.modules.get("polars")
        if polars is None or not isinstance(value, polars.DataFrame) or value.estimated_size() < LARGE_BYTES:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(artifact)
        # Under its name only once it is whole.
        part = path.with_suffix(".part")
        value.write_ipc(part, compression="uncompressed")
        part.rename(path)

    def take(self, artifact: Artifact, form: Any = None) -> Any:
        """Return the table that was left, mapped into memory; None when there is none, or another form is wanted."""
        path = self._path(artifact)
        if not path.exists():
            return None
        import polars as pl

        if form in (None, Any, pl.DataFrame):
            return pl.read_ipc(path)
        return pl.scan_ipc(path) if form is pl.LazyFrame else None

    def clear(self) -> None:
        """Remove what was left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, artifact: Artifact) -> Path:
        return self.folder / f"{artifact.digest[7:]}.arrow"
