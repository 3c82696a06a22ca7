"""Arrow and Parquet, read in a process of their own: a body that breaks the reader breaks nobody's answer.

Both forms tell sizes that the reader believes. A few bytes may unpack to gigabytes, or make the reader abort and take
its process along; so that is another process, with a limit of memory, and a new one takes its place.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from threading import Lock, Timer
from typing import IO, TYPE_CHECKING, Any

from drivetrain.errors import RequestError
from drivetrain.serving.requests import too_many_rows

if TYPE_CHECKING:
    import polars as pl

KINDS = ("arrow stream", "arrow file", "parquet")
# What unpacking may need beyond what the process has when it starts: many times the largest body.
MEMORY_BYTES, MEMORY_PER_BYTE = 256 << 20, 16
START_S = 20.0


class Unpacker:
    """Reads tables with at most `max_rows` rows; for threads, one body at a time.

    A body of `max_body_bytes` may take `timeout_s`, and a multiple of its size in memory.
    """

    def __init__(self, *, max_rows: int, max_body_bytes: int, timeout_s: float) -> None:
        self._max_rows, self._timeout_s = max_rows, timeout_s
        self._memory = max(MEMORY_BYTES, MEMORY_PER_BYTE * max_body_bytes)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def read(self, body: bytes, kind: str) -> pl.DataFrame:
        """Return the table that a body of one of `KINDS` holds.

        Raises:
            RequestError: 400, it cannot be read; 413, it is too large or takes too long.
        """
        import polars as pl

        with self._lock:
            told, data = self._told(body, kind)
        if told is None:
            message = f"the {kind} body cannot be unpacked: it needs too much memory or time, or breaks the reader"
            raise RequestError(status=413, message=message)
        if "rows" in told:
            raise too_many_rows(told["rows"], self._max_rows)
        if "error" in told:
            raise RequestError(status=400, message=f"the body cannot be read as {kind}: {told['error']}")
        return pl.read_ipc_stream(io.BytesIO(data))

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def _told(self, body: bytes, kind: str) -> tuple[dict[str, Any] | None, bytes]:
        """Return what the process says, or None where it ended or took too long; then it is replaced."""
        try:
            process = self._process if self._process and self._process.poll() is None else self._started()
            timer = Timer(self._timeout_s, process.kill)
            timer.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                _send(process.stdin, {"kind": kind, "limit": self._max_rows}, body)
                return _received(process.stdout)
            finally:
                timer.cancel()
        except (OSError, EOFError):
            self.close()
            return None, b""

    def _started(self) -> subprocess.Popen[bytes]:
        self.close()
        # Read, not calculated: one thread is enough, and each costs address space.
        environment = {**os.environ, "POLARS_MAX_THREADS": "1", "RUST_BACKTRACE": "0"}
        command = [sys.executable, "-P", "-m", "drivetrain.serving.unpack", str(self._memory)]
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._process = process
        assert process.stdout is not None
        timer = Timer(START_S, process.kill)
        timer.start()
        try:
            _received(process.stdout)  # it is ready
        finally:
            timer.cancel()
        return process


def _send(pipe: IO[bytes], told: dict[str, Any], data: bytes) -> None:
    pipe.write(json.dumps({**told, "size": len(data)}).encode() + b"\n")
    pipe.write(data)
    pipe.flush()


def _received(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    told: dict[str, Any] = json.loads(line)
    data = pipe.read(told["size"])
    if len(data) < told["size"]:
        raise EOFError
    return told, data


def _unpacked(body: bytes, kind: str, limit: int) -> tuple[dict[str, Any], bytes]:
    import polars as pl
    from polars.exceptions import PanicException, PolarsError

    source = io.BytesIO(body)
    try:
        if kind == "arrow stream":
            frame = pl.read_ipc_stream(source)
        else:
            scan = pl.scan_parquet(source) if kind == "parquet" else pl.scan_ipc(source)
            rows = scan.select(pl.len()).collect().item()
            if rows > limit:
                return {"rows": rows}, b""
            frame = scan.collect()
        if frame.height > limit:
            return {"rows": frame.height}, b""
        packed = io.BytesIO()
        frame.write_ipc_stream(packed)
    except (PolarsError, PanicException, OSError, ValueError, OverflowError) as error:
        return {"error": (str(error) or type(error).__name__).splitlines()[0][:200]}, b""
    return {}, packed.getvalue()


def _serve(memory: int) -> None:
    """Unpack what comes in, until nothing more does."""
    import resource

    import polars as pl

    pl.DataFrame({"a": ["warm"]}).write_ipc_stream(io.BytesIO())
    if sys.platform == "linux":  # no other system holds a process to its limit
        with open("/proc/self/statm", encoding="ascii") as numbers:
            held = int(numbers.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + memory, held + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe = sys.stdout.buffer
    _send(pipe, {}, b"")
    while True:
        try:
            told, body = _received(sys.stdin.buffer)
        except EOFError:
            return
        _send(pipe, *_unpacked(body, told["kind"], told["limit"]))


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
