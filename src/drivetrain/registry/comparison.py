"""The champion on the challenger's ground: its own features and model, on the very rows that judge the challenger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.data.features import Features, compute
from drivetrain.data.schema import Roles
from drivetrain.data.split import Side, rows_to_test
from drivetrain.registry.bundle import as_trained, load, names_classes
from drivetrain.training.evaluation import Evaluation, scalars_of

if TYPE_CHECKING:
    import polars as pl

    from drivetrain.registry.version import Version
    from drivetrain.system.part import Job


def metrics_of_champion(champion: Version, evaluation: str, job: Job) -> dict[str, float]:
    """Return the metrics that an evaluation of this run gives for the champion.

    Where the champion has other features than the challenger, they are computed anew by its own function, from the
    dataset as it is in this run, for the rows of the same side of the split.
    """
    part: Any = job.system.parts[evaluation]
    if not isinstance(part, Evaluation):
        found: dict[str, float] = part.metrics_of(champion, job)
        return found
    instead: dict[str, Any] = {}
    for name in job.system.needs[evaluation].values():
        giver = job.system.producers[name]
        if giver.name == champion.model:
            # Its class may have changed since, and is then another than the one that is named here.
            form = None if names_classes(champion) else part.annotations().get(name)
            with as_trained(job.store, champion):
                instead[name] = giver.value_of(job.store, champion.artifact, form)
        elif isinstance(giver, Side):
            instead[name] = _table(champion, giver, job)
        else:
            instead[name] = job.value(name, part.annotations().get(name))
    settings = job.settings_of(evaluation)
    figures = part.function(**instead, **settings)
    return scalars_of(figures)


def _table(champion: Version, side: Side, job: Job) -> pl.DataFrame:
    import polars as pl

    detail = job.artifact(side.source.name).detail
    roles = msgspec.convert(detail["roles"], Roles)
    assert roles.label is not None
    dataset = detail.get("dataset", side.source.name)
    rows: pl.DataFrame = job.value(dataset, pl.DataFrame)
    if champion.features:
        features = load(job.store, champion.code).parts[champion.features]
        assert isinstance(features, Features)
        # The other datasets as they are now; one that this system no longer has, as it was in training.
        others = {
            name: job.value(name, pl.DataFrame) if name in job.system.producers else job.store.value(kept)
            for name, kept in champion.side_inputs.items()
        }
        found = compute(
            features,
            rows,
            others,
            settings=champion.settings.get(champion.features, {}),
        )
    else:
        found = rows.select(column.name for column in champion.signature.features)
    beside = [name for name in (roles.key, roles.time) if name is not None and name not in found.columns]
    table = rows.select(*beside, roles.label).hstack(found)
    is_test = rows_to_test(table, roles, side.test, part=side.name, place=side.place)
    labelled = table.filter(table[roles.label].is_not_null())
    chosen = labelled.filter(is_test if side.side == "test" else ~is_test)
    return chosen.select(*found.columns, roles.label)
