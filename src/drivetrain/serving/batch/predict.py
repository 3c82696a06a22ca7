"""Predictions from Python: for a table in memory, or for files, folders, buckets and tables of databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from drivetrain.data.table import polars_of
from drivetrain.errors import UsageError
from drivetrain.registry.registry import champion_of, versions
from drivetrain.registry.registry import version as version_named
from drivetrain.security.actor import actor
from drivetrain.serving.batch.job import Settings
from drivetrain.serving.batch.run import Batch
from drivetrain.serving.batch.scoring import score
from drivetrain.store.store import Store
from drivetrain.system.settings import find_project

if TYPE_CHECKING:
    import polars as pl

    from drivetrain.registry.version import Version
    from drivetrain.serving.batch.job import BatchJob


@overload
def predict(rows: str | Path, output: str | Path, **options: Any) -> BatchJob: ...
@overload
def predict(rows: Any, *, version: str = "") -> pl.DataFrame: ...
def predict(
    rows: Any,
    output: str | Path | None = None,
    *,
    version: str = "",
    overwrite: bool = False,
    workers: int = 0,
    ray: str = "",
    **settings: Any,
) -> Any:
    """Answer rows with a version of the project around the current folder, as its server would.

    A table (polars, pandas, Arrow) gives a polars frame: its rows in their order, with `prediction`, `version` and,
    for several classes, `probabilities`; a model with several outputs of its own gives a column for each. Anything
    that `drivetrain predict --input` takes is answered into `output` by a job that goes on where it was stopped, and
    gives its `BatchJob`. `version` is such as `lateness@3` or `lateness@champion`; the champion of the only model by
    default. `settings` are those of the command: `columns`, `on_bad_row`, `limit`, `part_rows`, `format`.

    Raises:
        UsageError: rows and version do not fit each other, or the output is there already.
        BadRow: a row does not fit.
        NotFound: there is no such version, file or dataset.

    >>> import os, tempfile, polars as pl
    >>> from drivetrain.errors import UsageError
    >>> os.chdir(tempfile.mkdtemp())
    >>> try:
    ...     predict(pl.DataFrame({"miles": [500]}))
    ... except UsageError as error:
    ...     error.message
    'there is no champion yet'
    """
    project = find_project()
    store = Store.open(project.store_path, allow_pickle=project.get("store.allow_pickle"))
    try:
        chosen = _chosen(store, version)
        if output is None:
            frame = polars_of(rows)
            if frame is None:
                raise UsageError("there is no output", remedy="give a table, or name an output beside the input")
            return score(store, chosen, frame)
        batch = Batch(
            store, chosen, source=str(rows), output=str(output), settings=Settings(**settings), workers=workers,
            ray=ray, actor=actor(),
        )  # fmt: skip
        return batch.run(overwrite=overwrite)
    finally:
        store.close()


def _chosen(store: Store, name: str) -> Version:
    if name:
        return version_named(store.ledger, name)
    champions = [
        found
        for model in sorted({each.model for each in versions(store.ledger)})
        if (found := champion_of(store.ledger, model)) is not None
    ]
    if len(champions) == 1:
        return champions[0]
    if not champions:
        raise UsageError("there is no champion yet", remedy="`drivetrain run` trains one")
    raise UsageError(
        f"there are {len(champions)} models",
        remedy=f"name one: version={f'{champions[0].model}@champion'!r}",
    )
