"""A plan: which parts a run executes, with which settings."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import BadSetting, UnknownName, UsageError
from drivetrain.pipeline.selection import item_named, selected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.system.part import Part
    from drivetrain.system.system import System


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is to do: the names of the parts in an order that fits, and the settings of each."""

    system: Any
    steps: tuple[str, ...]
    settings: dict[str, dict[str, Any]]


def make_plan(
    system: System,
    *,
    targets: Sequence[str] = (),
    without: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the plan for `targets` and all that they need; without targets, for every part that a run executes.

    What targets may look like, and what is left out with `without`, is told by `selected`. `settings` are by full
    name: `{"lateness.learning_rate": 0.05}`.

    Raises:
        UnknownName: a target or a setting does not exist.
        UsageError: what is asked for is left out.
        BadSetting: a setting has a value of another type than its default.
    """
    wanted = selected(system, targets, without)
    return Plan(
        system=system,
        steps=tuple(name for name, part in system.parts.items() if name in wanted and part.RUNS),
        settings=_settings(system, settings or {}),
    )


def steps_matching(plan: Plan, names: Sequence[str]) -> list[str]:
    """Return the steps of a plan that names or patterns such as `raw_*` stand for; an output stands for its step.

    Items of mapped steps, `rows[2013-02]` or `rows[2013-*]`, are returned as they are written.

    Raises:
        UnknownName: one stands for none.
    """
    found: dict[str, None] = {}
    steps = set(plan.steps)
    outputs = {output: part.name for output, part in plan.system.producers.items() if part.name in steps}
    known = [*plan.steps, *(output for output in outputs if output not in steps)]
    mapped = [name for name in plan.steps if plan.system.parts[name].conduct.each]
    for name in names:
        owner, label = item_named(name)
        owner = outputs.get(owner, owner)
        if label and owner in mapped:
            found[f"{owner}[{label}]"] = None
            continue
        matches = [outputs.get(each, each) for each in known if fnmatchcase(each, name)]
        if not matches and label:
            raise UnknownName(kind="mapped step of this run", name=owner, known=mapped)
        if not matches:
            raise UnknownName(kind="step of this run", name=name, known=known)
        found |= dict.fromkeys(matches)
    return list(found)


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Return settings written as `part.setting=value`; a value is JSON, or else text.

    >>> parse_settings(["lateness.depth=3", "flights.until=2013-07-01"])
    {'lateness.depth': 3, 'flights.until': '2013-07-01'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or "." not in name:
            raise UsageError(f"{text!r} is not a setting", remedy="write it as part.setting=value")
        try:
            found[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            found[name] = value
    return found


def _settings(system: System, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    settings = {name: part.settings() for name, part in system.parts.items()}
    known = [f"{part}.{name}" for part, values in settings.items() for name in values]
    for full, value in given.items():
        if full not in known:
            raise UnknownName(kind="setting", name=full, known=known)
        name, _, setting = full.partition(".")
        settings[name][setting] = _fitted(full, value, settings[name][setting], system.parts[name])
    return settings


def _fitted(full: str, value: Any, default: Any, part: Part) -> Any:
    if default is None:
        return value
    try:
        return msgspec.convert(value, type(default))
    except msgspec.ValidationError as error:
        raise BadSetting(
            setting=full,
            found=repr(value),
            right=f"its default {default!r} is {type(default).__name__}",
            place=part.place,
        ) from error
