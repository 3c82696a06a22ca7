"""The store: the artifacts and the ledger of one project, and how values go in and come out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import Place, Unkeepable, WrongForm
from drivetrain.store import exact
from drivetrain.store.artifact import Artifact
from drivetrain.store.codecs.codec import codec_for, codec_named, fits, reader_of
from drivetrain.store.collection import FORMAT, Collection, value_of
from drivetrain.store.files import FileArtifacts
from drivetrain.store.fingerprints import Fingerprints
from drivetrain.store.hold import alone, shared
from drivetrain.store.signatures import Signatures
from drivetrain.store.sqlite import SQLiteLedger

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

LEDGER = "ledger.db"
PICKLE = "pickle"


class Store:
    """Everything a project remembers.

    >>> import tempfile
    >>> store = Store.open(Path(tempfile.mkdtemp()))
    >>> kept = store.keep({"auc": 0.7}, part="quality")
    >>> store.value(kept)
    {'auc': 0.7}
    """

    def __init__(
        self, *, root: Path, artifacts: FileArtifacts, ledger: SQLiteLedger, allow_pickle: bool = False
    ) -> None:
        self.root, self.artifacts, self.ledger, self.allow_pickle = root, artifacts, ledger, allow_pickle
        self.fingerprints = Fingerprints(root / "verified")
        self.signatures = Signatures(root)

    @property
    def quarantine(self) -> Path:
        """The folder for what was found damaged."""
        return self.root / "quarantine"

    @classmethod
    def open(cls, root: Path, *, allow_pickle: bool = False, durable: bool = True) -> Store:
        """Open the store in the folder `root`, making it where there is none.

        One that is not `durable` never waits for the disk: for a store that is thrown away, such as a test's.
        """
        artifacts = FileArtifacts(root / "artifacts", Fingerprints(root / "verified"), durable=durable)
        ledger = SQLiteLedger(root / LEDGER, durable=durable)
        return cls(root=root, artifacts=artifacts, ledger=ledger, allow_pickle=allow_pickle)

    @staticmethod
    def is_at(root: Path) -> bool:
        """Return whether a store has been made in the folder `root`."""
        return (root / LEDGER).exists()

    def keep(
        self, value: Any, *, part: str, detail: dict[str, Any] | None = None, place: Place | None = None
    ) -> Artifact:
        """Keep a value by the codec of its type; it is on the disk when this returns.

        Raises:
            NoCodec: no safe codec keeps its type.
            Unkeepable: it holds something that cannot be kept.
            StoreUnavailable: the disk is full or cannot be written.
        """
        codec = codec_for(type(value), part=part, allow_pickle=self.allow_pickle, place=place)
        scratch = self.artifacts.scratch_path()
        try:
            try:
                written = codec.write(value, scratch)
            except Unkeepable as error:
                if not self.allow_pickle:
                    raise Unkeepable(**error.facts | {"part": part, "place": place}) from error
                self.artifacts.discard(scratch)
                written = codec_named("pickle").write(value, scratch)
            size_bytes = scratch.stat().st_size
            digest = self.artifacts.adopt(scratch)
            if written.format == PICKLE:
                self.signatures.sign(digest, self.artifacts.path(digest))
        except BaseException as error:
            self.artifacts.discard(scratch)
            # The disk's errors have a number; those of polars, which looks for the user's sources only now, have none.
            if isinstance(error, OSError) and error.errno is not None:
                raise self.artifacts.unwritable(error) from error
            raise
        return Artifact(
            digest=digest,
            format=written.format,
            size_bytes=size_bytes,
            type_name=type(value).__qualname__,
            rows=written.rows,
            detail=detail or {},
        )

    def shares(self, value: Any) -> bool:
        """Return whether several steps may be handed this same object, because it cannot be changed in place."""
        kind = type(value)
        return kind.__name__ != "LazyFrame" and codec_for(kind, part="", allow_pickle=self.allow_pickle).shares

    def value(self, artifact: Artifact, form: Any = None) -> Any:
        """Return the value of an artifact, as the type `form` where that is given.

        Raises:
            CorruptArtifact: the bytes are not those that were kept.
            StoreUnavailable: they cannot be read.
            WrongForm: they do not give that type.
            Refused: they could run code, and the project does not allow that, or did not sign them.
        """
        form = None if form is Any else form
        if artifact.format == FORMAT:
            return value_of(self.collection(artifact), form, self.value)
        path = self.artifacts.path(artifact.digest)
        codec = reader_of(artifact.format, form, allow_pickle=self.allow_pickle)
        if artifact.format == PICKLE:
            self.signatures.check(artifact.digest, path)
        try:
            value = codec.read(path, form)
        except OSError as error:
            raise self.artifacts.unreadable(path, error) from error
        if form is not None and not fits(value, form):
            raise WrongForm(format=artifact.format, wanted=getattr(form, "__qualname__", str(form)))
        return value

    def keep_collection(self, members: dict[str, Artifact], *, detail: dict[str, Any] | None = None) -> Artifact:
        """Keep the outputs of a mapped step, by label, under one digest."""
        collection = Collection(members)
        return Artifact(
            digest=self.keep_json(collection),
            format=FORMAT,
            size_bytes=collection.size_bytes,
            type_name=next((member.type_name for member in members.values()), ""),
            rows=collection.rows,
            detail=detail or {},
        )

    def collection(self, artifact: Artifact) -> Collection:
        """Return what `keep_collection` kept."""
        found: Collection = self.json(artifact.digest, Collection)
        return found

    def set_aside(self, digest: str) -> None:
        """Move a damaged artifact into the folder `quarantine`, so that it can be made again."""
        self.quarantine.mkdir(exist_ok=True)
        try:
            self.artifacts.place(digest).rename(self.quarantine / digest[7:])
        except FileNotFoundError:
            pass  # it is gone already

    def keep_json(self, value: Any) -> str:
        """Keep a value as JSON and return its digest."""
        return self.artifacts.put(exact.encode(value))

    def json(self, digest: str, form: Any = Any) -> Any:
        """Return what `keep_json` kept."""
        return exact.decode(self.artifacts.get(digest), form)

    def sharing(self) -> AbstractContextManager[None]:
        """Keep artifacts from being taken away, from before one is kept or found until its row is written."""
        return shared(self.root)

    def alone(self) -> AbstractContextManager[None]:
        """Hold the store alone, to take artifacts or runs away; see `hold`."""
        return alone(self.root)

    def close(self) -> None:
        """Let go of the ledger; nothing is pending."""
        self.ledger.close()
