"""The timeline: what happened and why, newest first, in groups of one stretch of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from drivetrain.security.event import Event
from drivetrain.ui.words import day, utc

if TYPE_CHECKING:
    from drivetrain.ui.console import Asked, Console

# The nouns of the kinds of events, by the topic they are filtered by.
TOPICS = {
    "runs": ("run", "step", "approval"),
    "models": ("gate", "version", "alias", "model"),
    "serving": ("service", "canary", "rollout", "server", "load"),
    "watching": ("drift", "quality", "alert", "window", "monitor", "trigger", "label", "retrain"),
    "store": ("store",),
}
_TONES = {
    "bad": ("failed", "refused", "rolled_back", "broken", "stopped", "interrupted"),
    "warn": ("raised", "fired", "skewed"),
    "good": ("passed", "promoted", "cleared"),
}
_TONE = {verb: tone for tone, verbs in _TONES.items() for verb in verbs}
_TOPIC = {noun: topic for topic, nouns in TOPICS.items() for noun in nouns}
PAGE_EVENTS = 30


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it is shown."""

    event: Event
    topic: str
    tone: str
    link: str


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The events of a month in the world of the data, or of a day by the clock."""

    title: str
    moments: list[Moment]


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the timeline; `older` is the number that the next page stands before."""

    topic: str
    groups: list[Group]
    older: int | None


def timeline(console: Console, asked: Asked) -> Timeline:
    """Return the events of a `topic`, those `before` a number."""
    topic = asked.get("topic", "") if asked.get("topic", "") in TOPICS else ""
    before = asked.get("before", "")
    where: dict[str, object] = {"number <": int(before)} if before.isdecimal() and len(before) < 18 else {}
    found: list[Event] = []
    for noun in TOPICS[topic] if topic else ("",):
        # Every kind of a noun lies between "noun." and the next character after the dot.
        kinds = {"kind >=": f"{noun}.", "kind <": f"{noun}/"} if noun else {}
        found += console.store.ledger.find(Event, where | kinds, order="-number", limit=PAGE_EVENTS + 1)
    found.sort(key=lambda event: -event.number)
    shown = found[:PAGE_EVENTS]
    return Timeline(
        topic=topic, groups=_grouped(console, shown), older=shown[-1].number if len(found) > PAGE_EVENTS else None
    )


def _grouped(console: Console, shown: list[Event]) -> list[Group]:
    dated = [event for event in shown if event.happened_at is not None]
    groups: list[Group] = []
    for event in shown:
        # An event that says nothing of the data's time belongs to what happened next to it by the clock.
        beside = event if event.happened_at else min(dated, key=lambda other: abs(other.at - event.at), default=event)
        title = f"{utc(beside.happened_at):%B %Y}" if beside.happened_at else day(utc(event.at))
        if not groups or groups[-1].title != title:
            groups.append(Group(title=title, moments=[]))
        groups[-1].moments.append(moment_of(console, event))
    return groups


def moment_of(console: Console, event: Event) -> Moment:
    """Return an event with its topic, tone and link."""
    noun, _, verb = event.kind.partition(".")
    return Moment(
        event=event, topic=_TOPIC.get(noun, "runs"), tone=_TONE.get(verb, "plain"), link=link_to(console, event.subject)
    )


def link_to(console: Console, subject: str) -> str:
    """Return the address of the page about a run, a version or a part; empty where there is none."""
    if subject.startswith("run-"):
        return f"/runs/{subject}"
    if subject.startswith("pred-"):
        return f"/predictions/{subject}"
    if "@" in subject:
        return f"/versions/{subject}"
    return f"/parts/{subject}" if subject in console.system.parts else ""
