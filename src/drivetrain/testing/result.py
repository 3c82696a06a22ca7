"""What came of a run in a test: values, what ran and why, and assertions that say what they saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.errors import NotFound, UnknownName
from drivetrain.pipeline.attachment import attachments_of
from drivetrain.pipeline.attempt import file_name, logs_of
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.points import points_of
from drivetrain.registry.version import Decision, Version

if TYPE_CHECKING:
    from drivetrain.pipeline.engine import Execution
    from drivetrain.pipeline.run import Run, StepRun, StepState
    from drivetrain.testing.client import Client

_WORDS = {
    "finished": "ran",
    "cached": "was cached",
    "skipped": "was skipped",
    "failed": "failed",
    "running": "was not done",
    "interrupted": "was interrupted",
}


class Result:
    """One run, and what each of its steps did; an item of a mapped step is `rows[2013-02]`."""

    def __init__(self, execution: Execution) -> None:
        self._execution, self._store = execution, execution.store

    @property
    def run(self) -> Run:
        """The record of the run."""
        return self._execution.run

    @property
    def steps(self) -> dict[str, StepRun]:
        """The record of each step, by name."""
        return dict(self._execution.steps)

    @property
    def states(self) -> dict[str, StepState]:
        """What became of each step: `finished`, `cached`, `skipped` or `failed`."""
        return {name: step.state for name, step in self._execution.steps.items()}

    @property
    def ran(self) -> set[str]:
        """The steps that ran."""
        return self._in_state("finished")

    @property
    def cached(self) -> set[str]:
        """The steps that did not run since nothing had changed."""
        return self._in_state("cached")

    @property
    def skipped(self) -> set[str]:
        """The steps that did not run since their condition was false, or what they need was skipped."""
        return self._in_state("skipped")

    @property
    def warnings(self) -> list[str]:
        """What checks of severity `warn` found, and what keys cannot cover."""
        found = [warning for step in self._execution.steps.values() for warning in step.warnings]
        return [*found, *self._execution.warnings]

    @property
    def metrics(self) -> dict[str, float]:
        """What was logged and measured, each by its full name such as `quality.auc`: the last value."""
        return {figure.name: figure.value for figure in self._figures() if figure.value is not None}

    @property
    def version(self) -> Version:
        """The version that the gate registered, or knew.

        Raises:
            NotFound: the run has no gate, or more than one.
        """
        decision = self._decision()
        found = self._store.ledger.get(Version, decision.version)
        assert found is not None
        return found

    @property
    def outcome(self) -> str:
        """What followed from the gate: `promoted`, `canary`, `refused` or `unchanged`."""
        return self._decision().outcome

    def value(self, name: str, form: Any = None) -> Any:
        """Return an output, as the type `form` where that is given.

        Raises:
            UnknownName: the run has no such output.
        """
        artifacts = self._execution.artifacts
        if name not in artifacts:
            raise UnknownName(kind="output of this run", name=name, known=list(artifacts))
        return self._store.value(artifacts[name], form)

    def __getitem__(self, name: str) -> Any:
        return self.value(name)

    def why(self, name: str) -> str:
        """Return why a step ran, or did not."""
        return self.step(name).reason

    def step(self, name: str) -> StepRun:
        """Return the record of a step.

        Raises:
            UnknownName: the run has no such step.
        """
        steps = self._execution.steps
        if name not in steps:
            raise UnknownName(kind="step of this run", name=name, known=list(steps))
        return steps[name]

    def logged(self, name: str) -> list[float]:
        """Return all values of a metric that `dt.log` wrote: `train.loss`, or `loss` where that is one only.

        Raises:
            UnknownName: nothing of that name was logged.
        """
        curves = {figure.name: figure.curve for figure in self._figures() if figure.curve is not None}
        found = [full for full in curves if name in (full, full.partition(".")[2])]
        if len(found) != 1:
            raise UnknownName(kind="metric that was logged", name=name, known=list(curves))
        curve = curves[found[0]]
        assert curve is not None
        return [value for _, value in points_of(self._store.ledger, curve)]

    def printed(self, name: str) -> str:
        """Return what a step printed when it ran."""
        step = self.step(name)
        file = logs_of(self._store.root, step.origin) / file_name(name)
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def attached(self, name: str) -> Any:
        """Return what a step kept with `dt.attach`: the value, or a file's bytes.

        Raises:
            UnknownName: nothing was attached under that name.
        """
        found = {each.name: each.artifact for each in attachments_of(self._store, self._execution.steps.values())}
        if name not in found:
            raise UnknownName(kind="attachment", name=name, known=list(found))
        return self._store.value(found[name])

    def client(self, service: str = "") -> Client:
        """Return a client of the system's service, which answers in this process as the server does.

        Raises:
            NotFound: there is no such service, or its model has no champion.
        """
        from drivetrain.testing.client import Client

        services = {part.name: part for part in self._execution.system.of_role("service")}
        chosen = service or (next(iter(services)) if len(services) == 1 else "")
        if chosen not in services:
            raise NotFound(kind="service", name=service or "(one must be named)", known=list(services))
        return Client(self._store, services[chosen])

    # Assertions.

    def assert_ran(self, *names: str, because: str = "") -> None:
        """Fail unless the steps ran, for a reason in which `because` stands."""
        __tracebackhide__ = True
        self._assert("finished", names, because)

    def assert_cached(self, *names: str) -> None:
        """Fail unless the steps were known already; without names, unless every step was that has a key."""
        __tracebackhide__ = True
        always = {name for name, part in self._execution.system.parts.items() if not part.CACHED}
        self._assert("cached", names or tuple(name for name in self._execution.steps if name not in always), "")

    def assert_skipped(self, *names: str, because: str = "") -> None:
        """Fail unless the steps were skipped, for a reason in which `because` stands."""
        __tracebackhide__ = True
        self._assert("skipped", names, because)

    def _assert(self, state: StepState, names: tuple[str, ...], because: str) -> None:
        __tracebackhide__ = True
        for name in names:
            step = self.step(name)
            if step.state != state:
                wanted = {"finished": "run", "cached": "be cached", "skipped": "be skipped"}[state]
                raise AssertionError(f"{name} was to {wanted}, and {_WORDS[step.state]}: {self._told(step)}\n\n{self}")
            if because not in step.reason:
                raise AssertionError(f"{name} {_WORDS[state]}, but not because of {because!r}: {step.reason}\n\n{self}")

    def __repr__(self) -> str:
        width = max(map(len, self._execution.steps), default=0)
        lines = [
            f"  {step.state:<11} {name:<{width}}  {self._told(step)}" for name, step in self._execution.steps.items()
        ]
        return "\n".join([f"the run {self.run.state}:", *lines])

    def _told(self, step: StepRun) -> str:
        return (step.error.splitlines() or [""])[0] if step.state == "failed" else step.reason

    def _in_state(self, state: StepState) -> set[str]:
        return {name for name, found in self.states.items() if found == state}

    def _figures(self) -> list[Figure]:
        return self._store.ledger.find(Figure, {"run": self.run.id, "kind": "metric"})

    def _decision(self) -> Decision:
        found = self._store.ledger.find(Decision, {"run": self.run.id})
        if len(found) != 1:
            raise NotFound(
                kind="decision",
                name=self.run.id,
                known=[f"{decision.gate}: {decision.version}" for decision in found],
                remedy="the run has no gate, or did not come to it" if not found else "",
            )
        return found[0]
