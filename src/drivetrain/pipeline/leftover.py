"""Leftovers: what runs and files that are gone have left in the store, beside artifacts and rows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drivetrain.pipeline.run import Run
from drivetrain.store.garbage import GRACE_S, Garbage, bytes_below

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from drivetrain.store.garbage import Kind
    from drivetrain.store.store import Store


def find_leftovers(store: Store, *, older_than_s: float = GRACE_S, without_runs: Collection[str] = ()) -> list[Garbage]:
    """Return logs of runs that are gone, what ended runs did not hand over, and what is known of files that are gone.

    `without_runs` are taken to be deleted already.
    """
    states = {run.id: run.state for run in store.ledger.find(Run) if run.id not in without_runs}
    found: list[tuple[Kind, Path]] = [
        *(("log", folder) for folder in _folders(store.root / "logs") if folder.name not in states),
        *(("handover", folder) for folder in _folders(store.root / "handover") if states.get(folder.name) != "running"),
        *(("fingerprint", path) for path in store.fingerprints.outlived()),
        *(
            ("signature", path)
            for path in sorted(store.signatures.folder.glob("*"))
            if not (store.artifacts.root / "sha256" / path.name[:2] / path.name[2:]).exists()
        ),
    ]
    return list(_old(found, time.time() - older_than_s))


def _folders(above: Path) -> Iterator[Path]:
    """Yield the folders of runs; `drivetrain up` writes files of its own beside them."""
    return (path for path in sorted(above.glob("run-*")) if path.is_dir())


def _old(found: list[tuple[Kind, Path]], before: float) -> Iterator[Garbage]:
    for kind, path in found:
        try:
            newest = max(each.stat().st_mtime for each in (path, *path.rglob("*")))
        except FileNotFoundError:  # its owner was faster
            continue
        if newest <= before:
            yield Garbage(kind=kind, path=str(path), size_bytes=bytes_below(path))
