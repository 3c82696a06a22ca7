"""Every store of artifacts, by name: a vendor's joins the suite with a line here."""

from collections.abc import Callable
from pathlib import Path

from drivetrain.store.artifacts import Artifacts
from drivetrain.store.files import FileArtifacts

ARTIFACT_STORES: dict[str, Callable[[Path], Artifacts]] = {
    "files": FileArtifacts,
    "files that are thrown away": lambda folder: FileArtifacts(folder, durable=False),
}
