"""Peak memory of this process over a stretch of work."""

from __future__ import annotations

import resource
import sys


class PeakMemory:
    """Begins to watch when it is made. Steps that run at once share the process, and so the figure.

    >>> PeakMemory().mib() > 0
    True
    """

    def __init__(self) -> None:
        self._can_reset = sys.platform == "linux"
        if self._can_reset:
            try:
                with open("/proc/self/clear_refs", "wb", buffering=0) as file:
                    file.write(b"5")
            except OSError:  # not allowed in some containers: the peak since the process began is given instead
                self._can_reset = False

    def mib(self) -> float:
        """Return the highest resident size since then, in MiB."""
        if self._can_reset:
            with open("/proc/self/status", "rb") as file:
                for line in file:
                    if line.startswith(b"VmHWM:"):
                        return int(line.split()[1]) / 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
