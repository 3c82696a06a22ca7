"""Put a version, or any server, under load, and see how fast it answers.

Without --url a server of its own is started for the version, so that neither the service nor its log takes notice.
Times count from the moment at which a request was due. The exit code is 1 where --p99 is given and does not hold.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.cli.project import kept_store, open_store, open_system
from drivetrain.cli.screen import duration
from drivetrain.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Mapping

    from drivetrain.cli.screen import Bars, Screen
    from drivetrain.load.measurement import Measurement
    from drivetrain.load.plan import Plan, Target
    from drivetrain.load.rate import Found, Probe
    from drivetrain.load.report import Progress, Report
    from drivetrain.registry.version import Version
    from drivetrain.store.store import Store

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}
_PROBE_S = 4.0
_PROBE_SLICE_S = 0.25


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", default="", help="whose champion; not needed where there is only one")
    parser.add_argument("--version", default="", metavar="VERSION", help="a version such as lateness@3, instead")
    parser.add_argument("--url", default="", help="a server that runs already, ours or not: http://…/predict")
    parser.add_argument("--rate", type=float, metavar="N", help="send so many requests a second, whatever the answers")
    parser.add_argument("--poisson", action="store_true", help="at moments of chance, as independent clients do")
    parser.add_argument(
        "--connections",
        type=int,
        metavar="N",
        help="without a rate, so many ask as soon as they are answered: 16; with one, the most there may be: 256",
    )
    parser.add_argument("--seconds", default="10", metavar="TIME", help="how long: 10 s by default")
    parser.add_argument("--warm-up", default="1s", metavar="TIME", help="sent before, and not counted: 1 s by default")
    parser.add_argument("--ramp", default="0", metavar="TIME", help="the rate grows from 0 in this time")
    parser.add_argument("--timeout", default="10s", metavar="TIME", help="when a request is given up: after 10 s")
    parser.add_argument("--p99", default="", metavar="TIME", help="99 of 100 requests must be answered within it: 20ms")
    parser.add_argument("--find-rate", action="store_true", help="find the highest rate that holds the --p99")
    parser.add_argument("--body", metavar="FILE", help="what is sent: one request, or in .ndjson one a line")
    parser.add_argument("--replay", metavar="SERVICE|FILE", help="send again what a service was asked, as it came")
    parser.add_argument("--speed", default="1x", help="with --replay: how many times as fast, such as 2x")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="may be given again")
    parser.add_argument("--method", default="POST", help="POST by default")
    parser.add_argument("--insecure", action="store_true", help="take any certificate")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server that is started")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    from drivetrain.load.measurement import keep_measurement

    _check(options)
    store = _store(options)
    if options.url:
        target = _target(options, options.url)
        subject = options.url
        report, found = _carried_out(_plan(options, target, store, None), options, screen)
    else:
        from drivetrain.load.stand import standing

        assert store is not None
        version, terms = _chosen(options, store)
        subject = version.id
        with standing(store, version, terms, workers=options.workers) as url:
            plan = _plan(options, _target(options, f"{url}/predict"), store, version)
            report, found = _carried_out(plan, options, screen)
    if report is None or store is None:
        asked = _asked(options)
        return {"subject": subject, "asked": asked, "report": report, "found": found, "holds": _holds(asked, report)}
    kept = keep_measurement(store.ledger, subject, _asked(options), report, found)
    store.close()
    return result_of(kept)


def result_of(kept: Measurement) -> dict[str, Any]:
    """Return a recorded load test as the command gives it."""
    return {
        "id": kept.id,
        "at": kept.at,
        "subject": kept.subject,
        "asked": kept.asked,
        "report": kept.report,
        "found": kept.found,
        "holds": _holds(kept.asked, kept.report),
    }


def _holds(asked: Mapping[str, Any], report: Report | None) -> bool | None:
    """Return whether 99 of 100 requests were answered well in time; None where that was not asked for."""
    if report is None or "p99" not in asked or "find_rate" in asked:
        return None
    return sum(each.missed for each in report.slices) <= 0.01 * report.requests


def show(result: Any, screen: Screen) -> None:
    from drivetrain.load.picture import conclusion, picture

    screen.line()
    if result["found"] is not None:
        for line in conclusion(result["found"]):
            screen.line(line, style="bold")
        screen.line()
    report: Report | None = result["report"]
    if report is None:
        return
    for line in picture(report):
        screen.line(line)
    for doubt in report.doubts():
        screen.line(f"! {doubt}", style="yellow")
    if result["holds"] is not None:
        most = duration(_seconds(result["asked"]["p99"], "--p99"))
        screen.line()
        screen.line(
            f"{'✓ the p99 holds' if result['holds'] else '✗ the p99 does not hold'}: at most {most} was asked for",
            style="green" if result["holds"] else "red",
        )
    if "id" in result:
        screen.line()
        screen.line(f"recorded as {result['id']}; `drivetrain show {result['id']}` shows it again", style="dim")


def exit_code(result: Any) -> int:
    """Return 1 where the limit does not hold, 130 where Ctrl-C ended it."""
    report: Report | None = result["report"]
    if report is not None and report.is_interrupted:
        return 130
    has_failed = result["holds"] is False or (result["found"] is not None and not result["found"].rate)
    return 1 if has_failed else 0


def _check(options: Namespace) -> None:
    conflicts = [
        (options.find_rate and not options.p99, "--find-rate needs to know what the rate must hold", "add --p99 20ms"),
        (options.find_rate and options.rate, "--find-rate looks for the rate, and --rate gives it", "leave one out"),
        (options.replay and options.rate, "--replay has its own moments, and --rate gives others", "leave one out"),
        (options.replay and options.find_rate, "--replay has its own rate", "use --body FILE with --find-rate"),
        (options.replay and options.body, "--replay and --body both say what is sent", "leave one out"),
        (options.url and options.version, "--url names a server, and --version starts one", "leave one out"),
        (options.poisson and not (options.rate or options.find_rate), "--poisson varies a rate", "add --rate 100"),
        (options.rate is not None and options.rate <= 0, "the rate is not above 0", "give a number above 0"),
        (options.connections is not None and options.connections < 1, "there are no connections", "give 1 or more"),
    ]
    for is_wrong, what, remedy in conflicts:
        if is_wrong:
            raise UsageError(what, remedy=remedy)


def _store(options: Namespace) -> Store | None:
    """Return the project's store; a server elsewhere can be asked without a project, and is then not recorded."""
    if not options.url:
        return kept_store(options)
    try:
        return open_store(options)
    except UsageError:
        return None


