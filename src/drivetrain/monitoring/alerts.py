"""Alerts: when a rule of a monitor has failed long enough to be told, and when it holds again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from drivetrain.monitoring.monitor import Monitor, Rule
from drivetrain.monitoring.window import Alert, Window
from drivetrain.security.event import record_event
from drivetrain.store.record import new_id, now
from drivetrain.training.evaluation import Condition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from drivetrain.registry.version import Version
    from drivetrain.store.ledger import Ledger
    from drivetrain.training.signature import Task

RULES: tuple[Rule, ...] = ("drift", "prediction_drift", "quality")
# The metrics that a factor is laid on, and whether more of them is better.
USUAL_METRICS: dict[Task, dict[str, bool]] = {
    "binary": {"brier": False, "auc": True},
    "multiclass": {"log_loss": False},
    "regression": {"mae": False},
}
# So many features are named in a message; the others are counted.
NAMED = 3


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule found in a window: whether it fails, a sentence for people, and the figures behind it."""

    fails: bool
    message: str = ""
    evidence: dict[str, float] = {}


def judged(rule: Rule, monitor: Monitor, version: Version, window: Window) -> Finding | None:
    """Return what a rule finds in a window; None where it cannot be judged yet, or the rule is switched off."""
    if not (window.is_full and window.is_closed):
        return None
    if rule == "quality":
        if not window.has_labels or window.labelled < monitor.min_rows:
            return None
        return _quality(monitor, version, window)
    if window.rows < monitor.min_rows or monitor.drift_limit is None:
        return None
    return _drift(monitor, window) if rule == "drift" else _prediction_drift(monitor, window)


def _drift(monitor: Monitor, window: Window) -> Finding | None:
    limit = monitor.drift_limit
    assert limit is not None
    seen = {name: psi for name, psi in window.drift.items() if not limit.columns or name in limit.columns}
    if not seen:
        return None
    moved = {name: psi for name, psi in sorted(seen.items(), key=lambda item: -item[1]) if psi > limit.psi}
    if len(moved) < limit.at_least:
        return Finding(fails=False, evidence=dict(list(moved.items()) or list(seen.items())[:1]))
    named = ", ".join(f"{name} {psi:.2f}" for name, psi in list(moved.items())[:NAMED])
    more = f" and {len(moved) - NAMED} more" if len(moved) > NAMED else ""
    moves = f"{len(moved)} features have moved" if len(moved) > 1 else "a feature has moved"
    message = f"{moves} away from training by the PSI: {named}{more} (limit {limit.psi:g}"
    message += f" in {limit.at_least} features)" if limit.at_least > 1 else ")"
    return Finding(fails=True, message=message, evidence=moved)


def _prediction_drift(monitor: Monitor, window: Window) -> Finding:
    limit = monitor.drift_limit
    assert limit is not None
    message = f"the predictions have moved away from training: PSI {window.prediction_drift:.2f} (limit {limit.psi:g})"
    return Finding(
        fails=window.prediction_drift > limit.psi, message=message, evidence={"prediction": window.prediction_drift}
    )


def _quality(monitor: Monitor, version: Version, window: Window) -> Finding | None:
    evidence: dict[str, float] = {}
    broken: list[str] = []
    for name, limit, is_lower_bound, origin in limits(monitor, version):
        found = window.quality.get(name)
        if found is None:
            continue
        evidence |= {name: found, f"{name}_limit": limit}
        if found < limit if is_lower_bound else found > limit:
            word = "below" if is_lower_bound else "above"
            broken.append(f"{name} is {found:.3g}, {word} {limit:.3g} ({origin})")
    if not evidence:
        return None
    message = f"{'; '.join(broken)}, over {window.labelled:,} labels"
    return Finding(fails=bool(broken), message=message if broken else "", evidence=evidence)


