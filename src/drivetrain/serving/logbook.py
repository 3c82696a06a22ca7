"""The log of predictions of one worker: whatever answers writes there, and goes on where that cannot be done."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drivetrain.serving.counters import Counters
    from drivetrain.serving.journal import Journal

LOG = logging.getLogger("drivetrain.serving")


class Logbook:
    """Writes lines of predictions. `error` says why that cannot be done at the moment; empty where all is well."""

    def __init__(self, journal: Journal, counters: Counters) -> None:
        self._journal, self._counters = journal, counters
        self.error = ""

    def write(self, lines: bytes, rows: int) -> None:
        """Append lines; where that cannot be done, it is counted and told, and answers go out as ever."""
        try:
            self._journal.write(lines)
        except OSError as error:
            self._counters.add("log_failures", rows)
            if not self.error:
                LOG.error("predictions cannot be logged, and are answered all the same: %s", error)
            self.error = str(error)
            self._counters.set("log_failing", 1)
            return
        if self.error:
            LOG.warning("predictions are logged again")
            self.error = ""
            self._counters.set("log_failing", 0)

    def close(self) -> None:
        """Finish the part that is written to."""
        self._journal.close()

    def close_if_old(self) -> None:
        """Finish a part that has been written to for long."""
        self._journal.close_if_old()
