"""The sender in a process of its own, so that nothing that its starter draws or computes delays a request."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import IO, TYPE_CHECKING

import msgspec

from drivetrain.errors import UsageError
from drivetrain.load.plan import Plan
from drivetrain.load.report import Message, Progress, Report, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LENGTH_BYTES = 4


def carry_out(plan: Plan, tell: Callable[[Progress], None] = lambda _: None) -> Report:
    """Carry a plan out and return what was seen; `tell` is told several times a second how far it has come.

    Ctrl-C ends the test, not the report: it then `is_interrupted`.

    Raises:
        UsageError: nothing answers there.
    """
    command = [sys.executable, "-P", "-m", "drivetrain.load.process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with _interrupts_passed_to(process):
                _write(process.stdin, plan)
                found = _followed(process.stdout, tell)
        except BaseException:
            process.kill()
            raise
    if isinstance(found, Unreachable):
        raise UsageError(found.reason, remedy="start the server, or name another one with --url")
    if not isinstance(found, Report):
        raise ChildProcessError(f"the sender ended with {process.returncode} and told nothing")
    return found


@contextmanager
def _interrupts_passed_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let the first Ctrl-C end the sender alone, and the second one this process.

    Raised here, it would lose the half of a message that has been read when the sender tells its end at that moment.
    """
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def passed(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # On a terminal it has had the same signal, and is asked once more otherwise.
        process.send_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, passed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _followed(stream: IO[bytes], tell: Callable[[Progress], None]) -> Message | None:
    message: Message | None = None
    while (data := _read(stream)) is not None:
        message = msgspec.msgpack.decode(data, type=Message)
        if isinstance(message, Progress):
            tell(message)
    return message


def _write(stream: IO[bytes], message: object) -> None:
    data = msgspec.msgpack.encode(message)
    stream.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes | None:
    """Return the next message, or None at the end."""
    length = stream.read(_LENGTH_BYTES)
    return stream.read(int.from_bytes(length, "big")) if len(length) == _LENGTH_BYTES else None


def main() -> None:
    """Carry out the plan on standard input, and tell of it on standard output."""
    from drivetrain.load.sender import Sender

    was_asked = []
    signal.signal(signal.SIGINT, lambda *_: was_asked.append(True))
    data = _read(sys.stdin.buffer)
    assert data is not None
    sender = Sender(msgspec.msgpack.decode(data, type=Plan))
    signal.signal(signal.SIGINT, lambda *_: sender.stop())
    if was_asked:
        sender.stop()
    found = sender.run(lambda progress: _write(sys.stdout.buffer, progress))
    if sender.plan.times_in:
        Path(sender.plan.times_in).write_bytes(msgspec.msgpack.encode(sender.tally.times))
    _write(sys.stdout.buffer, found)


if __name__ == "__main__":
    main()
