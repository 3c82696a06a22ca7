"""How many requests a second may go to a model that waits for something else."""

from __future__ import annotations

from time import monotonic

from drivetrain.errors import RequestError


class Rate:
    """Lets requests pass at a rate; after a pause, as many at once as fit into a second. A rate of 0 lets all pass.

    >>> rate = Rate(2.0)
    >>> for _ in range(2):
    ...     rate.take()
    >>> rate.take()
    Traceback (most recent call last):
    drivetrain.errors.RequestError: more than 2 requests a second are not taken; try again in a second
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._most = self._left = max(1.0, per_s)
        self._at = monotonic()

    def take(self) -> None:
        """Take one request.

        Raises:
            RequestError: 429, there are too many.
        """
        if not self._per_s:
            return
        now = monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            message = f"more than {self._per_s:g} requests a second are not taken; try again in a second"
            raise RequestError(status=429, message=message)
        self._left -= 1
