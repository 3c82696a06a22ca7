"""The trial of a challenger: what the log says of both arms, the verdict, and what follows from it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import msgspec
import polars as pl

from drivetrain.data.duration import duration
from drivetrain.monitoring import alerts
from drivetrain.monitoring.canary import Arm, Verdict, arm_of, guard_errors, guard_inputs, judge
from drivetrain.monitoring.quality import known, loss_name, losses
from drivetrain.monitoring.window import Signal
from drivetrain.registry.registry import CHAMPION, champion_of, point_alias
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import Version
from drivetrain.security.event import Event, record_event
from drivetrain.store.record import now

if TYPE_CHECKING:
    from datetime import datetime

    from drivetrain.monitoring.traffic import Traffic
    from drivetrain.serving.service import Canary
    from drivetrain.store.ledger import Ledger

# The server tries a version that it cannot load again; after this it is given up.
LOAD_GRACE = timedelta(seconds=30)
# Errors are looked for in so many of the newest signals, about an hour.
SIGNALS = 720


def decide(ledger: Ledger, rollout: Rollout, canary: Canary, traffic: Traffic) -> Verdict:
    """Return what is to be done with a challenger by now; an empty outcome is: go on."""
    champion = champion_of(ledger, rollout.model)
    challenger = ledger.get(Version, rollout.challenger)
    if champion is None or challenger is None or champion.id == rollout.challenger:
        return Verdict(outcome="promoted", reason="it was made champion by hand", evidence={})
    if champion.id != rollout.champion:
        return Verdict(outcome="rolled_back", reason=f"{champion.id} became champion meanwhile", evidence={})
    failing = _failing(ledger, rollout)
    if failing is not None:
        return failing
    rows = traffic.rows.filter(pl.col("at") >= rollout.started_at)
    times = rows.filter(pl.col("version") == challenger.id)["time"]
    if times.is_empty():
        return Verdict(outcome="", reason="it has answered nothing yet", evidence={})
    start = traffic.start_of(traffic.steps_of(times).min())  # type: ignore[arg-type]  # a number, as there are rows
    metric = loss_name(challenger.signature, canary.metric)
    verdict = judge(
        _arm(champion, rows, metric),
        _arm(challenger, rows, metric),
        metric=metric,
        at_least=canary.at_least,
        confidence=canary.confidence,
        is_over=_is_over(traffic, times.min(), duration(canary.within)),  # type: ignore[arg-type]  # as above
    )
    hint = _inputs(traffic, champion, challenger, start) if verdict.outcome == "rolled_back" else None
    if hint is None:
        return verdict
    # The labels show that it is worse; what it lacked shows why.
    reason = f"{verdict.reason}; {hint.reason}"
    return msgspec.structs.replace(verdict, reason=reason, evidence=verdict.evidence | hint.evidence)


def end(
    ledger: Ledger, rollout: Rollout, outcome: Literal["promoted", "rolled_back"], verdict: Verdict, traffic: Traffic
) -> None:
    """Record how a rollout ended, and promote the challenger where it did well: all of it or nothing."""
    happened_at = traffic.watermark if traffic.has_time else None
    with ledger.transaction():
        present = ledger.get(Rollout, rollout.id)
        if present is None or present.state != "canary":  # someone else has ended it since
            return
        ledger.write(
            msgspec.structs.replace(
                present, state=outcome, decided_at=now(), reason=verdict.reason, evidence=verdict.evidence
            )
        )
        champion = champion_of(ledger, rollout.model)
        if outcome == "rolled_back":
            answers = champion.id if champion else rollout.champion
            record_event(
                ledger,
                "canary.rolled_back",
                subject=rollout.challenger,
                message=f"{rollout.challenger} is taken back, {answers} answers alone: {verdict.reason}",
                actor=rollout.service,
                evidence=verdict.evidence,
                happened_at=happened_at,
            )
        elif champion is None or champion.id != rollout.challenger:
            point_alias(
                ledger,
                rollout.model,
                CHAMPION,
                rollout.challenger,
                reason=verdict.reason,
                actor=rollout.service,
                evidence=verdict.evidence,
                happened_at=happened_at,
            )
            alerts.close_all(ledger, rollout.champion, f"{rollout.challenger} took its place")


def _is_over(traffic: Traffic, start: datetime, within: timedelta) -> bool:
    """Return whether the labels of the trial's time are there, or so late that they are not waited for."""
    labels = traffic.label_watermark
    return (labels is not None and labels >= start + within) or traffic.watermark >= start + 2 * within


def _failing(ledger: Ledger, rollout: Rollout) -> Verdict | None:
    """Return that the challenger must go, where it cannot be loaded or makes requests fail."""
    where = {"kind": "service.load_failed", "subject": rollout.service, "at >=": rollout.started_at}
    for event in ledger.find(Event, where, order="-number", limit=20):
        if event.message.startswith(f"{rollout.challenger} ") and now() - event.at > LOAD_GRACE:
            reason = event.message.partition("; ")[0]
            return Verdict(outcome="rolled_back", reason=reason, evidence={})
    of_service = {"service": rollout.service}
    since = ledger.find(Signal, of_service | {"at >=": rollout.started_at}, order="-at", limit=SIGNALS)
    if not any(signal.errors for signal in since):
        return None
    before = ledger.find(Signal, of_service | {"at <": rollout.started_at}, order="-at", limit=len(since))
    return guard_errors(
        requests=sum(signal.requests for signal in since),
        errors=sum(signal.errors for signal in since),
        requests_before=sum(signal.requests for signal in before),
        errors_before=sum(signal.errors for signal in before),
    )


def _arm(version: Version, rows: pl.DataFrame, metric: str) -> Arm:
    truth, predicted = known(version.signature, rows.filter(pl.col("version") == version.id))
    return arm_of(version.id, losses(version.signature, truth, predicted, metric) if len(truth) else [])


def _inputs(traffic: Traffic, champion: Version, challenger: Version, start: datetime) -> Verdict | None:
    """Return what the challenger's inputs show without any label."""
    reference = traffic.reference(challenger.id)
    if reference is None:
        return None
    trained = {name: profile.bins.counts[-1] / max(reference.rows, 1) for name, profile in reference.features.items()}
    return guard_inputs(
        rows=traffic.bucket(challenger.id, start, traffic.last_end).rows,
        missing=_missing(traffic, challenger.id, start),
        missing_in_training=trained,
        missing_for_champion=_missing(traffic, champion.id, start),
    )


def _missing(traffic: Traffic, version: str, start: datetime) -> dict[str, float]:
    """Return the share of missing values of each feature: the last bin has them."""
    total = traffic.bucket(version, start, traffic.last_end)
    return {name: float(found[-1]) / max(total.rows, 1) for name, found in total.features.items()}