def _chosen(options: Namespace, store: Store) -> tuple[Version, Any]:
    """Return the version that is put under load, and the terms of its service."""
    from drivetrain.cli.service import chosen_service
    from drivetrain.registry.registry import champion_of, version
    from drivetrain.serving.service import Terms

    _, system = open_system(options)
    if options.version:
        chosen = version(store.ledger, options.version)
        services = [part for part in system.of_role("service") if part.model.name == chosen.model]
        return chosen, services[0].terms() if services else Terms(name="load", model=chosen.model)
    service = chosen_service(system, options.service)
    champion = champion_of(store.ledger, service.model.name)
    if champion is None:
        raise UsageError(f"{service.model.name} has no champion yet", remedy="`drivetrain run` trains one")
    return champion, service.terms()


def _target(options: Namespace, url: str) -> Target:
    from drivetrain.load.plan import Target

    headers = {}
    for header in options.header:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise UsageError(f"{header!r} is no header", remedy="write one as 'Authorization: Bearer …'")
        headers[name.strip()] = value.strip()
    target = Target(url=url, method=options.method.upper(), headers=headers, insecure=options.insecure)
    assert target.address
    return target


def _plan(options: Namespace, target: Target, store: Store | None, version: Version | None) -> Plan:
    from drivetrain.load.bodies import bodies_in, bodies_of_version, examples_of, recorded_by, recorded_in
    from drivetrain.load.plan import Plan

    is_open = bool(options.rate or options.replay)
    common: dict[str, Any] = {
        "target": target,
        "connections": options.connections or (256 if is_open else 16),
        "timeout_s": _seconds(options.timeout, "--timeout"),
        "limit_s": _seconds(options.p99, "--p99") if options.p99 else float("inf"),
    }
    if options.replay:
        path = Path(options.replay)
        if path.suffix in (".ndjson", ".jsonl"):
            recording = recorded_in(path)
        elif store is None:
            raise UsageError(f"there is no store here with a log of {options.replay}", remedy="name an .ndjson file")
        else:
            recording = recorded_by(store, options.replay)
        speed = _speed(options.speed)
        # A little more than the last moment, so that it is within.
        seconds = (recording.moments[-1] - recording.moments[0]) / speed + 0.001
        return Plan(requests=recording.bodies, moments=recording.moments, speed=speed, seconds=seconds, **common)
    if options.body:
        bodies = bodies_in(Path(options.body))
    elif version is not None and version.dataset and store is not None:
        bodies = bodies_of_version(store, version)
    else:
        bodies = examples_of(target)
    return Plan(
        requests=bodies,
        rate=options.rate,
        arrivals="poisson" if options.poisson else "constant",
        seconds=_seconds(options.seconds, "--seconds"),
        warm_up_s=_seconds(options.warm_up, "--warm-up"),
        ramp_s=_seconds(options.ramp, "--ramp"),
        **common,
    )


