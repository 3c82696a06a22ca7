"""What the user sees: tables and progress on a terminal, plain text in a pipe, or JSON."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from drivetrain.errors import DrivetrainError

_BARS = "▁▂▃▄▅▆▇█"


class Screen:
    """Prints results to standard output, and progress and errors to standard error.

    rich is loaded for a terminal only, so that a command in a pipe starts at once.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.is_json = json
        self.is_terminal = sys.stdout.isatty() and not json
        self._console: Any = None

    @property
    def console(self) -> Any:
        """The rich console; only a terminal has one."""
        if self._console is None:
            from rich.console import Console

            # The stream as it is now: while a run goes on, the standard one belongs to its steps.
            self._console = Console(highlight=False, file=sys.stdout)
        return self._console

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line of the result."""
        if self.is_json:
            return
        if self.is_terminal:
            self.console.print(text, style=style or None, markup=False, soft_wrap=True)
        else:
            _print(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
        """Print rows under their headings; the columns named in `right` are aligned to the right."""
        if self.is_json:
            return
        texts = [[_cell(value) for value in row] for row in rows]
        # Where an id would be broken, lines that the terminal itself wraps can at least be copied.
        if self.is_terminal and _narrowest([columns, *texts]) <= self.console.width:
            from rich.box import SIMPLE_HEAD
            from rich.table import Table
            from rich.text import Text

            table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
            for name in columns:
                table.add_column(name, justify="right" if name in right else "left", overflow="fold")
            for row in texts:
                table.add_row(*(Text(value, style=_style(value)) for value in row))
            self.console.print(table)
            return
        widths = [max(len(row[index]) for row in [list(columns), *texts]) for index in range(len(columns))]
        for row in [list(columns), *texts]:
            cells = [
                value.rjust(width) if name in right else value.ljust(width)
                for name, value, width in zip(columns, row, widths, strict=True)
            ]
            _print("  ".join(cells).rstrip())

    def note(self, text: str) -> None:
        """Say something beside the result, on standard error."""
        if not self.is_json:
            print(text, file=sys.stderr)

    def error(self, error: DrivetrainError) -> None:
        """Say what went wrong and what would be right."""
        if self.is_json:
            body: dict[str, str | None] = {
                "error": type(error).__name__,
                "message": error.message,
                "remedy": error.remedy,
            }
            body["place"] = str(error.place) if error.place else None
            print(msgspec.json.encode(body).decode(), file=sys.stderr)
            return
        text = str(error)
        trace = getattr(error, "traceback", "")
        if sys.stderr.isatty():
            from rich.console import Console

            console = Console(stderr=True, highlight=False)
            console.print(text, style="red", markup=False, soft_wrap=True)
            if trace:
                console.print(trace, style="dim", markup=False, soft_wrap=True)
        else:
            print(text + (f"\n{trace}" if trace else ""), file=sys.stderr)

    def json(self, value: Any) -> None:
        """Print a value as JSON, on one line."""
        _print(msgspec.json.encode(value, order="sorted").decode())

    @contextmanager
    def busy(self, text: str) -> Iterator[Any]:
        """Show a turning sign with `text` while the block runs; silent in a pipe. The block may call `.update`."""
        if not self.is_terminal:
            yield _Silent()
            return
        with self.console.status(text, spinner="dots") as status:
            yield status

    @contextmanager
    def bars(self) -> Iterator[Bars]:
        """Show a bar for each thing that the block counts, with the time that is left; silent in a pipe."""
        if not self.is_terminal:
            yield Bars(None)
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            SpinnerColumn("dots"),
            BarColumn(24),
            MofNCompleteColumn(separator=" of "),
            TextColumn("{task.description}", markup=False),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        # Steps have their own streams, which go on to this one.
        with Progress(
            *columns, console=self.console, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as progress:
            yield Bars(progress)

    @contextmanager
    def bar(self, text: str) -> Iterator[Callable[[int, int], None]]:
        """Show a bar on a terminal while the block runs; what it gives is told the bytes done, and all of them."""
        if not self.is_terminal:
            yield lambda done, total: None
            return
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(text), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(text)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def _narrowest(texts: Sequence[Sequence[str]]) -> int:
    """Return how wide a table of cells must be so that no word in it is broken, three signs between two columns."""
    columns = zip(*texts, strict=True)
    return sum(3 + max((len(word) for text in column for word in text.split()), default=0) for column in columns)


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader has gone (`drivetrain run | head`): the work goes on, and there is nobody left to tell.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # it lives as long as the process


class Bars:
    """Bars by name, those of a rich progress; without one, nothing is shown."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def show(self, name: str, done: int, total: int, note: str = "") -> None:
        """Show how much of something is done."""
        if self._progress is None:
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(note or name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total, description=note or name)

    def hide(self, name: str) -> None:
        """Take a bar away."""
        if name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))


class _Silent:
    def update(self, text: str) -> None:
        """Say nothing."""


def ago(moment: datetime | None) -> str:
    """Return a moment as people say it.

    >>> from drivetrain.store.record import now
    >>> ago(now())
    'just now'
    """
    from drivetrain.store.record import now

    if moment is None:
        return "never"
    seconds = (now() - moment).total_seconds()
    for limit, size, word in ((60, 1, ""), (3600, 60, "min"), (86400, 3600, "h"), (14 * 86400, 86400, "d")):
        if seconds < limit:
            return f"{seconds / size:.0f} {word} ago" if word else "just now"
    return moment.astimezone().strftime("%Y-%m-%d")


def duration(seconds: float) -> str:
    """Return a stretch of time, short.

    >>> duration(0.0042), duration(4.2), duration(250)
    ('4 ms', '4.2 s', '4 min 10 s')
    >>> duration(7320), duration(270_000)
    ('2 h 2 min', '3 d')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    if seconds < 2 * 86400:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds / 86400:.0f} d"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "step"), counted(7, "step")
    ('1 step', '7 steps')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Return a curve in one line of text, thinned out to `width` signs; what is not finite is a gap.

    >>> sparkline([0.9, 0.5, float("nan"), 0.3, 0.1])
    '█▄ ▂▁'
    """
    if len(values) > width:
        values = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    finite = [value for value in values if isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = (high - low) or 1.0
    return "".join(_BARS[int((value - low) / span * 7.999)] if isfinite(value) else " " for value in values)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


_STYLES = {
    "finished": "green", "cached": "dim", "failed": "bold red", "interrupted": "yellow", "running": "cyan",
    "promoted": "green", "refused": "red", "rolled_back": "yellow", "canary": "cyan", "champion": "bold green",
    "ok": "green", "missing": "yellow", "bad": "bold red",
}  # fmt: skip


def _style(text: str) -> str:
    return _STYLES.get(text, "")
