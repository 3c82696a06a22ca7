"""The library sees the calls that strace sees: none is missed, so a kill before each of them is a kill before all."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest
from tests.crash.bench import Bench
from tests.crash.syscalls import Kind

KINDS = {
    "write": Kind.WRITE,
    "pwrite64": Kind.WRITE,
    "writev": Kind.WRITE,
    "pwritev": Kind.WRITE,
    "fsync": Kind.SYNC,
    "fdatasync": Kind.SYNC,
    "rename": Kind.RENAME,
    "renameat": Kind.RENAME,
    "renameat2": Kind.RENAME,
    "unlink": Kind.UNLINK,
    "unlinkat": Kind.UNLINK,
    "ftruncate": Kind.TRUNCATE,
    "truncate": Kind.TRUNCATE,
    "fallocate": Kind.TRUNCATE,
    "open": Kind.CREATE,
    "creat": Kind.CREATE,
    "openat": Kind.CREATE,
    "mkdir": Kind.MKDIR,
    "mkdirat": Kind.MKDIR,
    "rmdir": Kind.RMDIR,
    "link": Kind.LINK,
    "linkat": Kind.LINK,
    "symlink": Kind.LINK,
    "symlinkat": Kind.LINK,
    "fchmod": Kind.MODE,
    "chmod": Kind.MODE,
    "fchmodat": Kind.MODE,
    "fchown": Kind.MODE,
    "utimensat": Kind.MODE,
}
# What else changes a file. None of them may occur, or the library would have to carry it out.
OTHERS = "sendfile,copy_file_range,splice,pwritev2,openat2,io_uring_setup"


def test_the_calls_are_those_that_strace_sees(bench: Bench) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    bench.run(traced=True)
    seen = Counter(call.kind for call in bench.traced() if call.kind is not Kind.NOTE)
    bench.clear()
    log = bench.trace.with_name("strace")
    watched = f"trace={','.join(KINDS)},{OTHERS}"
    done = subprocess.run(
        [strace, "-f", "-qq", "-y", "-o", str(log), "-e", watched, sys.executable, "-B", "-m", "drivetrain", "run"],
        cwd=bench.project,
        capture_output=True,
        text=True,
    )
    if done.returncode and not bench.store.exists():
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")

    # The folder that a relative path begins at is named with each path.
    told = re.findall(r"^\d+\s+(\w+)\((?:AT_FDCWD<[^>]*>)?(.*)$", log.read_text(), re.MULTILINE)
    below = [(name, rest) for name, rest in told if str(bench.project) in rest]
    made = [name for name, rest in below if not name.startswith("open") or "O_CREAT" in rest or "O_TRUNC" in rest]

    assert {name for name in made if name not in KINDS} == set()
    assert Counter(KINDS[name] for name in made) == seen
