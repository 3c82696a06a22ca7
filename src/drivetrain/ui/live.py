"""A service while it runs: its golden signals, its drift, and how right it was."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import NotFound
from drivetrain.monitoring.window import Alert, Signal, Window
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import Version
from drivetrain.ui.charts import Chart, Flag, Line
from drivetrain.ui.console import (
    SILENT_S,
    champion_of,
    counted,
    is_fresh,
    is_watched,
    leading,
    model_of,
    recent_signals,
    service_names,
)
from drivetrain.ui.words import day, hour, utc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivetrain.ui.console import Asked, Console

MOST_WINDOWS = 400
# A window with less than this share of the rows that windows usually have says too little to be drawn.
THIN = 0.1
# How many windows the heat map has room for, and how many features, the most drifted first.
HEAT_COLUMNS, HEAT_ROWS = 40, 24


class HeatMap(msgspec.Struct, frozen=True, kw_only=True):
    """Drift by feature and window, `values[feature][window]`."""

    features: list[str]
    windows: list[str]
    values: list[list[float | None]]
    flags: list[tuple[int, str]]
    latest: list[float | None]


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """All that is shown of a running service."""

    service: str
    services: list[str]
    champion: Version | None
    canary: Rollout | None
    is_live: bool
    is_watched: bool
    # All that this machine's workers have ever answered.
    answered: int
    signal: Signal | None
    last_window: Window | None
    alerts: list[Alert]
    past_alerts: list[Alert]
    charts: dict[str, Chart]
    heat: HeatMap | None


class Charts(msgspec.Struct, frozen=True, kw_only=True):
    """The charts alone, for the page that is open already."""

    charts: dict[str, Chart]


def live(console: Console, asked: Asked) -> Live:
    """Return a service's page: that of `service`, or of the first one.

    Raises:
        NotFound: the system has no such service.
    """
    service = _service(console, asked)
    ledger = console.store.ledger
    signals = recent_signals(console, service)
    windows = _windows(console, service)
    monitors = {window.monitor for window in windows}
    alerts = [
        each for each in ledger.find(Alert, order="-raised_at", limit=60) if not monitors or each.monitor in monitors
    ]
    canaries = ledger.find(Rollout, {"service": service, "state": "canary"}, order="-started_at", limit=1)
    main = _of_champions(windows)
    judged = _judged(console, main)
    found = counted(console, service)
    return Live(
        service=service,
        services=service_names(console),
        champion=champion_of(console, model_of(console, service))[0],
        canary=canaries[0] if canaries else None,
        is_live=is_fresh(signals[-1] if signals else None) or found.workers_ready > 0,
        is_watched=is_watched(console, service),
        answered=found.requests,
        signal=signals[-1] if signals else None,
        last_window=main[-1] if main else None,
        alerts=[alert for alert in alerts if alert.cleared_at is None],
        past_alerts=[alert for alert in alerts if alert.cleared_at is not None][:8],
        charts=_signal_charts(signals) | _window_charts(console, windows, main, judged, alerts),
        heat=_heat_map(judged),
    )


def charts(console: Console, asked: Asked) -> Charts:
    """Return the charts of the golden signals of a service.

    Raises:
        NotFound: the system has no such service.
    """
    return Charts(charts=_signal_charts(recent_signals(console, _service(console, asked))))


def _service(console: Console, asked: Asked) -> str:
    services = service_names(console)
    wanted = asked.get("service", "")
    if wanted and wanted not in services:
        raise NotFound(kind="service", name=wanted, known=services)
    return wanted or (services[0] if services else "")


def _windows(console: Console, service: str) -> list[Window]:
    """Return the last windows of a service, the earliest first."""
    found = console.store.ledger.find(Window, {"service": service}, order="-starts_at", limit=MOST_WINDOWS)
    return [window for window in found if window.rows][::-1]


def _of_champions(windows: Sequence[Window]) -> list[Window]:
    """Return one window for each stretch of time: that of the version which answered most of the requests."""
    usual = median(window.rows for window in windows) if windows else 0
    most: dict[datetime, Window] = {}
    for window in windows:
        if window.rows < THIN * usual:
            continue
        if window.starts_at not in most or window.rows > most[window.starts_at].rows:
            most[window.starts_at] = window
    return list(most.values())


def _judged(console: Console, windows: Sequence[Window]) -> list[Window]:
    """Return the windows with as many rows as their monitor asks for: of fewer, drift is chance."""
    least = {part.name: part.min_rows for part in console.system.of_role("monitor")}
    return [window for window in windows if window.rows >= least.get(window.monitor, 0)]


def _signal_charts(signals: Sequence[Signal]) -> dict[str, Chart]:
    moments = _with_silences(signals)
    x = [round(moment, 1) for moment, _ in moments]

    def line(label: str, tone: str, figure: Callable[[Signal], float | None]) -> Line:
        return Line(label=label, tone=tone, values=[figure(signal) if signal else None for _, signal in moments])

    def chart(title: str, unit: str, *lines: Line) -> Chart:
        return Chart(title=title, unit=unit, x=x, lines=list(lines))

    traffic = [line("requests", "accent", lambda each: round(each.requests / (each.seconds or 1), 2))]
    if any(each.known for each in signals):
        known = line("rows known already", "third", lambda each: round(each.known / (each.seconds or 1), 2))
        traffic.append(known)
    return {
        "traffic": chart("Traffic", "/s", *traffic),
        "latency": chart(
            "Latency", "ms",
            line("p99", "second", lambda each: round(each.latency_p99_ms, 3) if each.requests else None),
            line("p50", "accent", lambda each: round(each.latency_p50_ms, 3) if each.requests else None),
        ),
        "errors": chart(
            "Errors", "/s", line("errors", "bad", lambda each: round(each.errors / (each.seconds or 1), 3))
        ),
        "busy": chart("Busy", "%", line("workers busy", "third", lambda each: round(each.busy_share * 100, 1))),
    }  # fmt: skip


def _with_silences(signals: Sequence[Signal]) -> list[tuple[float, Signal | None]]:
    """Return each signal with its moment; where none came for long there is a moment without one, and no line."""
    found: list[tuple[float, Signal | None]] = []
    for signal in signals:
        moment = utc(signal.at).timestamp()
        if found and moment - found[-1][0] > SILENT_S:
            found.append(((moment + found[-1][0]) / 2, None))
        found.append((moment, signal))
    return found


def _window_charts(
    console: Console,
    windows: Sequence[Window],
    main: Sequence[Window],
    judged: Sequence[Window],
    alerts: Sequence[Alert],
) -> dict[str, Chart]:
    """Return the charts over windows; each window stands at its end, when its figures were known."""
    if not main:
        return {}
    x = [utc(window.ends_at).timestamp() for window in main]
    flags = _version_flags(main) + [
        Flag(x=utc(alert.happened_at or alert.raised_at).timestamp(), label=alert.message, tone="warn")
        for alert in alerts
    ]
    # Without a time of the data, alerts stand on the clock, as the windows do; others lie outside and are left out.
    flags = sorted((flag for flag in flags if x[0] <= flag.x <= x[-1]), key=lambda flag: flag.x)
    rates = Chart(
        title="Predicted and true rate", x=x, flags=flags, starts_at_zero=False,
        lines=[
            Line(label="mean prediction", tone="accent", values=[window.mean_prediction for window in main]),
            Line(label="mean label", tone="third", values=[window.mean_label for window in main]),
        ],
    )  # fmt: skip
    return {
        **{f"quality-{name}": chart for name, chart in _quality_charts(console, windows, main, x, flags).items()},
        "rates": rates,
        **({"drift": _drift_chart(judged, flags)} if judged else {}),
    }


def _version_flags(main: Sequence[Window]) -> list[Flag]:
    return [
        Flag(x=utc(after.ends_at).timestamp(), label=f"{after.version} answers most from here", tone="accent")
        for before, after in pairwise(main)
        if after.version != before.version
    ]


def _quality_charts(
    console: Console, windows: Sequence[Window], main: Sequence[Window], x: list[float], flags: list[Flag]
) -> dict[str, Chart]:
    """Return a chart for each metric: the champions as one line, each challenger as a dashed one."""
    names = [name for name, _ in leading(console, {name: 0.0 for window in main for name in window.quality})][:4]
    places = {window.starts_at: index for index, window in enumerate(main)}
    others = [
        window for window in windows if window.starts_at in places and main[places[window.starts_at]] is not window
    ]
    found = {}
    for name in names:
        lines = [Line(label=name, tone="accent", values=[window.quality.get(name) for window in main])]
        for version, tone in zip(
            dict.fromkeys(window.version for window in others), ("second", "bad", "third") * 9, strict=False
        ):
            values: list[float | None] = [None] * len(main)
            for window in others:
                if window.version == version:
                    values[places[window.starts_at]] = window.quality.get(name)
            lines.append(Line(label=f"{version} as canary", tone=tone, values=values, is_dashed=True))
        found[name] = Chart(title=f"{name} on live rows", x=x, lines=lines, flags=flags, starts_at_zero=False)
    return found


def _drift_chart(judged: Sequence[Window], flags: list[Flag]) -> Chart:
    """Return the drift of predictions and of the features that ever drifted most."""
    x = [utc(window.ends_at).timestamp() for window in judged]
    flags = [flag for flag in flags if x[0] <= flag.x <= x[-1]]
    hottest = _by_drift(judged)[:5]
    tones = ("second", "bad", "third", "warn", "good")
    lines = [Line(label="predictions", tone="accent", values=[window.prediction_drift for window in judged])]
    lines += [
        Line(label=name, tone=tone, values=[window.drift.get(name) for window in judged])
        for name, tone in zip(hottest, tones, strict=False)
    ]
    return Chart(title="Drift against training", unit="PSI", x=x, lines=lines, flags=flags)


def _heat_map(judged: Sequence[Window]) -> HeatMap | None:
    shown = list(judged)[-HEAT_COLUMNS:]
    features = _by_drift(shown)[:HEAT_ROWS]
    if not features:
        return None
    # Windows of less than a day are told apart by the hour.
    is_short = (shown[0].ends_at - shown[0].starts_at).total_seconds() < 86_400
    return HeatMap(
        features=features,
        windows=[hour(window.ends_at) if is_short else day(utc(window.ends_at))[:-5] for window in shown],
        values=[[window.drift.get(name) for window in shown] for name in features],
        flags=[
            (index, f"{after.version} answers most from here")
            for index, (before, after) in enumerate(pairwise(shown), 1)
            if before.version != after.version
        ],
        latest=[shown[-1].drift.get(name) for name in features],
    )


def _by_drift(windows: Sequence[Window]) -> list[str]:
    """Return the features, the one that ever drifted most first."""
    most: dict[str, float] = {}
    for window in windows:
        for name, value in window.drift.items():
            most[name] = max(most.get(name, 0.0), value)
    return sorted(most, key=lambda name: (-most[name], name))
