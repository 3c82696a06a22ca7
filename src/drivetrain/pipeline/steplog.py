"""What steps print: kept for each step, shown as it comes, and bounded."""

from __future__ import annotations

import io
import sys
from collections import deque
from contextlib import contextmanager
from contextvars import Context
from threading import Lock
from typing import TYPE_CHECKING, Any, TextIO

from drivetrain.pipeline.log import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# A step that prints without end keeps its first and its last words.
HEAD_BYTES = 1 << 20
TAIL_BYTES = 1 << 18
# So many lines of a step are shown as they come; the log has all of them.
SHOWN_LINES = 100


class StepLog:
    """Takes what one step prints, as bytes; the file appears with the first of them.

    `shown` is called with each line as it comes, up to a limit; in a context without a step, so that what it prints is
    not taken for the step's.
    """

    def __init__(self, path: Path, shown: Callable[[str], None] | None = None) -> None:
        self._path, self._shown = path, shown
        self._lock = Lock()
        self._file: io.FileIO | None = None
        self._head_bytes = 0
        self._tail: deque[bytes] = deque()
        self._tail_bytes = self._dropped_bytes = 0
        self._rest = b""
        self._lines = 0

    def write(self, data: bytes) -> None:
        """Take some bytes."""
        with self._lock:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self._path, "wb", buffering=0)  # noqa: SIM115  # lives as long as the step
            head = data[: max(0, HEAD_BYTES - self._head_bytes)]
            if head:
                self._file.write(head)
                self._head_bytes += len(head)
            if len(head) < len(data):
                self._keep_tail(data[len(head) :])
            if self._lines < SHOWN_LINES and self._shown is not None:
                self._show(data)

    def close(self) -> None:
        """Write the last words down."""
        with self._lock:
            if self._rest and self._shown is not None and self._lines < SHOWN_LINES:
                Context().run(self._shown, self._rest.decode(errors="replace"))
            self._rest = b""
            if self._file is None:
                return
            if self._dropped_bytes:
                self._file.write(f"\n… {self._dropped_bytes:,} bytes are left out here …\n".encode())
            self._file.write(b"".join(self._tail))
            self._file.close()
            self._file = None

    def _keep_tail(self, data: bytes) -> None:
        self._tail.append(data[-TAIL_BYTES:])
        self._tail_bytes += len(self._tail[-1])
        self._dropped_bytes += len(data) - len(self._tail[-1])
        while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            gone = len(self._tail.popleft())
            self._tail_bytes -= gone
            self._dropped_bytes += gone

    def _show(self, data: bytes) -> None:
        assert self._shown is not None
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-4096:]
        for line in lines[: SHOWN_LINES - self._lines]:
            Context().run(self._shown, line[:4096].decode(errors="replace").rstrip("\r"))
        self._lines += len(lines)
        if self._lines >= SHOWN_LINES:
            Context().run(self._shown, f"… more in {self._path.name}")


class _Routed(io.TextIOBase):
    """A standard stream that gives what a step prints to the step's log, and all else to the stream it stands for."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.buffer = _RoutedBytes(stream)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a class attribute there
        """As the stream's own."""
        return self.stream.encoding

    def write(self, text: str) -> int:
        log = _log()
        if log is None:
            return self.stream.write(text)
        log.write(text.encode(errors="replace"))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return _log() is None and self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True


class _RoutedBytes(io.RawIOBase):
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        log = _log()
        if log is None:
            return self._stream.buffer.write(data)
        log.write(bytes(data))
        return len(data)

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True


def _log() -> StepLog | None:
    return getattr(CURRENT.get(), "printed", None)


class _Capture:
    """Stands in for the standard streams from the first run that begins in this process to the last that ends.

    Whoever else replaces the streams meanwhile, as notebooks and test runners do, is stood in for by the next run.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._runs = 0

    def begin(self) -> None:
        with self._lock:
            self._runs += 1
            if not isinstance(sys.stdout, _Routed):
                sys.stdout = _Routed(sys.stdout)
            if not isinstance(sys.stderr, _Routed):
                sys.stderr = _Routed(sys.stderr)

    def end(self) -> None:
        with self._lock:
            self._runs -= 1
            if self._runs:
                return
            if isinstance(sys.stdout, _Routed):
                sys.stdout = sys.stdout.stream
            if isinstance(sys.stderr, _Routed):
                sys.stderr = sys.stderr.stream


_CAPTURE = _Capture()


@contextmanager
def captured() -> Iterator[None]:
    """Give each step what it prints, while the block runs; threads that a step starts print as ever.

    Runs may overlap in one process: which step prints is known from its context.
    """
    _CAPTURE.begin()
    try:
        yield
    finally:
        _CAPTURE.end()
