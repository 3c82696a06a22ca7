"""Which trace the request belongs to that is being answered, by the W3C's Trace Context."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# https://www.w3.org/TR/trace-context/: version, trace, parent and flags, in lower case. No version is ff, and a trace
# or a parent of zeros is none. A version that is newer than 00 may say more behind a hyphen.
PARENT, STATE = "traceparent", "tracestate"
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?", re.ASCII)
# The flags that have a meaning: whether the trace is recorded, and whether its id is random.
_FLAGS = 0b11
_MOST_STATE = 512


class Trace(NamedTuple):
    """A trace that a client has begun: its id, its flags, and what others want to know of it later."""

    id: str
    flags: int
    state: str = ""

    def headers(self) -> dict[str, str]:
        """Return the headers of a request that is made for one of this trace; its parent is new each time.

        >>> Trace("4bf92f3577b34da6a3ce929d0e0e4736", 1).headers()["traceparent"]
        '00-4bf92f3577b34da6a3ce929d0e0e4736-...-01'
        """
        # The first bit is set, so that it is never all zeros.
        parent = secrets.randbits(64) | 1 << 63
        told = {PARENT: f"00-{self.id}-{parent:016x}-{self.flags:02x}"}
        return told | {STATE: self.state} if self.state else told


def trace_of(parents: Sequence[str], states: Sequence[str] = ()) -> Trace | None:
    """Return the trace that the headers of a request name; None where they name none, or not as the standard says.

    >>> trace_of(["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]).id
    '4bf92f3577b34da6a3ce929d0e0e4736'
    >>> trace_of(["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]) is None
    True
    """
    match = _PARENT.fullmatch(parents[0].strip(" \t")) if len(parents) == 1 else None
    if match is None or (match[1] == "00" and match[4]):
        return None
    state = ",".join(states)
    return Trace(match[2], int(match[3], 16) & _FLAGS, state if len(state) <= _MOST_STATE else "")


_TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)


def follow(parents: Sequence[str], states: Sequence[str] = ()) -> None:
    """Let what runs from here on, in this request, belong to the trace that its headers name, if they name one."""
    _TRACE.set(trace_of(parents, states))


def trace_now() -> Trace | None:
    """Return the trace of the request that is being answered."""
    return _TRACE.get()


def of_trace(trace: Trace | None) -> str:
    """Return what a line of the server's log says of a trace; nothing where there is none.

    >>> of_trace(Trace("4bf92f3577b34da6a3ce929d0e0e4736", 1)), of_trace(None)
    (' (trace 4bf92f3577b34da6a3ce929d0e0e4736)', '')
    """
    return f" (trace {trace.id})" if trace else ""
