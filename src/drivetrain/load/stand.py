"""A test stand: one version behind a server of its own, with a store that is thrown away, and its log with it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import DrivetrainError
from drivetrain.pipeline.run import StepRun
from drivetrain.registry.registry import CHAMPION, champion_of, point_alias
from drivetrain.serving.config import Config
from drivetrain.serving.launch import Launch, started
from drivetrain.store.garbage import with_inner
from drivetrain.store.rows import digests_in
from drivetrain.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drivetrain.registry.version import Version
    from drivetrain.serving.service import Terms

_READY_S = 60.0
_END_S = 15.0


@contextmanager
def standing(
    store: Store, version: Version, terms: Terms, *, workers: int = 1, traces: Path | None = None
) -> Iterator[str]:
    """Serve a version on a free port of this machine while the block runs, and give the server's URL.

    Nothing of it is seen by the service, its log or its monitor. The version need not be registered. No answer is kept,
    so that rows that are sent again and again ask the model each time. Where `traces` is a folder, the workers leave
    there how long each request was in each of its stages, when they end.

    Raises:
        DrivetrainError: the version cannot be loaded.
    """
    with tempfile.TemporaryDirectory(prefix="drivetrain-load-") as folder:
        root = Path(folder) / "store"
        _furnish(root, store, [version, *_called(store, terms)])
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        log = Path(folder) / "server.log"
        terms = msgspec.structs.replace(terms, cache=None)
        with log.open("wb") as output:
            launch = Launch(service=terms, config=Config(store=str(root), port=port, workers=workers))
            timed = ("drivetrain.load.speed", str(traces)) if traces else ()
            process = started(launch, output, *timed)
        try:
            _wait_until_ready(url, process, version, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _called(store: Store, terms: Terms) -> Iterator[Version]:
    """Give the champions of the services that one calls, and of those that they call."""
    for each in terms.calls:
        champion = champion_of(store.ledger, each.model)
        if champion is not None:
            yield champion
        yield from _called(store, each)


def _furnish(root: Path, store: Store, versions: Iterable[Version]) -> None:
    """Make a store that has nothing but what a server needs of some versions, each the champion of its model."""
    scratch = Store.open(root, durable=False)
    for version in versions:
        # Whatever a version names it may need, and what is named in that.
        for digest in with_inner(store, digests_in(msgspec.json.encode(version).decode())):
            if scratch.artifacts.has(digest) or not store.artifacts.has(digest):  # a table that is no longer kept
                continue
            copy = scratch.artifacts.scratch_path()
            shutil.copyfile(store.artifacts.path(digest), copy)
            scratch.artifacts.adopt(copy)
        scratch.ledger.write(version)
        trained = store.ledger.get(StepRun, version.run, version.features) if version.features else None
        if trained is not None:
            scratch.ledger.write(trained)
        point_alias(scratch.ledger, version.model, CHAMPION, version.id, reason="for a load test")
    scratch.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], version: Version, log: Path) -> None:
    end = time.monotonic() + _READY_S
    problem = f"it did not answer within {_READY_S:g} s"
    while time.monotonic() < end:
        if process.poll() is not None:
            problem = f"its server ended: {log.read_text(errors='replace')[-500:].strip() or process.returncode}"
            break
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310  # a server of our own
                return
        except urllib.error.HTTPError as error:
            with error:
                told: Any = msgspec.json.decode(error.read())
            if found := [each for each in told.get("problems", ()) if "cannot be loaded" in each]:
                problem = found[0]
                break
        except OSError:
            pass
        time.sleep(0.05)
    raise DrivetrainError(f"{version.id} cannot be put under load: {problem}")