def _carried_out(plan: Plan, options: Namespace, screen: Screen) -> tuple[Report | None, Found | None]:
    from drivetrain.load.process import carry_out

    with screen.bars() as bars:
        if options.find_rate:
            return _searched(plan, options, screen, bars)
        return carry_out(plan, _follower(bars, plan)), None


def _searched(plan: Plan, options: Namespace, screen: Screen, bars: Bars) -> tuple[Report | None, Found]:
    from drivetrain.load.picture import told
    from drivetrain.load.process import carry_out
    from drivetrain.load.rate import highest_rate

    def measure(rate: float, seconds: float) -> Report:
        asked = msgspec.structs.replace(
            plan, rate=rate, connections=options.connections or 256, seconds=seconds, slice_s=_PROBE_SLICE_S
        )
        report = carry_out(asked, _follower(bars, asked))
        if report.is_interrupted:
            raise KeyboardInterrupt
        return report

    def tell(probe: Probe) -> None:
        screen.line(told(probe, plan.limit_s * 1e3))

    # Clients that wait for their answers show what the server can do at most: the search begins below that.
    first = carry_out(msgspec.structs.replace(plan, rate=None, ramp_s=0, seconds=1.5), _follower(bars, plan))
    if first.is_interrupted:
        raise KeyboardInterrupt
    if not first.answered:
        raise UsageError(
            "no request was answered well: " + ", ".join(first.outcomes),
            remedy=next(iter(first.examples.values()), "try one by hand"),
        )
    found, report = highest_rate(
        measure,
        limit_ms=plan.limit_s * 1e3,
        start=0.7 * first.requests_per_s,
        seconds=_PROBE_S,
        tell=tell,
    )
    return report, found


def _follower(bars: Bars, plan: Plan) -> Callable[[Progress], None]:
    def follow(progress: Progress) -> None:
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        at = f"{plan.rate:,.0f}/s: " if plan.rate else ""
        note = f"{at}{progress.requests_per_s:,.0f} answers a second, p99 {progress.p99_ms:.3g} ms{failed}"
        done = "warming up" if progress.elapsed_s < 0 else note
        bars.show("load", max(0, round(progress.elapsed_s)), max(1, round(plan.seconds)), note=done)

    return follow


def _asked(options: Namespace) -> dict[str, Any]:
    """Return what was asked for, but nothing secret."""
    left_out = ("json", "debug", "profile", "header", "file", "service", "url", "version")
    given = {name: value for name, value in vars(options).items() if name not in left_out}
    return {name: value for name, value in given.items() if value not in (None, "", False)}


def _seconds(text: str, option: str) -> float:
    """Return a time in seconds.

    >>> _seconds("20ms", "--p99"), _seconds("2", "--seconds"), _seconds("1.5m", "--seconds")
    (0.02, 2.0, 90.0)
    """
    match = re.fullmatch(r"(\d+\.?\d*)\s*(ms|s|m|)", text.strip())
    if match is None:
        raise UsageError(f"{option} {text!r} is no time", remedy="write one such as 20ms, 10s or 2m")
    return float(match[1]) * _UNITS_S[match[2]]


def _speed(text: str) -> float:
    match = re.fullmatch(r"(\d+\.?\d*)\s*x?", text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--speed {text!r} is no speed", remedy="write one such as 2x or 0.5x")
    return float(match[1])
