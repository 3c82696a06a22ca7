"""Check the machine, the project and the store, and say what to do where something is not right."""

from __future__ import annotations

import shutil
import socket
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from drivetrain.cli.screen import counted
from drivetrain.errors import DrivetrainError
from drivetrain.pipeline.run import Run
from drivetrain.security.event import Event, broken_link
from drivetrain.store.garbage import find_garbage
from drivetrain.store.size import size_of, spoken
from drivetrain.store.store import Store
from drivetrain.system.load import load_system
from drivetrain.system.settings import SETTINGS, find_project

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen
    from drivetrain.system.settings import Project

ENOUGH_BYTES = 1 << 30
# What each extra brings, by the names that are imported.
_EXTRAS = {
    "sklearn": ("sklearn", "skops"),
    "onnx": ("onnxruntime", "onnx", "skl2onnx", "onnxmltools", "onnxscript"),
    "pandas": ("pandas", "pyarrow"),
    "arrow": ("pyarrow",),
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost",),
    "torch": ("torch", "safetensors"),
    "images": ("PIL",),
    "remote": ("httpx",),
    "grpc": ("grpc", "google.protobuf"),
    "redis": ("redis",),
    "nats": ("nats",),
    "kafka": ("confluent_kafka",),
    "pubsub": ("google.cloud.pubsub",),
    "cloud": ("obstore",),
    "postgres": ("adbc_driver_postgresql", "pyarrow"),
    "ray": ("ray",),
    "figures": ("matplotlib",),
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    what: str
    state: Literal["ok", "missing", "bad"]
    found: str


def _is_there(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    findings = [Finding(what="python", state="ok", found=".".join(map(str, sys.version_info[:3])))]
    installed = [extra for extra, libraries in _EXTRAS.items() if all(map(_is_there, libraries))]
    lacking = [extra for extra in _EXTRAS if extra not in installed]
    if installed:
        findings.append(Finding(what="extras", state="ok", found=", ".join(installed)))
    if lacking:
        found = f'optional: pip install "drivetrain[NAME]" for {", ".join(lacking)}'
        findings.append(Finding(what="extras", state="missing", found=found))
    project = find_project(profile=options.profile)
    findings += _project(project, options.file)
    findings += _store(project)
    for setting in ("serve.port", "console.port"):
        findings.append(_port(setting, project))
    settings = {setting.name: {"value": _shown(setting.name, project), "help": setting.help} for setting in SETTINGS}
    return {"findings": findings, "settings": settings}


def show(result: Any, screen: Screen) -> None:
    screen.table(("what", "state", "found"), [(item.what, item.state, item.found) for item in result["findings"]])
    screen.line()
    rows = [(name, str(body["value"]), body["help"]) for name, body in result["settings"].items()]
    screen.table(("setting", "value", "what it does"), rows)


def exit_code(result: Any) -> int:
    """Return 1 where something is bad."""
    return int(any(item.state == "bad" for item in result["findings"]))


def _shown(name: str, project: Project) -> Any:
    """Return a setting's value; of a token only whether there is one."""
    value = project.get(name)
    return "(set)" if name.endswith(("token", "tokens", "secret")) and value else value


def _project(project: Project, file: str | None) -> list[Finding]:
    path = (project.root / file) if file else project.system_path
    try:
        system = load_system(path.resolve(), name=project.get("system.name"))
    except DrivetrainError as error:
        return [Finding(what="system", state="bad", found=_in_one_line(error))]
    return [Finding(what="system", state="ok", found=f"{system.name}: {len(system.parts)} parts in {path.name}")]


def _in_one_line(error: DrivetrainError) -> str:
    return " ".join(str(error).split())


def _store(project: Project) -> list[Finding]:
    if not Store.is_at(project.store_path):
        return [Finding(what="store", state="missing", found=f"{project.store_path}: nothing has run yet")]
    try:
        store = Store.open(project.store_path)
        runs = len(store.ledger.find(Run))
        broken = broken_link(store.ledger.find(Event, order="number"))
        size = size_of(store)
        garbage_bytes = sum(each.size_bytes for each in find_garbage(store))
        store.close()
    except DrivetrainError as error:
        return [Finding(what="store", state="bad", found=_in_one_line(error))]
    free = shutil.disk_usage(project.store_path).free
    return [
        Finding(what="store", state="ok", found=f"{project.store_path}: {counted(runs, 'run')}"),
        Finding(
            what="size",
            state="ok",
            found=f"{size.artifacts:,} artifacts, {spoken(size.artifacts_bytes)}; ledger, {spoken(size.ledger_bytes)}; "
            f"`drivetrain store gc` would free {spoken(garbage_bytes)}",
        ),
        Finding(
            what="disk",
            state="ok" if free > ENOUGH_BYTES else "bad",
            found=f"{free / (1 << 30):.1f} GiB free for the store",
        ),
        Finding(
            what="audit log",
            state="ok" if broken is None else "bad",
            found="the chain holds"
            if broken is None
            else f"event {broken.number} was changed or the one before it is gone",
        ),
    ]


def _port(setting: str, project: Project) -> Finding:
    port = project.get(setting)
    with socket.socket() as probe:
        in_use = probe.connect_ex(("127.0.0.1", port)) == 0
    return Finding(what=setting, state="ok", found=f"{port} is {'in use' if in_use else 'free'}")
