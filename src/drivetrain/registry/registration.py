"""Registration: a trained model and all that it needs to answer becomes a version, once."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import NotFound, Refused
from drivetrain.registry.bundle import pack
from drivetrain.registry.version import Signature, Version
from drivetrain.security.event import record_event
from drivetrain.store.record import now
from drivetrain.training.builds.making import builds_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from drivetrain.store.artifact import Artifact
    from drivetrain.system.part import Job
    from drivetrain.training.model import Model
    from drivetrain.training.ready import Ready


# A build that differs on a thousandth of all rows shows none among so many once in 500 million times.
COMPARED_ROWS = 20_000
# Forms whose models are asked in another way.
_WITHOUT_PREDICT = ("onnx", "torch")


def register(model: Model | Ready, job: Job, *, metrics: Mapping[str, float]) -> Version:
    """Return the version of what a run trained: a new one, or the one there is already of the same.

    The same are models with the same key whose bytes are the same: a step that is forced may give another model.
    """
    ledger = job.store.ledger
    known = _known(model, job)
    if known is not None:
        return known
    candidate = _candidate(model, job, metrics=metrics)
    origin = "trained" if candidate.artifact.detail["training"] else "made of a model that was ready"
    with ledger.transaction():
        known = _known(model, job)
        if known is not None:  # another gate of this run was faster
            return known
        last = ledger.find(Version, {"model": model.name}, order="-number", limit=1)
        number = last[0].number + 1 if last else 1
        version = msgspec.structs.replace(candidate, id=f"{model.name}@{number}", number=number)
        ledger.write(version)
        record_event(
            ledger,
            "version.registered",
            subject=version.id,
            message=f"{version.id} was {origin}",
            evidence=dict(metrics),
        )
    return version


def candidate(model: Model | Ready, job: Job) -> Version:
    """Return what a run trained as the version that it will be, or is already; nothing is registered.

    It has the number 0 until its gate registers it.
    """
    return _known(model, job) or _candidate(model, job, metrics={})


def _key(model: Model | Ready, job: Job) -> str:
    features = job.artifact(model.name).detail["features"]
    keys = [job.key(model.name), *([job.key(features)] if features else [])]
    return sha256(" ".join(keys).encode()).hexdigest()[:32]


def _known(model: Model | Ready, job: Job) -> Version | None:
    known = job.store.ledger.find(Version, {"model": model.name, "key": _key(model, job)})
    if model.CACHED:
        digest = job.artifact(model.name).digest
        known = [version for version in known if version.artifact.digest == digest]
    return known[0] if known else None


def _candidate(model: Model | Ready, job: Job, *, metrics: Mapping[str, float]) -> Version:
    artifact = job.artifact(model.name)
    detail = artifact.detail
    features = detail["features"]
    signature = msgspec.convert(detail["signature"], Signature)
    if detail["training"]:
        value = job.value(model.name)
        if artifact.format not in _WITHOUT_PREDICT and not hasattr(value, "predict"):
            raise Refused(
                f"the model {model.name!r} is kept as {artifact.format}, and what is read back of it cannot predict",
                remedy="return an estimator of a library that is supported, or allow pickle: see store.allow_pickle",
                place=model.place,
            )
        artifact = _with_builds(artifact, value, signature, model.name, job)
    return Version(
        id=f"{model.name}@0",
        model=model.name,
        number=0,
        system=job.system.name,
        run=job.run,
        key=_key(model, job),
        artifact=artifact,
        signature=signature,
        code=pack(job.system, Path(job.root), job.store),
        features=features,
        dataset=detail["dataset"],
        side_inputs={name: job.artifact(name) for name in detail["side"]},
        metrics=dict(metrics),
        settings={name: dict(job.settings_of(name)) for name in (model.name, features) if name},
        reference=detail["reference"],
        created_at=now(),
    )


def _with_builds(artifact: Artifact, value: Any, signature: Signature, model: str, job: Job) -> Artifact:
    """Return the artifact with the fast builds of it, each compared with it on real rows."""
    builds = builds_for(
        value, signature, _real_rows(artifact.detail["training"], signature, model, job), job.store.artifacts
    )
    if builds is None:
        return artifact
    return msgspec.structs.replace(artifact, detail=artifact.detail | {"builds": msgspec.to_builtins(builds)})


def _real_rows(training: str, signature: Signature, model: str, job: Job) -> pl.DataFrame:
    """Return rows of the tables that judge a model, up to half of them all, and of the one that it has learnt from.

    Both have their use: the first are as new as those of a request, and among the second are the values that the model
    has made its thresholds of, where a build that rounds them is found out.
    """
    import polars as pl

    names = [column.name for column in signature.features]
    judging = [
        need
        for part in job.system.of_role("evaluation")
        if model in job.system.needs[part.name].values()
        for need in job.system.needs[part.name].values()
        if need not in (model, training)
    ]
    found = []
    for name in dict.fromkeys(judging):
        try:
            has = {column["name"] for column in job.artifact(name).detail.get("columns", ())}
        except NotFound:  # what judges it has not run
            continue
        if has.issuperset(names):
            found.append(job.value(name, pl.DataFrame).select(names))
    told = _sample(pl.concat(found, how="vertical_relaxed"), COMPARED_ROWS // 2) if found else pl.DataFrame()
    learnt = _sample(job.value(training, pl.DataFrame).select(names), COMPARED_ROWS - told.height)
    return pl.concat([told, learnt], how="vertical_relaxed") if told.height else learnt


def _sample(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    return rows.sample(most, seed=0) if rows.height > most else rows
