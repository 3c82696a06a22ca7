"""An attachment: a figure, a file or a value that a step keeps beside its output."""

from __future__ import annotations

import shutil
from datetime import datetime
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from drivetrain.errors import UsageError
from drivetrain.pipeline.points import named
from drivetrain.store.artifact import Artifact
from drivetrain.store.record import Record, now
from drivetrain.system.caller import caller

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drivetrain.pipeline.run import StepRun
    from drivetrain.store.store import Store

# The media type of each form on disk; what is not named here is bytes.
_MEDIA_TYPES = {
    "png": "image/png",
    "html": "text/html",
    "text": "text/plain",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
BYTES = "application/octet-stream"


class Attachment(Record, frozen=True, kw_only=True):
    """What a step attached under a name."""

    TABLE: ClassVar[str] = "attachment"
    KEY: ClassVar[tuple[str, ...]] = ("run", "step", "name")

    run: str
    step: str
    name: str
    artifact: Artifact
    media_type: str
    # The name of the file that it was; empty when it was a value.
    file: str = ""
    at: datetime


def attach(store: Store, run: str, step: str, name: str, value: Any) -> Attachment:
    """Keep a value by the codec of its type, or the file that a `Path` names, and return what is known of it.

    Raises:
        UsageError: the file is not there, or `name` cannot be a name.
        NoCodec: no safe codec keeps the value's type.
    """
    named(name, "an attachment")
    file = ""
    if isinstance(value, Path):
        artifact = _file(store, value)
        file, media_type = value.name, guess_type(value.name)[0] or BYTES
    else:
        if isinstance(value, str) and "\n" not in value and len(value) < 1024 and _is_file(value):
            raise UsageError(
                f"{name!r} was attached as the text {value!r}, and a file of that name is here",
                remedy=f"give `Path({value!r})` for the file, or text that says more",
                place=caller(),
            )
        artifact = store.keep(value, part=name, place=caller())
        media_type = _MEDIA_TYPES.get(artifact.format, BYTES)
    found = Attachment(
        run=run, step=step, name=name, artifact=artifact, media_type=media_type, file=file, at=now()
    )  # fmt: skip
    store.ledger.write(found)
    return found


def attachments_of(store: Store, steps: Iterable[StepRun]) -> list[Attachment]:
    """Return what the steps of a run attached; of a step that did not run again, in the run it was taken from."""
    wanted = {(step.origin, step.step) for step in steps}
    found = [
        each for run in dict.fromkeys(run for run, _ in wanted) for each in store.ledger.find(Attachment, {"run": run})
    ]
    return sorted((each for each in found if (each.run, each.step) in wanted), key=lambda each: each.at)


def _file(store: Store, path: Path) -> Artifact:
    scratch = store.artifacts.scratch_path()
    try:
        shutil.copyfile(path, scratch)
        size_bytes = scratch.stat().st_size
        digest = store.artifacts.adopt(scratch)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UsageError(
            f"{str(path)!r} cannot be attached: {(error.strerror or 'it cannot be read').lower()}",
            remedy="name a file; a folder can be attached as an archive, see shutil.make_archive",
            place=caller(),
        ) from error
    except OSError as error:
        raise store.artifacts.unwritable(error) from error
    finally:
        store.artifacts.discard(scratch)
    return Artifact(digest=digest, format="bytes", size_bytes=size_bytes, type_name="file")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False
