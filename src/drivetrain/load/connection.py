"""One connection of a load test: it sends a request, reads the answer, and is used again."""

from __future__ import annotations

import errno
import socket
import ssl
from selectors import EVENT_READ, EVENT_WRITE
from time import perf_counter
from typing import TYPE_CHECKING

from drivetrain.load.answer import Answer

if TYPE_CHECKING:
    from drivetrain.load.sender import Sender

_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_READ_BYTES = 1 << 18
# A server may close a connection that nobody has used for so long, also while the next request is on its way.
_UNUSED_S = 1.0


class Connection:
    """Sends one request at a time; opened when it is first used, and anew after it has ended.

    `due` is the moment from which the time of its request counts.
    """

    __slots__ = ("_answer", "_answered_at", "_events", "_is_connected", "_is_late", "_left", "_request", "_sender",
                 "_socket", "due", "is_busy")  # fmt: skip

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._socket: socket.socket | None = None
        self._events = 0
        self._is_connected = False
        # When the last answer came, and whether the request now on its way came long after it.
        self._answered_at = 0.0
        self._is_late = False
        self._request = self._left = b""
        self._answer = Answer()
        self.is_busy, self.due = False, 0.0

    def send(self, due: float, request: bytes) -> None:
        """Send a request, which was due at a moment."""
        self.due, self.is_busy, self._request, self._left = due, True, request, request
        self._answer = Answer()
        self._is_late = self._answered_at > 0 and perf_counter() - self._answered_at > _UNUSED_S
        if self._socket is None:
            self._open()
        else:
            self._write()

    def ready(self) -> None:
        """Go on: the socket can be read or written."""
        try:
            if not self._is_connected:
                self._finish_connecting()
            if self._is_connected and self._left:
                self._write()
            if self._is_connected and self._socket is not None:
                self._read()
        except _AGAIN:
            pass
        except OSError as error:
            self._broken(error)

    def give_up(self, now: float) -> None:
        """End a request that has waited too long, and the connection with it: its answer may still come."""
        self.close()
        self._ended("timeout", now, is_good=False)

    def close(self) -> None:
        """Close the socket; the next request opens another one."""
        if self._socket is not None:
            if self._events:
                self._sender.selector.unregister(self._socket)
            self._socket.close()
        self._socket, self._events = None, 0
        self._is_connected = self._is_late = False
        self._answered_at = 0.0

    def _open(self) -> None:
        sender = self._sender
        plain = socket.socket(sender.family, socket.SOCK_STREAM)
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = plain.connect_ex(sender.address)
        self._socket = plain
        sender.tally.connections_opened += 1
        if code in (0, errno.EINPROGRESS):
            self._wait_for(EVENT_WRITE)
        else:
            self._broken(OSError(code, "cannot connect"))

    def _finish_connecting(self) -> None:
        assert self._socket is not None
        if not isinstance(self._socket, ssl.SSLSocket):
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, "cannot connect")
            context = self._sender.context
            if context is not None:
                self._sender.selector.unregister(self._socket)
                self._events = 0
                self._socket = context.wrap_socket(
                    self._socket, server_hostname=self._sender.host, do_handshake_on_connect=False
                )
        if isinstance(self._socket, ssl.SSLSocket):
            self._wait_for(EVENT_READ)
            try:
                self._socket.do_handshake()
            except ssl.SSLWantWriteError:
                self._wait_for(EVENT_READ | EVENT_WRITE)
                raise
        self._is_connected = True
        self._wait_for(EVENT_READ)

    def _write(self) -> None:
        assert self._socket is not None
        if not self._is_connected:
            return
        try:
            sent = self._socket.send(self._left)
        except _AGAIN:
            sent = 0
        except OSError as error:
            self._broken(error)
            return
        self._left = self._left[sent:] if sent < len(self._left) else b""
        self._wait_for(EVENT_READ | EVENT_WRITE if self._left else EVENT_READ)

    def _read(self) -> None:
        assert self._socket is not None
        while True:  # an encrypted socket may hold more than one record, of which the selector knows nothing
            data = self._socket.recv(_READ_BYTES)
            now = perf_counter()
            if not data:
                self._closed(now)
                return
            self._sender.tally.received_bytes += len(data)
            if not self.is_busy:  # what nobody has asked for
                self._forget()
                return
            try:
                is_whole = self._answer.feed(data)
            except ValueError as error:
                self.close()
                self._ended("malformed", now, is_good=False, example=str(error))
                return
            if is_whole:
                self._answered(now)
                return
            if not isinstance(self._socket, ssl.SSLSocket):
                return

    def _answered(self, now: float) -> None:
        answer = self._answer
        self._answered_at = now
        if not answer.stays_open or self._left:
            self.close()
        is_good = 200 <= answer.status < 300
        if is_good and self._sender.plan.times_in:
            self._sender.tally.named(answer.data, self.due, now)
        self._ended(str(answer.status), now, is_good=is_good, example="" if is_good else answer.excerpt())

    def _closed(self, now: float) -> None:
        """The server has closed the connection: between two requests it may, in the middle of an answer not."""
        is_end = self.is_busy and self._answer.ends_with_connection
        was_stale = self._is_late and not self._answer.is_begun
        self.close()
        if not self.is_busy:
            self._sender.dropped(self)
        elif is_end:
            self._answered(now)
        elif was_stale:  # it went while our request was on its way: any client would ask again
            self.send(self.due, self._request)
        else:
            self._ended("closed", now, is_good=False)

    def _broken(self, error: OSError) -> None:
        was_stale = self._is_late and not self._answer.is_begun and self.is_busy
        self.close()
        if was_stale:
            self.send(self.due, self._request)
        elif self.is_busy:
            kind = _KINDS.get(error.errno or 0, "tls" if isinstance(error, ssl.SSLError) else "unreachable")
            self._ended(kind, perf_counter(), is_good=False, example=str(error))
        else:
            self._forget()

    def _forget(self) -> None:
        self.close()
        self._sender.dropped(self)

    def _ended(self, outcome: str, now: float, *, is_good: bool, example: str = "") -> None:
        self.is_busy = False
        self._sender.tally.ended(outcome, self.due, now, is_good=is_good, example=example)
        self._sender.freed(self, now, has_failed=not outcome[0].isdigit() and outcome != "timeout")

    def _wait_for(self, events: int) -> None:
        if events == self._events or self._socket is None:
            return
        if self._events:
            self._sender.selector.modify(self._socket, events, self)
        else:
            self._sender.selector.register(self._socket, events, self)
        self._events = events


_KINDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "unreachable",
}
