"""Sends requests when they are due, and counts their answers: an event loop of its own on plain sockets.

uvloop and asyncio wait in whole milliseconds, which is longer than many an answer takes.
"""

from __future__ import annotations

import gc
import select
import selectors
import socket
import ssl
from collections import deque
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from drivetrain.load.arrivals import arrivals, recorded
from drivetrain.load.connection import Connection
from drivetrain.load.report import Unreachable
from drivetrain.load.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drivetrain.load.plan import Plan
    from drivetrain.load.report import Progress, Report

# How often requests are looked at that take too long, and how long a connection that failed is let be.
_LOOK_S = 0.02
_PAUSE_S = 0.1
_TELL_S = 0.25
_CONNECT_S = 5.0


class _Selector(selectors.DefaultSelector):
    """Waits to the microsecond: epoll itself only knows milliseconds, but can be waited for as a file."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return list(super().select(timeout))


class Sender:
    """Carries a plan out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.requests = [plan.target.request(body) for body in plan.requests]
        self.selector = _Selector()
        self.context = _context(plan) if plan.target.is_secure else None
        self.host = plan.target.address[0]
        self.family: int = socket.AF_INET
        self.address: Any = ("", 0)
        self.is_stopped = False
        self.tally = Tally(plan, 0.0)
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._next_request = 0
        self._due: Iterator[float] = iter(())
        self._next_due: float | None = None
        self._until = 0.0
        # Connections of a closed loop that failed, and when each may try again.
        self._paused: deque[tuple[float, Connection]] = deque()

    def run(self, tell: Callable[[Progress], None]) -> Report | Unreachable:
        """Send, count, and return what was seen; meanwhile `tell` is told how far it has come."""
        if problem := self._find_address():
            return Unreachable(problem)
        gc.disable()  # a collection would be taken for the server's slowness
        try:
            return self._run(tell)
        finally:
            gc.enable()
            for connection in list(self._all):
                connection.close()

    def stop(self) -> None:
        """End early; what was measured counts."""
        self.is_stopped = True

    def next_request(self) -> bytes:
        """Return the request whose turn it is."""
        request = self.requests[self._next_request % len(self.requests)]
        self._next_request += 1
        return request

    def _run(self, tell: Callable[[Progress], None]) -> Report:
        plan = self.plan
        begin = perf_counter() + 0.01
        self.tally = tally = Tally(plan, begin + plan.warm_up_s)
        self._until = tally.begin + plan.seconds
        self._due = (begin + moment for moment in self._moments())
        self._next_due = next(self._due, None)
        if not plan.is_open:
            for _ in range(plan.connections):
                connection = self._connect()
                connection.send(begin, self.next_request())
        processor = process_time()
        next_look, next_tell = begin + _LOOK_S, begin + _TELL_S
        while True:
            now = perf_counter()
            if self._next_due is not None and self._next_due <= now:
                self._take_due(now)
            if self._waiting:
                self._send_waiting()
            if now >= next_look:
                self._look(now)
                next_look = now + _LOOK_S
                if now >= next_tell:
                    tell(tally.progress(now))
                    next_tell = now + _TELL_S
                if self.is_stopped or self._is_over(now):
                    break
            wait = next_look if self._next_due is None else min(next_look, self._next_due)
            for key, _ in self.selector.select(max(0.0, wait - perf_counter())):
                key.data.ready()
        until = min(perf_counter(), self._until)
        return tally.report(until=until, processor_s=process_time() - processor, is_interrupted=self.is_stopped)

    def _moments(self) -> Iterator[float]:
        plan = self.plan
        seconds = plan.warm_up_s + plan.seconds
        if plan.moments:
            return (moment for moment in recorded(plan.moments, plan.speed) if moment < seconds)
        if plan.rate is None:
            return iter(())
        return arrivals(plan.rate, seconds, kind=plan.arrivals, ramp_s=plan.ramp_s)

    def _take_due(self, now: float) -> None:
        """Take what is due; it is sent as soon as there is a connection for it."""
        while self._next_due is not None and self._next_due <= now:
            self.tally.sent_late(now - self._next_due, self._next_due)
            self._waiting.append(self._next_due)
            self._next_due = next(self._due, None)

    def _send_waiting(self) -> None:
        while self._waiting and (connection := self._free()) is not None:
            connection.send(self._waiting.popleft(), self.next_request())

    def _free(self) -> Connection | None:
        if self._idle:
            return self._idle.pop()
        return self._connect() if len(self._all) < self.plan.connections else None

    def _connect(self) -> Connection:
        connection = Connection(self)
        self._all.add(connection)
        return connection

    def freed(self, connection: Connection, now: float, *, has_failed: bool) -> None:
        """Take back a connection whose request has ended; it goes on with the next one."""
        if self.plan.is_open:
            self._idle.append(connection)
        elif has_failed:
            self._paused.append((now + _PAUSE_S, connection))
        elif now < self._until and not self.is_stopped:
            connection.send(now, self.next_request())

    def dropped(self, connection: Connection) -> None:
        """Forget an idle connection that the server has closed."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _look(self, now: float) -> None:
        limit = now - self.plan.timeout_s
        for connection in list(self._all):
            if connection.is_busy and connection.due < limit:
                connection.give_up(now)
        while self._waiting and self._waiting[0] < limit:
            self.tally.ended("timeout", self._waiting.popleft(), now, is_good=False)
            self._next_request += 1
        while self._paused and self._paused[0][0] <= now:
            _, connection = self._paused.popleft()
            if now < self._until:
                connection.send(now, self.next_request())

    def _is_over(self, now: float) -> bool:
        if self.plan.is_open:
            is_sent = self._next_due is None and not self._waiting
        else:
            is_sent = now >= self._until
        return is_sent and not any(connection.is_busy for connection in self._all)

    def _find_address(self) -> str:
        """Find the address that answers, since `localhost` is several; return what is wrong where none does."""
        host, port = self.plan.target.address
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            return f"the host {host} is not known: {error.strerror}"
        problem = ""
        for family, _, _, _, address in found:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.settimeout(_CONNECT_S)
                try:
                    probe.connect(address)
                except OSError as error:
                    problem = f"{host}:{port} cannot be reached: {error.strerror or error}"
                    continue
            self.family, self.address = family, address
            return ""
        return problem


def _context(plan: Plan) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if plan.target.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
