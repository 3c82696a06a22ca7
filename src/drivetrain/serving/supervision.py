"""Workers that are replaced when they die, however often: granian by itself ends the server at the second time."""

from __future__ import annotations

import logging
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from granian.server.mp import MPServer

from drivetrain.pipeline.ending import ending

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOG = logging.getLogger("drivetrain.serving")

# A worker that has lived for so long has come up.
LASTS_S = 5.5
# So many that die before that, one after another, are a server that cannot come up.
MOST_AT_START = 6
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 3.0


class Supervised(MPServer):
    """A server of granian whose workers are replaced when they die, and which says so.

    A request, a job or the system's memory may end a worker at any time, also soon after another. Where none of the
    workers has lasted, the pauses grow, and in the end the server gives up.
    """

    _early = 0

    def _respawn_workers(
        self, workers: Sequence[int], spawn_target: Any, target_loader: Callable[..., Any], delay: float = 0
    ) -> None:
        has_lasted = any(monotonic() - each.birth >= LASTS_S for each in self.wrks)
        self._early = 0 if has_lasted else self._early + 1
        for place in workers:
            code = self.wrks[place].inner.exitcode
            how = ending(code) if code is not None else "ended"
            LOG.error("worker %d %s; what it was answering is lost, and another takes its place", place + 1, how)
        sleep(min(FIRST_PAUSE_S * 2**self._early, LONGEST_PAUSE_S))
        super()._respawn_workers(workers, spawn_target, target_loader, delay)
        if self._early < MOST_AT_START:
            self.respawned_wrks.clear()  # by these it knows that the next to die is the second one
        else:
            LOG.error("no worker stays alive: the server gives up; what they said stands above")
