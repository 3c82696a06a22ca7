"""A lab: runs systems on a store that is thrown away, with sources, environment and time as the test wants them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack, chdir
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from drivetrain.data import source
from drivetrain.data.table import polars_of
from drivetrain.errors import DrivetrainError, UsageError
from drivetrain.monitoring.trigger import Now
from drivetrain.pipeline.engine import Execution
from drivetrain.pipeline.plan import make_plan, steps_matching
from drivetrain.store import record
from drivetrain.store.store import Store
from drivetrain.system.load import load_system
from drivetrain.system.part import Part
from drivetrain.system.settings import find_project
from drivetrain.system.system import System, name_part, system_of
from drivetrain.testing.clock import Clock
from drivetrain.testing.given import steps_left, with_given
from drivetrain.testing.result import Result

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from drivetrain.pipeline.budget import Budget
    from drivetrain.pipeline.observer import Observer
    from drivetrain.pipeline.plan import Plan

# Memory as a folder, where Linux has it and it is not one of a container's 64 MB.
_MEMORY = Path("/dev/shm")  # noqa: S108  # what is made in it has a random name and is ours alone
_MEMORY_BYTES = 1 << 30

What = ModuleType | System | Part | str | Path


class Lab:
    """Runs systems and keeps what they give until the end of the block; what it changed is undone then.

    `root` is the folder of the project, whose code counts in keys; by default that of the system's file.

    >>> from drivetrain.system.function import step
    >>> @step
    ... def one(start: int = 1) -> int:
    ...     return start
    >>> with Lab() as lab:
    ...     first, again = lab.run(one), lab.run(one, settings={"one.start": 2})
    ...     first["one"], again["one"], again.why("one")
    (1, 2, 'setting start: 1 → 2')
    """

    def __init__(self, *, root: Path | None = None, allow_pickle: bool = False) -> None:
        self.root = root
        self._undo = ExitStack()
        base = _MEMORY if _is_roomy(_MEMORY) else None
        self.folder = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix="drivetrain-lab-", dir=base)))
        self.store = Store.open(self.folder / "store", allow_pickle=allow_pickle, durable=False)
        self._undo.callback(self.store.close)
        self._last: Result | None = None
        self._loaded: dict[Path, System] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Throw the store away, and undo what was changed."""
        self._undo.close()

    # Running.

    def run(
        self,
        *what: What,
        settings: Mapping[str, Any] | None = None,
        give: Mapping[str, Any] | None = None,
        only: str | Sequence[str] = (),
        force: str | Sequence[str] = (),
        workers: int = 0,
        budget: Budget | None = None,
        observer: Observer | None = None,
    ) -> Result:
        """Run a system, or `only` some parts with all that they need, and return what came of it.

        `what` is a module, a file, a `dt.System`, or parts. A value of `give` stands in place of what a part's function
        returns: a dataset's rows are still checked, and what only that part needed does not run. In `settings`,
        `dt.now` is the time.

        Raises:
            StepFailed: a step raised; the error names the user's line. `last` has what came before it.
            DeclarationError: the parts do not fit together, or a name or setting does not exist.
        """
        system = self.system(*what)
        changed = with_given(system, give or {}, self.store)
        targets = [only] if isinstance(only, str) else list(only)
        moment = record.now().replace(tzinfo=None).isoformat(timespec="seconds")
        plan = make_plan(
            changed,
            targets=targets or (steps_left(system, changed) if give else ()),
            settings={name: moment if isinstance(value, Now) else value for name, value in (settings or {}).items()},
        )
        root = (self.root or _project_of(system)).resolve()
        execution = Execution(
            plan,
            store=self.store,
            root=root,
            workers=workers,
            reason="in a test",
            force=_forced(plan, [force] if isinstance(force, str) else force),
            observer=observer,
            budget=budget,
            asks_git=False,
        )
        self._last = Result(execution)
        with chdir(root):
            execution.execute()
        return self._last

    @property
    def last(self) -> Result:
        """The latest run, also when it failed."""
        if self._last is None:
            raise UsageError("nothing has run in this lab", remedy="call `lab.run(system)` first")
        return self._last

    def assert_fails(self, *what: What, step: str = "", because: str = "", **options: Any) -> DrivetrainError:
        """Fail unless a run does, at that `step` and with `because` in the message; return its error."""
        __tracebackhide__ = True
        try:
            found = self.run(*what, **options)
        except DrivetrainError as error:
            failed = getattr(error, "step", "")
            if step and step != failed:
                raise AssertionError(f"{step} was to fail, and {failed or 'no step'} did: {error}") from error
            if because not in str(error):
                raise AssertionError(f"it failed, but not because of {because!r}: {error}") from error
            return error
        raise AssertionError(f"{step or 'the run'} was to fail, and nothing did\n\n{found}")

    def system(self, *what: What) -> System:
        """Return the system that a module, a file or parts declare.

        Raises:
            UsageError: it is none of these.
            DeclarationError: the parts do not fit together.
        """
        parts = [each for each in what if isinstance(each, Part)]
        if parts and len(parts) == len(what):
            module = _module_of(parts)
            for name, value in vars(module).items() if module else ():
                if any(value is part for part in parts):
                    name_part(value, name)
            return System("lab", *parts, module=module)
        (only, *others) = what or (None,)
        if isinstance(only, System) and not others:
            return only
        if isinstance(only, ModuleType) and not others:
            return system_of(only)
        if isinstance(only, (str, Path)) and not others:
            return self._load(Path(only).resolve())
        raise UsageError(
            f"a lab runs one system, and was given {', '.join(type(each).__name__ for each in what) or 'nothing'}",
            remedy="give it a module, the path of a file, a dt.System, or parts",
        )

    def _load(self, path: Path) -> System:
        if path not in self._loaded:
            # Its folder joins the path of imports, and its modules those that are loaded, until the end of the lab.
            self._undo.callback(_restore, list(sys.path), dict(sys.modules), path.parent)
            self._loaded[path] = load_system(path)
        return self._loaded[path]

    # What a run finds outside.

    def files(self, files: Mapping[str, Any]) -> None:
        """Let `dt.read` find tables, bytes or other files in place of those that it names: `{"data/x.csv": frame}`.

        Steps in processes of their own read the named files.
        """
        for name, value in files.items():
            path = (
                value if isinstance(value, Path) else self.folder / "files" / str(len(source.instead)) / Path(name).name
            )
            if not isinstance(value, Path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, value)
            self._undo.callback(_put_back, source.instead, name, source.instead.get(name))
            source.instead[name] = path

    def environment(self, **variables: str | None) -> None:
        """Set environment variables; None takes one away."""
        for name, value in variables.items():
            self._undo.callback(_put_back, os.environ, name, os.environ.get(name))
            _put_back(os.environ, name, value)

    def time(self, moment: str | datetime) -> Clock:
        """Stop the clock of Drivetrain at a moment, and return it: `clock.move("13h")` lets time pass.

        It decides how long a dataset is `valid_for`, what is `dt.fresh`, and what `dt.now` is; code of the user's that
        looks at the machine's clock goes on to see that.
        """
        clock = Clock(moment)
        self._undo.callback(setattr, record, "clock", record.clock)
        record.clock = clock
        return clock


