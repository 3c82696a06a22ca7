"""A load test as a part: what a model answers, how fast, before its gate decides."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from drivetrain import __version__
from drivetrain.errors import BadSetting, DeclarationError, StepFailed, UnknownMetric
from drivetrain.load.arrivals import Arrivals
from drivetrain.load.bodies import bodies_of, examples_of
from drivetrain.load.measurement import record_load
from drivetrain.load.plan import Plan, Target
from drivetrain.load.process import carry_out
from drivetrain.load.report import FIGURES
from drivetrain.load.stand import standing
from drivetrain.serving.service import Service
from drivetrain.system.caller import caller
from drivetrain.system.conduct import Conduct
from drivetrain.system.part import Job, Output, Part
from drivetrain.training.evaluation import Measure
from drivetrain.training.model import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.load.report import Report
    from drivetrain.registry.version import Version
    from drivetrain.training.ready import Ready

# Connections of an open loop: enough that none waits for another, unless the server is overrun.
OPEN_CONNECTIONS = 256


class LoadTest(Part, frozen=True, eq=False):
    """Puts a model under load behind a server of its own: `LoadTest(service, rate=200, seconds=5)`.

    With a `rate`, so many requests a second are sent whatever the answers, and each time counts from the moment that
    its request was due. Without, each of `connections` asks as soon as it is answered, and `requests_per_s` is what the
    server can do. Requests are rows of the dataset. Its figures are attributes to write conditions with:
    `speed.p99_ms < 20`, `speed.requests_per_s >= 0.9 * dt.champion`.

    It gives `requests_per_s`, `error_share`, `mean_ms`, `p50_ms`, `p90_ms`, `p95_ms`, `p99_ms`, `p999_ms` and `max_ms`.
    """

    ROLE: ClassVar[str] = "load test"
    RUNS: ClassVar[bool] = True

    subject: Any
    rate: float | None = None
    seconds: float = 5.0
    connections: int | None = None
    arrivals: Arrivals = "constant"
    workers: int = 1
    warm_up_s: float = 1.0
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "place", caller())
        # Nothing runs beside it, which would be taken for the model's slowness.
        msgspec.structs.force_setattr(self, "conduct", Conduct(cpu=os.cpu_count() or 1))
        if not isinstance(self.subject, Service) and getattr(self.subject, "ROLE", "") != Model.ROLE:
            raise DeclarationError(
                f"a load test is given {self.subject!r}, which is neither a service nor a model",
                remedy="give it a `dt.Service`, or a function that bears @dt.model",
                place=self.place,
            )

    def __getattr__(self, metric: str) -> Measure:
        # What Python, notebooks and test runners look for in any object is no metric.
        if metric.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {metric!r}")
        if metric not in FIGURES:
            raise UnknownMetric(evaluation=self.name or "a load test", metric=metric, known=FIGURES, place=caller())
        return Measure(self, metric)

    @property
    def service(self) -> Service:
        """The service whose terms hold; that of a model alone has the default ones."""
        subject: Service = self.subject if isinstance(self.subject, Service) else Service(self.subject, name="load")
        return subject

    @property
    def model(self) -> Model | Ready:
        """The model that answers."""
        model: Model | Ready = self.subject.model if isinstance(self.subject, Service) else self.subject
        return model

    def needs(self, parts: Mapping[str, Part]) -> dict[str, str]:
        return {self.model.name: self.model.name}

    def refers(self) -> tuple[Part, ...]:
        return (self.subject,) if isinstance(self.subject, Service) else ()

    def outputs(self) -> dict[str, Any]:
        return {self.name: dict}

    def declared(self) -> dict[str, Any]:
        # What was fast on one machine says nothing about another, and a release may be faster.
        machine = {"processors": os.cpu_count(), "drivetrain": __version__}
        terms = msgspec.to_builtins(self.service.terms())
        return {"asked": self._asked(), "terms": {name: terms[name] for name in terms if name != "name"}} | machine

    def check(self, parts: Mapping[str, Part]) -> None:
        limits: dict[str, tuple[Any, bool, str]] = {
            "rate": (self.rate, self.rate is None or self.rate > 0, "requests a second, above 0"),
            "seconds": (self.seconds, self.seconds > 0, "above 0"),
            "connections": (self.connections, self.connections is None or self.connections >= 1, "1 or more"),
            "arrivals": (self.arrivals, self.arrivals in ("constant", "poisson"), '"constant" or "poisson"'),
            "workers": (self.workers, self.workers >= 1, "1 or more"),
            "warm_up_s": (self.warm_up_s, self.warm_up_s >= 0, "0 or more"),
            "timeout_s": (self.timeout_s, self.timeout_s > 0, "above 0"),
        }
        for setting, (found, is_right, right) in limits.items():
            if not is_right:
                raise BadSetting(
                    setting=f"{self.name}.{setting}", found=repr(found), right=f"it must be {right}", place=self.place
                )

    def perform(self, job: Job) -> dict[str, Output]:
        from drivetrain.registry.registration import candidate

        report = self._measured(candidate(self.model, job), job)
        job.attach("report", msgspec.to_builtins(report))
        record_load(job.store.ledger, self.model.name, self._asked(), report)
        return self.outputs_from(report.figures(), job)

    def outputs_from(self, result: Any, job: Job) -> dict[str, Output]:
        """Return the output for figures by name."""
        for name, value in result.items():
            job.log(name, value)
        return {self.name: Output(result, {"metrics": dict(result)})}

    def metrics_of(self, champion: Version, job: Job) -> dict[str, float]:
        """Return the figures of a version that is there already, under the same load."""
        return self._measured(champion, job).figures()

    def _measured(self, version: Version, job: Job) -> Report:
        import polars as pl

        rows = job.value(version.dataset, pl.DataFrame) if version.dataset else None
        with standing(job.store, version, self.service.terms(), workers=self.workers) as url:
            target = Target(url=f"{url}/predict")
            plan = Plan(
                target=target,
                # A model that nothing here has trained has no rows, and is asked the example of its own description.
                requests=examples_of(target) if rows is None else bodies_of(rows, version.signature),
                rate=self.rate,
                arrivals=self.arrivals,
                connections=self.connections or (16 if self.rate is None else OPEN_CONNECTIONS),
                seconds=self.seconds,
                warm_up_s=self.warm_up_s,
                timeout_s=self.timeout_s,
            )
            report = carry_out(plan)
        if report.is_interrupted:
            raise KeyboardInterrupt
        if not report.answered:
            told = ", ".join(f"{outcome} {report.examples.get(outcome, '')}".strip() for outcome in report.outcomes)
            raise StepFailed(step=self.name, cause=f"no request was answered well: {told}", place=self.place)
        return report

    def _asked(self) -> dict[str, Any]:
        names = ("rate", "seconds", "connections", "arrivals", "workers", "warm_up_s", "timeout_s")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
