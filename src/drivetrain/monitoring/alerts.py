"""Alerts: a rule that fails in several windows in a row raises one, and clears it when it has held in as many."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from drivetrain.monitoring.quality import USUAL_LOSS
from drivetrain.monitoring.window import Alert, Window
from drivetrain.security.event import record_event
from drivetrain.store.record import new_id, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.monitoring.monitor import Monitor, Rule
    from drivetrain.registry.version import Version
    from drivetrain.store.ledger import Ledger

RULES: tuple[Rule, ...] = ("drift", "prediction_drift", "quality")
# How many of the features that moved are named in a sentence.
_NAMED = 4


class Finding(NamedTuple):
    """How a rule came out for a window: whether it fails, in words, and with which figures."""

    fails: bool
    text: str
    evidence: dict[str, float]


def judged(rule: Rule, monitor: Monitor, window: Window, version: Version) -> Finding | None:
    """Return how a rule came out for a window; None where the window does not allow a verdict, or the rule is off."""
    if not (window.is_closed and window.is_full):
        return None
    if rule == "quality":
        return _quality(monitor, window, version)
    limit = monitor.drift_limit
    if limit is None or window.rows < monitor.min_rows or not version.reference:
        return None  # of what was not trained here, nobody knows how it should be distributed
    if rule == "prediction_drift":
        text = f"the predictions moved: PSI {window.prediction_drift:.2f} (limit {limit.psi:g})"
        return Finding(window.prediction_drift > limit.psi, text, {"psi": window.prediction_drift})
    watched = {name: psi for name, psi in window.drift.items() if not limit.columns or name in limit.columns}
    moved = {name: psi for name, psi in sorted(watched.items(), key=lambda item: -item[1]) if psi > limit.psi}
    named = ", ".join(f"{name} (PSI {psi:.2f})" for name, psi in list(moved.items())[:_NAMED])
    more = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
    text = f"{len(moved)} of {len(watched)} features moved beyond PSI {limit.psi:g}: {named}{more}"
    return Finding(len(moved) >= limit.at_least, text, moved)


def _quality(monitor: Monitor, window: Window, version: Version) -> Finding | None:
    limit = monitor.quality_limit
    if limit is None or not window.has_labels or window.labelled < monitor.min_rows:
        return None
    broken: list[str] = []
    evidence: dict[str, float] = {}
    if isinstance(limit, tuple):
        for condition in limit:
            found = window.quality.get(condition.metric)
            reference = version.metrics.get(condition.name)
            if found is None or (condition.against and reference is None):
                continue
            bound = condition.limit_from(reference or 0.0)
            evidence |= {condition.metric: found, f"{condition.metric}_limit": bound}
            if not condition.holds(found, bound):
                broken.append(_sentence(condition.metric, found, bound, reference))
    else:
        loss = USUAL_LOSS[version.signature.judged_as]
        for metric, is_loss in ((loss, True), ("auc", False)):
            found = window.quality.get(metric)
            reference = next(
                (value for name, value in version.metrics.items() if name.rpartition(".")[2] == metric), None
            )
            if found is None or reference is None:
                continue
            bound = reference * limit if is_loss else 0.5 + (reference - 0.5) / limit
            evidence |= {metric: found, f"{metric}_limit": bound}
            if (found > bound) if is_loss else (found < bound):
                broken.append(_sentence(metric, found, bound, reference))
    if not evidence:
        return None
    return Finding(bool(broken), "; ".join(broken), evidence)


def _sentence(metric: str, found: float, bound: float, reference: float | None) -> str:
    at_test = f", {reference:.3f} on its test rows" if reference is not None else ""
    return f"{metric} is {found:.3f} on live labels (limit {bound:.3f}{at_test})"


def update(ledger: Ledger, monitor: Monitor, version: Version, windows: Sequence[Window]) -> list[Alert]:
    """Raise and clear the alerts of a version by its windows so far, the oldest first, and return those still open.

    Each window is judged anew, so that it does not matter when this is called or whether a call was missed.
    """
    open_alerts = []
    for rule in RULES:
        found = [
            (window, finding) for window in windows if (finding := judged(rule, monitor, window, version)) is not None
        ]
        where = {"monitor": monitor.name, "rule": rule, "version": version.id}
        known = ledger.find(Alert, where, order="-raised_at", limit=1)
        alert = known[0] if known and known[0].cleared_at is None else None
        since = known[0].evidence.get("until", 0.0) if known else 0.0
        streak = 0
        state: bool | None = None
        for window, finding in found:
            streak = streak + 1 if finding.fails == state else 1
            state = finding.fails
            moment = window.ends_at.timestamp()
            if streak < monitor.settle or moment <= since:
                continue
            since = moment
            if state and alert is None:
                alert = _raise(ledger, rule, monitor, version, window, finding)
            elif not state and alert is not None:
                _clear(ledger, alert, window=window)
                alert = None
        if alert is not None:
            open_alerts.append(alert)
    return open_alerts


def close_all(ledger: Ledger, version: str, reason: str) -> None:
    """Clear every alert of a version: it is no longer the one that answers."""
    for alert in ledger.find(Alert, {"version": version, "cleared_at": None}):
        _clear(ledger, alert, reason=reason)


def close_others(ledger: Ledger, monitor: Monitor, champion: str) -> None:
    """Clear a monitor's alerts of all versions but the one that answers."""
    for alert in ledger.find(Alert, {"monitor": monitor.name, "version !=": champion, "cleared_at": None}):
        _clear(ledger, alert, reason=f"{champion} took its place")


def _raise(ledger: Ledger, rule: Rule, monitor: Monitor, version: Version, window: Window, finding: Finding) -> Alert:
    alert = Alert(
        id=new_id("alert"),
        monitor=monitor.name,
        rule=rule,
        version=version.id,
        message=finding.text,
        raised_at=now(),
        happened_at=window.ends_at,
        evidence=finding.evidence | {"until": window.ends_at.timestamp()},
    )
    with ledger.transaction():
        ledger.write(alert)
        record_event(
            ledger,
            f"{rule}.raised",
            subject=version.id,
            message=f"{version.id}: over the last {monitor.window}, {finding.text}",
            actor=monitor.name,
            evidence=finding.evidence,
            happened_at=window.ends_at,
        )
    return alert


def _clear(ledger: Ledger, alert: Alert, *, window: Window | None = None, reason: str = "") -> None:
    """Clear an alert: its rule has held until the end of a window, or there is another reason."""
    until = {"until": window.ends_at.timestamp()} if window else {}
    message = f"{alert.message} ({reason})" if reason else alert.message
    with ledger.transaction():
        ledger.write(msgspec.structs.replace(alert, cleared_at=now(), message=message, evidence=alert.evidence | until))
        record_event(
            ledger,
            f"{alert.rule}.cleared",
            subject=alert.version,
            message=f"{alert.version}: the {alert.rule.replace('_', ' ')} alert is over"
            + (f": {reason}" if reason else ""),
            actor=alert.monitor,
            happened_at=window.ends_at if window else None,
        )