def limits(monitor: Monitor, version: Version) -> Iterator[tuple[str, float, bool, str]]:
    """Yield each watched metric with its limit for a version, whether that is a lower bound, and where it comes from.

    What is compared with a reference that the version does not have is left out.
    """
    given = monitor.quality_limit
    if isinstance(given, tuple):
        yield from (found for condition in given if (found := _limit(condition, version)) is not None)
        return
    for name, more_is_better in USUAL_METRICS[version.signature.task].items() if given is not None else ():
        own = [value for full, value in version.metrics.items() if full.rpartition(".")[2] == name]
        if own and given is not None:
            limit = 0.5 + (own[0] - 0.5) / given if more_is_better else own[0] * given
            yield name, limit, more_is_better, f"{own[0]:.3g} on its test rows"


def _limit(condition: Condition, version: Version) -> tuple[str, float, bool, str] | None:
    is_lower_bound = condition.operator in (">", ">=")
    if condition.against != "reference":
        assert condition.limit is not None
        return condition.metric, condition.limit, is_lower_bound, str(condition)
    own = version.metrics.get(condition.name)
    if own is None:
        return None
    return condition.metric, condition.limit_from(own), is_lower_bound, f"{own:.3g} on its test rows"


def update(ledger: Ledger, monitor: Monitor, version: Version, window: Window, rule: Rule) -> Alert | None:
    """Raise or clear the alert of a rule after a window was over, and return it; None where nothing changed.

    The rule must have failed, or held, in the last `settle` windows that can be judged, this one being the last.
    """
    finding = judged(rule, monitor, version, window)
    if finding is None:
        return None
    where = {"monitor": monitor.name, "version": version.id, "starts_at <": window.starts_at}
    verdicts = [finding.fails]
    # A few more than needed, since some cannot be judged.
    for earlier in ledger.find(Window, where, order="-starts_at", limit=4 * monitor.settle):
        if len(verdicts) < monitor.settle and (found := judged(rule, monitor, version, earlier)) is not None:
            verdicts.append(found.fails)
    if len(verdicts) < monitor.settle or len(set(verdicts)) > 1:
        return None
    is_open = open_alert(ledger, monitor, rule, version.id)
    if finding.fails and is_open is None:
        return _raise(ledger, monitor, version, window, rule, finding)
    if not finding.fails and is_open is not None:
        return clear(ledger, is_open, reason="it holds again", happened_at=window.ends_at, evidence=finding.evidence)
    return None


def open_alert(ledger: Ledger, monitor: Monitor, rule: Rule, version: str) -> Alert | None:
    """Return the alert of a rule on a version that is not cleared."""
    where = {"monitor": monitor.name, "rule": rule, "version": version, "cleared_at": None}
    found = ledger.find(Alert, where, limit=1)
    return found[0] if found else None


def clear(
    ledger: Ledger,
    alert: Alert,
    *,
    reason: str,
    happened_at: datetime | None = None,
    evidence: dict[str, float] | None = None,
) -> Alert:
    """Clear an alert and tell so."""
    cleared = msgspec.structs.replace(alert, cleared_at=now())
    with ledger.transaction():
        ledger.write(cleared)
        record_event(
            ledger,
            f"{alert.rule}.cleared",
            subject=alert.version,
            message=f"{alert.monitor}: {alert.rule.replace('_', ' ')} of {alert.version} is over: {reason}.",
            actor=alert.monitor,
            evidence=evidence,
            happened_at=happened_at,
        )
    return cleared


def _raise(ledger: Ledger, monitor: Monitor, version: Version, window: Window, rule: Rule, finding: Finding) -> Alert:
    looks = f" in {monitor.settle} looks in a row" if monitor.settle > 1 else ""
    alert = Alert(
        id=new_id("alert"),
        monitor=monitor.name,
        rule=rule,
        version=version.id,
        message=finding.message + looks,
        raised_at=now(),
        happened_at=window.ends_at,
        evidence=finding.evidence,
    )
    with ledger.transaction():
        ledger.write(alert)
        record_event(
            ledger,
            f"{rule}.raised",
            subject=version.id,
            message=f"{version.id}: {alert.message}.",
            actor=monitor.name,
            evidence=finding.evidence,
            happened_at=window.ends_at,
        )
    return alert
