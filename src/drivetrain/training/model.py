"""A model: a function that learns from a training table and returns what it has learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, get_args, overload

import msgspec

from drivetrain.data.schema import Column, Roles, columns_of
from drivetrain.data.split import direct_detail
from drivetrain.errors import DeclarationError, StepFailed, UnknownName
from drivetrain.system.caller import caller
from drivetrain.system.declaration import declares
from drivetrain.system.function import FunctionPart
from drivetrain.system.part import Job, Output
from drivetrain.training.signature import Signature, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from drivetrain.system.conduct import Options
    from drivetrain.system.part import Part


class Model(FunctionPart, frozen=True, kw_only=True, eq=False):
    """A function that returns a fitted model; its first input that is a table is what the model has learnt from."""

    ROLE = "model"

    task: Task | None = None

    def declared(self) -> dict[str, Any]:
        return {"task": self.task} if self.task else {}

    def check(self, parts: Mapping[str, Part]) -> None:
        FunctionPart.check(self, parts)
        if not self.needs(parts):
            raise DeclarationError(
                f"the model {self.name!r} takes nothing to learn from",
                remedy="give it a parameter with the name of a training table, such as `train: pl.DataFrame`",
                place=self.place,
            )

    def perform(self, job: Job) -> dict[str, Output]:
        known = self._training(job)
        return self._told(self.call(job), known, job)

    def outputs_from(self, result: Any, job: Job) -> dict[str, Output]:
        return self._told(result, self._training(job), job)

    def _told(self, model: Any, known: tuple[str, dict[str, Any], pl.DataFrame], job: Job) -> dict[str, Output]:
        from drivetrain.training.reference import reference_of

        training, detail, table = known
        label = detail["roles"].get("label") or table.columns[-1]
        signature = self._signature(model, detail, table[label])
        try:
            reference = reference_of(model, table, signature)
        except TypeError as error:
            raise StepFailed(step=self.name, cause=f"its model cannot predict: {error}", place=self.place) from error
        told = {
            "signature": msgspec.to_builtins(signature),
            "training": training,
            "reference": job.store.keep_json(reference),
        }
        return {self.name: Output(model, told | {name: detail[name] for name in ("features", "dataset", "side")})}

    def _training(self, job: Job) -> tuple[str, dict[str, Any], pl.DataFrame]:
        """Return the name of the training table, what is told of it, and the table."""
        import polars as pl

        needs = self.needs({})
        known = {name: job.artifact(name) for name in needs}
        name = next((name for name, artifact in known.items() if "columns" in artifact.detail), "")
        # A table that a plain step has made tells nothing but its rows: the last column is the label.
        name = name or next((name for name, artifact in known.items() if artifact.format == "parquet"), "")
        if not name:
            raise StepFailed(
                step=self.name,
                cause=f"none of its inputs is a table to learn from: {', '.join(needs)}",
                place=self.place,
            )
        table = job.value(name, pl.DataFrame)
        detail = known[name].detail
        if "features" in detail:
            return name, detail, table
        roles = msgspec.convert(detail.get("roles", {}), Roles)
        if roles.label is None:
            roles = msgspec.structs.replace(roles, label=table.columns[-1])
        columns = detail.get("columns") or msgspec.to_builtins(columns_of(table))
        return name, direct_detail(name, {"roles": msgspec.to_builtins(roles), "columns": columns}, roles), table

    def _signature(self, model: Any, detail: Mapping[str, Any], label: pl.Series) -> Signature:
        from drivetrain.training.predict import task_of

        task, classes = task_of(model, label)
        if self.task is not None and self.task != task:
            task = self.task
            classes = [] if task == "regression" else classes or label.drop_nulls().unique().sort().to_list()
        if task != "regression" and len(classes) < 2:
            raise StepFailed(
                step=self.name,
                cause=f"the label {label.name!r} has the one value {classes[0] if classes else None!r} in all rows",
                place=self.place,
            )
        features = msgspec.convert(detail["columns"], list[Column])
        request = msgspec.convert(detail["request"], list[Column])
        names = getattr(model, "feature_names_in_", None)
        if not detail["features"] and names is not None and set(names) <= {column.name for column in features}:
            # Nothing but the model says which columns of a dataset it was given.
            by_name = {column.name: column for column in features}
            features = request = [by_name[str(name)] for name in names]
        return Signature(
            task=task,
            label=label.name,
            classes=classes,
            request=request,
            features=features,
            roles=msgspec.convert(detail["roles"], Roles),
        )


@overload
def model(function: Callable[..., Any], /) -> Model: ...
@overload
def model(*, task: Task | None = None, **options: Unpack[Options]) -> Callable[[Callable[..., Any]], Model]: ...
@declares
def model(
    function: Callable[..., Any] | None = None, /, *, task: Task | None = None, **options: Unpack[Options]
) -> Any:
    """Declare a function that learns from a training table and returns a fitted model.

    A parameter that names a table is its input; one with a default is a setting, to be changed with
    `--set lateness.learning_rate=0.05`. `task` says whether it answers a yes-or-no question, chooses among classes or
    tells a number, where the model itself does not show it. The other options are those of `step`, such as
    `memory_gib=4`.

    >>> @model
    ... def lateness(train: object, learning_rate: float = 0.1) -> object: ...
    >>> lateness.settings()
    {'learning_rate': 0.1}
    """
    if task is not None and task not in get_args(Task):
        raise UnknownName(kind="task of a model", name=str(task), known=get_args(Task), place=caller())
    if function is not None:
        return Model.of(function)
    return lambda function: Model.of(function, task=task, options=options)
