"""A trigger: what starts a run by itself, and with which settings."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from drivetrain.data.duration import duration
from drivetrain.errors import BadSetting, DeclarationError, UnknownName
from drivetrain.monitoring.cron import Cron, cron
from drivetrain.monitoring.monitor import Watch
from drivetrain.system.caller import caller
from drivetrain.system.declaration import Declared
from drivetrain.system.function import is_plain
from drivetrain.system.part import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Now", "Trigger", "cron", "now"]


class Now(msgspec.Struct, frozen=True):
    """The moment at which a trigger fires; see `now`."""

    def __repr__(self) -> str:
        return "now"


now = Now()
"""In a trigger's settings: the present, as ISO text such as `2026-01-31T09:30:00`.

It is the present of the data: the latest time of a row whose label has arrived. Where the dataset has no time column,
it is that of the clock, in UTC.
"""


class _Positional(Declared):
    """Takes what a trigger waits for as plain arguments, which the constructor of a struct cannot."""

    def __call__(cls, *when: Any, **options: Any) -> Any:  # noqa: N805  # it is the class that is called
        return super().__call__(when, **options)


class Trigger(Part, frozen=True, eq=False, metaclass=_Positional):
    """What starts a run by itself: `Trigger(watch.drift, cron("0 3 * * 1"), settings={"flights.until": now})`.

    The run is of the whole system, its gate included, with `settings` laid over the defaults. No other follows for the
    length `cooldown`, in the data's time, and none at all while a canary is undecided. By default this is the longest
    window of the monitors that the trigger waits for. After a run whose model did not take over, it is a quarter of
    that, and doubles with each such run.
    """

    ROLE: ClassVar[str] = "trigger"
    # As an attribute, `settings` are those of the part itself.
    WORDS: ClassVar[Mapping[str, str]] = {"settings": "given"}

    when: tuple[Watch | Cron, ...]
    given: Mapping[str, Any] = {}
    cooldown: str = ""

    if TYPE_CHECKING:

        def __init__(
            self, *when: Watch | Cron, settings: Mapping[str, Any] | None = None, cooldown: str = "", name: str = ""
        ) -> None: ...

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "place", caller())
        msgspec.structs.force_setattr(self, "given", dict(self.given or {}))
        if not self.when:
            raise DeclarationError(
                "a trigger waits for nothing",
                remedy="give it a rule such as `watch.drift`, or `dt.cron(...)`",
                place=self.place,
            )
        for cause in self.when:
            if not isinstance(cause, (Watch, Cron)):
                raise DeclarationError(
                    f"a trigger waits for rules of a monitor and for calendars, and {cause!r} is neither",
                    remedy='write `watch.drift`, `watch.quality` or `dt.cron("0 3 * * 1")`',
                    place=self.place,
                )
        if self.cooldown:
            duration(self.cooldown, "cooldown of a trigger", place=self.place)
        for name, value in self.given.items():
            if not (isinstance(value, Now) or is_plain(value)):
                raise BadSetting(
                    setting=name,
                    found=f"{type(value).__name__}, which cannot be written down",
                    right="give it a number, text, bool, None, a list or dict of these, or `dt.now`",
                    place=self.place,
                )

    @property
    def watches(self) -> list[Watch]:
        """The rules that the trigger waits for."""
        return [cause for cause in self.when if isinstance(cause, Watch)]

    @property
    def calendars(self) -> list[Cron]:
        """The calendars that the trigger follows."""
        return [cause for cause in self.when if isinstance(cause, Cron)]

    @property
    def rest(self) -> timedelta:
        """How long no other run follows, in the data's time."""
        if self.cooldown:
            return duration(self.cooldown)
        return max((watch.monitor.length for watch in self.watches), default=timedelta(0))

    def refers(self) -> tuple[Part, ...]:
        return tuple(dict.fromkeys(watch.monitor for watch in self.watches))

    def outputs(self) -> dict[str, Any]:
        return {}

    def check(self, parts: Mapping[str, Part]) -> None:
        known = {f"{part.name}.{setting}" for part in parts.values() for setting in part.settings()}
        for name in self.given:
            if name not in known:
                raise UnknownName(kind="setting", name=name, known=known, place=self.place)

    def declared(self) -> dict[str, Any]:
        return {"when": [str(cause) for cause in self.when], "cooldown": self.cooldown}

    def resolved(self, moment: datetime) -> dict[str, Any]:
        """Return the settings of a run that starts at `moment`: where they say `now`, they have its ISO text.

        >>> cron_only = Trigger(cron("0 3 * * 1"), settings={"flights.until": now})
        >>> cron_only.resolved(datetime(2026, 1, 5, 3))
        {'flights.until': '2026-01-05T03:00:00'}
        """
        text = moment.replace(tzinfo=None).isoformat(timespec="seconds")
        return {name: text if isinstance(value, Now) else value for name, value in self.given.items()}
