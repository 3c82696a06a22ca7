"""The threads in which steps take their turns."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any

from drivetrain.pipeline.crew import Crew, Ended

WORD: ContextVar[str] = ContextVar("word", default="")


def ended(came: object) -> Ended:
    """Return a turn of which something came; which node's it was is nothing to the crew."""
    return Ended(None, None, came)  # type: ignore[arg-type]


def taken_in(crew: Crew, turns: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < turns:
        found += [each.outcome for each in crew.ended(10)]
    return found


def test_there_are_as_many_threads_as_turns_at_once_and_no_turn_sees_anothers_context() -> None:
    crew, both = Crew(), threading.Barrier(2)

    def turn() -> Ended:
        before = WORD.get()
        WORD.set("seen")
        both.wait(10)
        return ended((threading.get_ident(), before))

    found: list[Any] = []
    for _ in range(5):
        crew.begin(turn)
        crew.begin(turn)
        found += taken_in(crew, 2)
    assert len({thread for thread, _ in found}) == 2
    assert {before for _, before in found} == {""}
    crew.close()


def test_turns_that_ended_together_are_given_together_and_none_after_the_time() -> None:
    crew = Crew()
    for number in range(3):
        crew.hand_in(ended(number))
    assert taken_in(crew, 3) == [0, 1, 2]
    assert crew.ended(0.01) == []
