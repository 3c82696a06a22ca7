"""How a run carries a step out: when, for what, how often, with how much of the machine. It is no part of the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict, runtime_checkable

import msgspec

from drivetrain.errors import BadSetting, GiveUp, Place, StoreUnavailable, TryAgain

# What comes from outside the step and may be over in a moment.
PASSING = (ConnectionError, TimeoutError, StoreUnavailable, TryAgain)


@runtime_checkable
class Items(Protocol):
    """Something that names the items of a mapped step by itself, such as the months since a date."""

    def now(self) -> list[Any]:
        """Return the items as they are now."""
        ...


class Retry(msgspec.Struct, frozen=True):
    """How often a failed step is tried again: `Retry(3, wait_s=2)`.

    It waits `wait_s` seconds, then `factor` times as long after each further failure, at most `most_s`. What is worth
    trying again: a lost connection, a time-out, a process that died, `dt.TryAgain`, and the types in `on`; never
    `dt.GiveUp`.

    >>> [Retry(5, wait_s=1.0, most_s=10).pause_s(number) for number in (1, 2, 5)]
    [1.0, 2.0, 10]
    """

    times: int = 1
    wait_s: float = 1.0
    factor: float = 2.0
    most_s: float = 60.0
    on: tuple[type[BaseException], ...] = ()

    def pause_s(self, failures: int) -> float:
        """Return how long to wait after that many failures."""
        return min(self.wait_s * self.factor ** (failures - 1), self.most_s)

    def takes(self, error: BaseException) -> bool:
        """Return whether an error is worth trying again."""
        return isinstance(error, (*PASSING, *self.on)) and not isinstance(error, GiveUp)


class Conduct(msgspec.Struct, frozen=True, kw_only=True):
    """How a step is carried out.

    `each` maps a parameter to what it takes the items of: an output or the part that gives it, a list, a dict, or
    `Items`. `when` is the output that must be true, or its part. A step with a time-out, a memory limit or a GPU runs
    in a process of its own, and so does any with `isolated`.
    """

    each: dict[str, Any] = {}
    when: Any = ""
    retry: Retry = Retry(0)
    timeout_s: float | None = None
    memory_gib: float | None = None
    cpu: float = 1
    gpu: int = 0
    isolated: bool = False

    @property
    def is_isolated(self) -> bool:
        """Whether the step runs in a process of its own."""
        return self.isolated or self.timeout_s is not None or self.memory_gib is not None or self.gpu > 0

    @property
    def condition(self) -> str:
        """The name of the output that must be true; empty when there is none."""
        return name_of(self.when)

    def sources(self) -> dict[str, Any]:
        """Return what each mapped parameter takes the items of: the name of an output, or the items."""
        return {word: name_of(source) or source for word, source in self.each.items()}

    @property
    def asks_for_more(self) -> bool:
        """Whether the step asks for more than one processor."""
        return self.cpu > 1 or self.memory_gib is not None or self.gpu > 0


class Options(TypedDict, total=False):
    """The options that every decorator of a function takes, as they are written."""

    env: str | Sequence[str]
    files: str | Sequence[str]
    each: Mapping[str, Any]
    when: Any
    retry: int | Retry
    timeout_s: float
    memory_gib: float
    cpu: float
    gpu: int
    isolated: bool


def conduct_of(options: Options, *, place: Place | None = None) -> Conduct:
    """Return the conduct that a decorator's options describe.

    Raises:
        BadSetting: a number is out of range, or an option is of the wrong kind.
    """
    written: dict[str, Any] = {word: value for word, value in options.items() if word not in ("env", "files")}
    for name, least in (("timeout_s", 0), ("memory_gib", 0), ("cpu", 0), ("gpu", -1)):
        value = written.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= least:
            raise BadSetting(setting=name, found=repr(value), right="write a number above 0", place=place)
    retry = written.pop("retry", 0)
    if isinstance(retry, bool) or not isinstance(retry, (int, Retry)) or (isinstance(retry, int) and retry < 0):
        raise BadSetting(
            setting="retry",
            found=repr(retry),
            right="write how often to try again, or `dt.Retry(3, wait_s=2)`",
            place=place,
        )
    written["retry"] = Retry(retry) if isinstance(retry, int) else retry
    each = written.pop("each", {})
    if not isinstance(each, Mapping):
        raise BadSetting(
            setting="each",
            found=repr(each),
            right='name the parameter and what it takes the items of: `each={"month": "months"}`',
            place=place,
        )
    for word, source in each.items():
        if not isinstance(source, (str, list, tuple, dict, Items)) and not hasattr(source, "outputs"):
            raise BadSetting(
                setting=f"each of {word!r}",
                found=repr(source),
                right="name an output of the system, or write a list of items",
                place=place,
            )
    return Conduct(each=dict(each), **written)


def name_of(source: Any) -> str:
    """Return the name of an output that is given as text, or as the part that gives it; empty for anything else.

    A part may get its name only after it was mentioned.
    """
    return source if isinstance(source, str) else str(getattr(source, "name", ""))
