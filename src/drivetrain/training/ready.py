"""A model that is ready: nothing here trains it; it is files, code or an address, and becomes a version as others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from drivetrain.data.schema import Column, Roles
from drivetrain.errors import DeclarationError, DrivetrainError, StepFailed
from drivetrain.store.artifact import Artifact
from drivetrain.system.outside import nearest_file
from drivetrain.system.part import Job, Output, Part
from drivetrain.training.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.store.store import Store


class Belongings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a ready model needs to be loaded, as it was when a version was made of it.

    `files` has, for each word that the model knows them by, the digest of each file by its path in a folder; a single
    file stands under its own name, and `single` has its word. `inputs` are outputs of other parts, by word.
    """

    files: dict[str, dict[str, str]] = {}
    single: list[str] = []
    inputs: dict[str, Artifact] = {}
    settings: dict[str, Any] = {}
    # What the part found out when it was tried, such as the metadata of a remote engine.
    found: dict[str, Any] = {}


class Loaded(Protocol):
    """A ready model in memory."""

    def answer(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what the model gives for rows of a request's values: for each a value, or one for each output."""
        ...


class Ready(Part, frozen=True, kw_only=True, eq=False):
    """A model that needs no training here.

    A run keeps what belongs to it under its digests and tries to load it; a gate makes a version of it.
    """

    ROLE: ClassVar[str] = "model"
    RUNS: ClassVar[bool] = True
    # What people are told that answers: what is kept of it is no more than where it is.
    ANSWERS_BY: ClassVar[str]
    # Live labels have no metric of their own for it.
    task: ClassVar[None] = None

    def paths(self) -> Mapping[str, str]:
        """Return the files and folders that belong to the model, each by the model's word for it."""
        return {}

    def load(self, store: Store, belongings: Belongings) -> Any:
        """Return the model in memory, for those who judge it.

        Raises:
            Exception: whatever its code raises, or its files are not what they should be.
        """
        raise NotImplementedError

    def answering(self, model: Any, belongings: Belongings) -> Loaded:
        """Return a loaded model as what answers rows."""
        loaded: Loaded = model
        return loaded

    def signature(self, model: Any) -> Signature:
        """Return what goes into a loaded model and what comes out."""
        raise NotImplementedError

    def settings_kept(self, job: Job) -> dict[str, Any]:
        """Return what should be known of the model beside its files."""
        return {}

    def built(self, model: Any, belongings: Belongings, job: Job) -> Belongings:
        """Return what belongs to a loaded model, with what a run may make of it to answer faster."""
        return belongings

    def build_reason(self, belongings: Belongings) -> str:
        """Return why the form that answers was chosen; empty where there was no choice."""
        return ""

    def files_read(self, root: Path, items: Sequence[Mapping[str, str]] = ()) -> dict[str, Path]:
        found = {}
        for path in self.paths().values():
            for name, file in _files(root / path, self).items():
                found[os.path.normpath(f"{path}/{name}") if (root / path).is_dir() else path] = file
        return found

    def outputs(self) -> dict[str, Any]:
        return {self.name: Belongings}

    def perform(self, job: Job) -> dict[str, Output]:
        files, single = {}, []
        for word, path in self.paths().items():
            full = job.root / path
            files[word] = {name: _kept(file, job.store) for name, file in _files(full, self).items()}
            if full.is_file():
                single.append(word)
        belongings = Belongings(
            files=files,
            single=single,
            inputs={word: job.artifact(output) for word, output in job.system.needs[self.name].items()},
            settings=dict(job.settings),
            found=self.settings_kept(job),
        )
        try:
            model = self.load(job.store, belongings)
            signature = self.signature(model)
            belongings = self.built(model, belongings, job)
        except DrivetrainError:
            raise
        except Exception as error:
            failed = StepFailed(step=self.name, cause=f"it cannot be loaded: {_reason(error)}", place=self.place)
            failed.remedy = "mend what it says; a server would fail in the same way"
            raise failed from error
        detail = {
            "signature": msgspec.to_builtins(signature),
            "features": "",
            "dataset": "",
            "side": [],
            "training": "",
            "reference": "",
            "answers_by": self.ANSWERS_BY,
        }
        return {self.name: Output(belongings, detail)}

    def value_of(self, store: Store, artifact: Artifact, form: Any) -> Any:
        return self.load(store, store.value(artifact, Belongings))


def values_signature(
    columns: Sequence[Column], outputs: Sequence[Column], *, label: str, streams: bool = False
) -> Signature:
    """Return the signature of a model that answers with values."""
    return Signature(
        task="values",
        label=label,
        request=list(columns),
        features=list(columns),
        roles=Roles(),
        outputs=list(outputs),
        streams=streams,
    )


def laid_out(store: Store, belongings: Belongings) -> dict[str, Path]:
    """Return the file or folder behind each word, laid out as it was where the model was made.

    The files are links to artifacts, whose bytes are checked; nobody must write to them.
    """
    found = {}
    for word, files in belongings.files.items():
        key = store.keep_json(files)[7:23]
        folder = store.root / "models" / key
        for name, digest in files.items():
            target, link = store.artifacts.path(digest).resolve(), folder / name
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise ValueError(f"a model's file is named {name}, outside of its folder")
            if link.is_symlink() and link.readlink() == target:
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            scratch = link.with_name(f".{link.name}.{os.getpid()}")
            scratch.symlink_to(target)
            scratch.replace(link)
        found[word] = folder / next(iter(files)) if word in belongings.single else folder
    return found


def _files(path: Path, part: Part) -> dict[str, Path]:
    """Return the files at a path, by their names in it: hidden ones are left out.

    Raises:
        DeclarationError: there is nothing.
    """
    if path.is_file():
        return {path.name: path}
    found = {
        str(file.relative_to(path)): file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(name.startswith(".") for name in file.relative_to(path).parts)
    }
    if not found:
        raise DeclarationError(
            f"{part.name!r} is to be loaded from {str(path)!r}, and there is no such file or folder",
            remedy=nearest_file(path),
            place=part.place,
        )
    return found


def _kept(file: Path, store: Store) -> str:
    scratch = store.artifacts.scratch_path()
    try:
        shutil.copyfile(file, scratch)
        return store.artifacts.adopt(scratch)
    finally:
        store.artifacts.discard(scratch)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
