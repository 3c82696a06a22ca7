"""How the consumers of a service's streams stand, for whoever asks."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from drivetrain.store.record import Record, now

if TYPE_CHECKING:
    from drivetrain.store.ledger import Ledger


class StreamState(Record, frozen=True, kw_only=True):
    """What one consumer has read from a stream since its store was made, and how much waits for its group."""

    TABLE: ClassVar[str] = "stream_state"
    KEY: ClassVar[tuple[str, ...]] = ("service", "stream", "consumer")

    service: str
    stream: str
    consumer: str
    answered: int = 0
    dead: int = 0
    again: int = 0
    lag: int = 0
    at: datetime


def exposition(ledger: Ledger, service: str) -> str:
    """Return the streams of a service in the form of Prometheus; empty where it has none."""
    states = ledger.find(StreamState, {"service": service})
    if not states:
        return ""
    lines: list[str] = []

    def family(name: str, kind: str, text: str, values: dict[str, float]) -> None:
        lines.extend([f"# HELP drivetrain_stream_{name} {text}", f"# TYPE drivetrain_stream_{name} {kind}"])
        lines.extend(f"drivetrain_stream_{name}{{{label}}} {value:.17g}" for label, value in values.items())

    labels = {f'service="{service}",stream="{each.stream}",consumer="{each.consumer}"': each for each in states}
    counts = {"answered": "Messages answered.", "dead": "Messages put aside.", "again": "Messages given again."}
    for name, text in counts.items():
        family(f"{name}_total", "counter", text, {label: getattr(each, name) for label, each in labels.items()})
    newest = {each.stream: each for each in sorted(states, key=lambda each: each.at)}
    streams = {f'service="{service}",stream="{each.stream}"': each for each in newest.values()}
    family("lag", "gauge", "Messages that wait or are not settled.", {name: each.lag for name, each in streams.items()})
    silent = {name: (now() - each.at).total_seconds() for name, each in streams.items()}
    family("silent_seconds", "gauge", "Time since a consumer told of itself.", silent)
    return "\n".join(lines) + "\n"