def _forced(plan: Plan, names: Sequence[str]) -> frozenset[str]:
    """Return the steps that names or patterns stand for; an item, such as `rows[2013-02]`, is taken as it is."""
    items = [name for name in names if name.endswith("]") and name.partition("[")[0] in plan.steps]
    return frozenset(items + steps_matching(plan, [name for name in names if name not in items]))


def _project_of(system: System) -> Path:
    files = [getattr(system.module, "__file__", None) or "", *(part.place.file for part in system.parts.values())]
    file = next((file for file in files if file and Path(file).is_file()), "")
    return find_project(Path(file).parent if file else None).root


def _module_of(parts: Collection[Part]) -> ModuleType | None:
    functions = [function for part in parts if (function := part.function_of()) is not None]
    return next((sys.modules[each.__module__] for each in functions if each.__module__ in sys.modules), None)


def _is_roomy(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _MEMORY_BYTES


def _write(path: Path, value: Any) -> None:
    if isinstance(value, bytes):
        path.write_bytes(value)
        return
    frame, suffix = polars_of(value), path.name.lower().partition(".")[2]
    if frame is None:
        raise UsageError(
            f"{path.name!r} is given as {type(value).__name__}", remedy="give a table, bytes, or the Path of a file"
        )
    kinds = {"parquet": "parquet", "pq": "parquet", "csv": "csv", "ndjson": "ndjson", "jsonl": "ndjson"}
    kind = kinds.get(suffix.rpartition(".")[2], "ipc" if suffix in ("arrow", "ipc", "feather") else "")
    if not kind:
        raise UsageError(f"no table can be written as {path.name!r}", remedy="give its bytes, or the Path of a file")
    getattr(frame, f"write_{kind}")(path)


def _put_back(values: Any, name: str, value: Any) -> None:
    if value is None:
        values.pop(name, None)
    else:
        values[name] = value


def _restore(path: list[str], modules: dict[str, ModuleType], folder: Path) -> None:
    """Forget the modules of a folder that were loaded since, so that the next test loads them anew."""
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if modules.get(name) is not module and file and Path(file).is_relative_to(folder):
            del sys.modules[name]
            if name in modules:
                sys.modules[name] = modules[name]
