import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.bench import Bench


@pytest.fixture(scope="session")
def syscalls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library made of syscalls.c."""
    if sys.platform != "linux":
        pytest.skip("system calls are caught by seccomp, which only Linux has")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler `cc` here")
    library = tmp_path_factory.mktemp("syscalls") / "syscalls.so"
    source = Path(__file__).with_name("syscalls.c")
    built = subprocess.run(
        [compiler, "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)],
        capture_output=True,
        text=True,
    )
    if built.returncode:
        pytest.skip(f"{source.name} cannot be compiled here: {built.stderr.splitlines()[0]}")
    return library


@pytest.fixture(scope="session")
def quick_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder in memory where there is one: what a sync must keep is simulated, not left to the disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path_factory.mktemp("crash")
        return
    folder = Path(tempfile.mkdtemp(prefix="drivetrain-crash-", dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def loaded(syscalls: Path, quick_folder: Path) -> Iterator[Bench]:
    """Return the bench, whose process has loaded everything."""
    bench = Bench(quick_folder, syscalls)
    yield bench
    bench.close()


@pytest.fixture
def bench(loaded: Bench) -> Bench:
    """Return the bench with an empty project."""
    loaded.clear()
    return loaded
