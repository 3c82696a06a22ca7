"""A gate: the conditions under which a model version is promoted, and the record of each decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import DeclarationError, DrivetrainError, Refused
from drivetrain.pipeline.known import lost_digest
from drivetrain.registry.registry import CHAMPION, champion_of, point_alias
from drivetrain.registry.rollout import Rollout
from drivetrain.registry.version import Decision, Judgement, Version
from drivetrain.security.event import record_event
from drivetrain.store.record import new_id, now
from drivetrain.system.caller import caller
from drivetrain.system.part import Job, Output, Part
from drivetrain.training.evaluation import Condition, Evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping


class Gate(Part, frozen=True, eq=False):
    """The conditions that a new version must meet to be promoted: `Gate(lateness, require=[quality.auc >= 0.65])`.

    Without conditions every version passes. A version that passes becomes champion at once when the model has no
    champion yet, or when no service of it declares a canary; otherwise it gets a canary's share first.
    """

    ROLE = "gate"
    RUNS = True
    CACHED = False

    model: Any  # one that learns here, or a class that bears @dt.predictor, which mypy takes for a class
    require: Sequence[Condition] = ()
    # A part that must have said yes, such as a `dt.Approval`; otherwise the gate is not asked.
    when: Part | None = None

    def __post_init__(self) -> None:
        place = caller()
        msgspec.structs.force_setattr(self, "place", place)
        required: Any = self.require
        require = (required,) if isinstance(required, Condition) else tuple(required)
        msgspec.structs.force_setattr(self, "require", require)
        if getattr(self.model, "ROLE", "") != "model":
            raise DeclarationError(
                f"a gate guards a model, and {self.model!r} is none",
                remedy="give it a function that is declared with @dt.model, or a model that is ready: @dt.predictor, "
                "dt.onnx, dt.torch, dt.Remote",
                place=place,
            )
        for condition in self.require:
            if not isinstance(condition, Condition):
                raise DeclarationError(
                    f"a gate requires conditions, and {condition!r} is none",
                    remedy="compare a metric of an evaluation: `quality.auc >= 0.65` or `quality.auc > dt.champion`",
                    place=place,
                )

    def needs(self, parts: Mapping[str, Part]) -> dict[str, str]:
        wanted = [self.model.name, *(condition.judge for condition in self.require)]
        # Every evaluation of the model is kept with the version, required or not.
        wanted += [
            name
            for name, part in parts.items()
            if isinstance(part, Evaluation) and self.model.name in part.parameters()
        ]
        return {name: name for name in dict.fromkeys(wanted)}

    def waits(self) -> tuple[str, ...]:
        return (self.when.name,) if self.when is not None else ()

    def refers(self) -> tuple[Part, ...]:
        return (self.when,) if self.when is not None else ()

    def outputs(self) -> dict[str, Any]:
        return {self.name: dict}

    def declared(self) -> dict[str, Any]:
        return {"model": self.model.name, "require": [str(condition) for condition in self.require]}

    def perform(self, job: Job) -> dict[str, Output]:
        from drivetrain.registry.registration import register

        ledger = job.store.ledger
        features = [column["name"] for column in job.artifact(self.model.name).detail["signature"]["features"]]
        for monitor in job.system.of_role("monitor"):
            if monitor.service.model is self.model:
                monitor.check_features(features)
        metrics = _metrics(self, job)
        candidate = register(self.model, job, metrics=metrics)
        champion = champion_of(ledger, candidate.model)
        figures = self._figures_of(champion, candidate, job)
        judgements = self.judged(
            # A version that is there already may be judged by more now, or was measured anew.
            {**candidate.metrics, **metrics},
            figures,
            champion=champion.id if champion else "",
            is_champion=champion is not None and champion.id == candidate.id,
        )
        passed = all(judgement.holds for judgement in judgements)
        with ledger.transaction():
            decision = self._decide(job, candidate, champion, judgements, passed)
            ledger.write(decision)
        return {
            self.name: Output(msgspec.to_builtins(decision), {"outcome": decision.outcome, "version": candidate.id})
        }

    def judged(
        self, metrics: Mapping[str, float], figures: Mapping[str, float], *, champion: str, is_champion: bool = False
    ) -> list[Judgement]:
        """Return what each condition says to the metrics of a version, by full name.

        `champion` is the version to compare with, empty without one, and `figures` are its metrics on the same rows.
        """
        return [_judge(condition, metrics, figures, champion, is_champion) for condition in self.require]

    def _figures_of(self, champion: Version | None, candidate: Version, job: Job) -> dict[str, float]:
        """Return the champion's metrics by full name, for each evaluation that a condition compares it by.

        Raises:
            Refused: the champion is lost.
        """
        from drivetrain.registry.comparison import metrics_of_champion

        if champion is None or champion.id == candidate.id:
            return {}
        wanted = dict.fromkeys(condition.judge for condition in self.require if condition.against_champion)
        try:
            return {
                f"{evaluation}.{metric}": value
                for evaluation in wanted
                for metric, value in metrics_of_champion(champion, evaluation, job).items()
            }
        except DrivetrainError as error:
            if lost_digest(error) != champion.artifact.digest:
                raise
            raise Refused(
                f"{candidate.id} cannot be compared with the champion: what is kept of {champion.id} is lost",
                remedy=f"put it back from a backup, or name the champion by hand: `drivetrain promote {candidate.id}`",
                place=self.place,
            ) from error

    def _decide(
        self, job: Job, candidate: Version, champion: Version | None, judgements: list[Judgement], passed: bool
    ) -> Decision:
        ledger = job.store.ledger
        services = [part for part in job.system.of_role("service") if part.model.name == self.model.name]
        canary = next(((part, part.canary) for part in services if part.canary is not None), None)
        if champion is not None and champion.id == candidate.id:
            outcome = "unchanged"
        elif not passed:
            outcome = "refused"
        elif champion is None or canary is None:
            outcome = "promoted"
        else:
            outcome = "canary"
        decision = Decision(
            id=new_id("decision"),
            gate=self.name,
            model=candidate.model,
            version=candidate.id,
            champion=champion.id if champion else "",
            run=job.run,
            passed=passed,
            judgements=judgements,
            outcome=outcome,
            at=now(),
        )
        evidence = {judgement.condition: judgement.found for judgement in judgements}
        if outcome != "unchanged":
            record_event(
                ledger,
                "gate.passed" if passed else "gate.refused",
                subject=candidate.id,
                message=f"{candidate.id} {'passed' if passed else 'did not pass'} the gate: " + _spoken(judgements),
                evidence=evidence,
            )
        if outcome == "promoted":
            point_alias(
                ledger,
                candidate.model,
                CHAMPION,
                candidate.id,
                reason="it passed its gate",
                actor=self.name,
            )
        elif outcome == "canary":
            assert canary is not None
            assert champion is not None
            _begin_canary(ledger, canary[0].name, canary[1].share, champion=champion, challenger=candidate)
        return decision


def _judge(
    condition: Condition, metrics: Mapping[str, float], figures: Mapping[str, float], champion: str, is_champion: bool
) -> Judgement:
    found = metrics.get(condition.name)
    text = str(condition)
    if found is None:
        known = sorted(name for name in metrics if name.startswith(f"{condition.judge}."))
        note = f"{condition.judge} gave no such metric; it gave {', '.join(known) or 'none'}"
        return Judgement(condition=text, found=None, limit=condition.limit, holds=False, note=note)
    if not condition.against_champion:
        assert condition.limit is not None
        holds = condition.holds(found, condition.limit)
        return Judgement(condition=text, found=found, limit=condition.limit, holds=holds)
    if not champion:
        return Judgement(condition=text, found=found, limit=None, holds=True, note="there is no champion yet")
    if is_champion:
        return Judgement(condition=text, found=found, limit=found, holds=True, note="it is the champion itself")
    value = figures.get(condition.name)
    if value is None:
        return Judgement(condition=text, found=found, limit=None, holds=False, note=f"{champion} has no such metric")
    limit = condition.limit_from(value)
    note = f"{champion} on the same rows: {value:.4g}"
    return Judgement(condition=text, found=found, limit=limit, holds=condition.holds(found, limit), note=note)


def _begin_canary(ledger: Any, service: str, share: float, *, champion: Version, challenger: Version) -> None:
    for earlier in ledger.find(Rollout, {"service": service, "state": "canary"}):
        if earlier.challenger == challenger.id:
            return
        ledger.write(
            msgspec.structs.replace(
                earlier, state="rolled_back", decided_at=now(), reason=f"{challenger.id} took its place"
            )
        )
    ledger.write(
        Rollout(
            id=new_id("rollout"),
            service=service,
            model=challenger.model,
            champion=champion.id,
            challenger=challenger.id,
            share=share,
            state="canary",
            started_at=now(),
        )
    )
    record_event(
        ledger,
        "canary.started",
        subject=challenger.id,
        message=f"{challenger.id} answers {share:.0%} of the requests to {service}, beside {champion.id}",
        evidence={"share": share},
    )


def _metrics(gate: Gate, job: Job) -> dict[str, float]:
    return {
        f"{need}.{metric}": value
        for need in job.system.needs[gate.name].values()
        for metric, value in job.artifact(need).detail.get("metrics", {}).items()
    }


def _spoken(judgements: list[Judgement]) -> str:
    if not judgements:
        return "it asks for nothing."
    return (
        "; ".join(
            f"{judgement.condition} {'holds' if judgement.holds else 'does not hold'}"
            + (
                f" ({judgement.found:.4g}"
                + (f" against {judgement.limit:.4g})" if judgement.limit is not None else ")")
                if judgement.found is not None
                else f" ({judgement.note})"
            )
            for judgement in judgements
        )
        + "."
    )
