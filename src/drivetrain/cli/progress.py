"""What `drivetrain run` shows while it runs: a line for each step that ends, and bars on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.cli.screen import duration

if TYPE_CHECKING:
    from drivetrain.cli.screen import Bars, Screen
    from drivetrain.pipeline.plan import Plan
    from drivetrain.pipeline.run import StepRun

_SIGNS = {"finished": "✓", "cached": "·", "failed": "✗", "skipped": "-", "interrupted": "✗"}


class Progress:
    """Shows steps as they end, what they print, and how far those are that have many items."""

    def __init__(self, screen: Screen, bars: Bars, plan: Plan) -> None:
        self._screen, self._bars, self._plan = screen, bars, plan
        self._running: dict[str, None] = {}
        self._done: set[str] = set()
        self._items: dict[str, int] = {}
        self._items_done: dict[str, set[str]] = {}
        bars.show("", 0, len(plan.steps), note="…")

    def step(self, step: StepRun) -> None:
        if step.parent:
            self._item(step)
            return
        if step.state == "running":
            self._running[step.step] = None
            if step.tries > 1:
                self._screen.line(f"↻ {step.step:<16} try {step.tries}: {step.error.splitlines()[0]}", style="yellow")
            elif step.role == "approval":
                self._ask(step.step)
        else:
            self._end(step)
        self._bars.show("", len(self._done), len(self._plan.steps), note=self._at())

    def expanded(self, step: str, items: int) -> None:
        self._items[step], self._items_done[step] = items, set()
        self._bars.show(step, 0, items)

    def said(self, step: str, line: str) -> None:
        if "[" not in step:  # what hundreds of items print is in their logs
            self._screen.line(f"  {step} │ {line}", style="dim")

    def _item(self, step: StepRun) -> None:
        if step.state in ("failed", "interrupted"):
            self._screen.line(line_of(step))
        elif step.state != "running" and step.parent in self._items:
            done = self._items_done[step.parent]
            done.add(step.step)
            self._bars.show(step.parent, len(done), self._items[step.parent])

    def _end(self, step: StepRun) -> None:
        self._running.pop(step.step, None)
        self._done.add(step.step)
        if step.step in self._items:
            self._bars.hide(step.step)
        self._screen.line(line_of(step), style="dim" if step.state in ("cached", "skipped") else "")
        for warning in step.warnings:
            self._screen.line(f"  ! {warning}", style="yellow")

    def _ask(self, name: str) -> None:
        part = self._plan.system.parts[name]
        question = part.question or f"approve {part.output}?"
        self._screen.line(f"? {name} waits for a person: {question}", style="yellow")
        self._screen.line(f'  → `drivetrain approve {name} --reason "…"`, or `drivetrain refuse {name} --reason "…"`')

    def _at(self) -> str:
        shown = list(self._running)
        return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def line_of(step: StepRun) -> str:
    """Return the line of a step that has ended."""
    rows = next((output.rows for output in step.outputs.values() if output.rows is not None), None)
    took = "" if step.state in ("cached", "skipped") else duration(step.seconds)
    shown = f"{rows:,} rows" if rows is not None else ""
    return f"{_SIGNS[step.state]} {step.step:<16} {took:>8}  {shown:>14}   {step.reason}".rstrip()
