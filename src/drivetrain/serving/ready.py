"""A ready model in a worker: what it gives is checked against its outputs, and told as plain JSON."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

from drivetrain.data.kinds.kind import logged, told
from drivetrain.registry import bundle
from drivetrain.serving.answers import Answers
from drivetrain.serving.calls.calling import as_row
from drivetrain.serving.requests import Reader, reader_for
from drivetrain.training.awaiting import finished
from drivetrain.training.custom import CustomModel
from drivetrain.training.ready import Belongings, Loaded, Ready
from drivetrain.training.remote import OpenAIModel, TritonModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.registry.version import Version
    from drivetrain.serving.requests import Row
    from drivetrain.store.store import Store


class ReadyModel:
    """One version of a ready model, loaded; to the server it is a predictor as any other.

    `form` is what a class of the user's takes and gives, and None for others.
    """

    build_note = ""

    def __init__(
        self,
        version: Version,
        reader: Reader,
        build: str,
        model: Loaded,
        calls: tuple[str, ...] = (),
        build_reason: str = "",
    ) -> None:
        self.build_reason = build_reason
        self.version, self.reader, self.build, self.model = version, reader, build, model
        self.classes: list[Any] = []
        self.form = model.form if isinstance(model, CustomModel) else None
        is_async = self.form is not None and self.form.is_async and not self.form.streams
        self.is_awaited = is_async or getattr(model, "is_awaited", False)
        # A class may wait for something else at any time, such as a database, however quick it was before.
        self.may_wait = self.form is not None
        # The services that it calls.
        self.calls = calls
        self._outputs = version.signature.outputs
        # By rows, how long a batch took; nothing until it is measured.
        self.seconds: dict[int, float] = {}

    @property
    def examples(self) -> Mapping[str, Any]:
        """What a request is shown with, by column, where its signature does not tell."""
        if isinstance(self.model, OpenAIModel):
            return {"request": {"model": self.version.model, "messages": [{"role": "user", "content": "Say hello."}]}}
        return {}

    @classmethod
    def load(cls, store: Store, version: Version) -> ReadyModel:
        """Return a version ready to answer, loaded by the part as it was when the version was made.

        Raises:
            Exception: its code or its files fail; they are the user's.
        """
        part = bundle.load(store, version.code).parts[version.model]
        assert isinstance(part, Ready)
        belongings: Belongings = store.value(version.artifact, Belongings)
        model = part.answering(part.load(store, belongings), belongings)
        form = model.form if isinstance(model, CustomModel) else None
        types, optional = (form.types, form.optional) if form else (getattr(model, "types", {}), frozenset())
        reader = reader_for(version.signature, types=types, optional=optional)
        build = getattr(model, "build", type(part).__name__.lower())
        calls = tuple(service.name for service in part.refers() if service.ROLE == "service")
        made = cls(version, reader, build, model, calls, part.build_reason(belongings))
        if form is None and not made.is_awaited:
            made.measure()
        return made

    def answer(self, rows: Sequence[Row]) -> Answers:
        """Return the answers to rows of request values, in their order.

        Raises:
            ValueError: what the model gave is not what its signature says.
        """
        if self.form is not None and self.form.streams:
            return self._told_whole(rows)
        if self.form is not None and self.is_awaited:
            return finished(self.awaited(rows, 0.0))
        found = self.model.answer(rows)
        if len(found) != len(rows):
            raise ValueError(f"{self.version.id} gave {len(found)} predictions for {len(rows)} rows")
        return self.told(found)

    def each(self, rows: Sequence[Row]) -> tuple[Answers, dict[int, Exception]]:
        """Return the answers to the rows that have one, and what an engine elsewhere refuses of them, by its place.

        Raises:
            Exception: whatever another model raises, of all rows together.
        """
        if not isinstance(self.model, OpenAIModel):
            return self.answer(rows), {}
        found = self.model.each(rows)
        refused = {place: each for place, each in enumerate(found) if isinstance(each, Exception)}
        return self.told([each for each in found if not isinstance(each, Exception)]), refused

    async def awaited(self, rows: Sequence[Row], timeout_s: float) -> Answers:
        """Return the same of a model whose answers are awaited, all rows at once."""
        if isinstance(self.model, TritonModel | OpenAIModel):
            return self.told(await self.model.ask(rows, timeout_s=timeout_s))
        assert isinstance(self.model, CustomModel)
        assert self.form is not None
        if self.form.is_batch:
            return self.told(await self.model.batch(rows))
        work = [as_row(place, self.model.call(row)) for place, row in enumerate(rows)]
        return self.told(await asyncio.gather(*work))

    def _told_whole(self, rows: Sequence[Row]) -> Answers:
        """Return the pieces of each row's stream as its prediction, for those who do not listen."""

        async def gathered(row: Row) -> list[Any]:
            assert isinstance(self.model, CustomModel)
            found = self.model.call(row)
            return [self.piece(each) async for each in found]

        assert isinstance(self.model, CustomModel)
        if self.form is not None and self.form.is_async:
            return Answers([finished(gathered(row)) for row in rows])
        return Answers([[self.piece(each) for each in self.model.call(row)] for row in rows])

    async def health(self) -> str:
        """Return what is amiss with the engine that answers; empty where all is well, or there is none."""
        if isinstance(self.model, TritonModel | OpenAIModel):
            return await self.model.engine.health(self.model.HEALTH)
        return ""

    def was_late(self) -> None:
        """Learn that the time of a service was up before the answer came: an engine elsewhere has failed then."""
        if isinstance(self.model, TritonModel | OpenAIModel):
            self.model.engine.breaker.failed()

    def told(self, found: Sequence[Any]) -> Answers:
        """Return values of the model as answers: plain JSON, and what the log keeps of it."""
        predictions = [self._told(value) for value in found]
        return Answers(predictions, logged=[self._logged(each) for each in predictions])

    def piece(self, value: Any) -> Any:
        """Return one piece of a stream as plain JSON."""
        return told(value, self._outputs[0])

    def _told(self, value: Any) -> Any:
        if len(self._outputs) == 1:
            return told(value, self._outputs[0])
        return {column.name: told(value[column.name], column) for column in self._outputs}

    def _logged(self, plain: Any) -> Any:
        if len(self._outputs) == 1:
            return logged(plain, self._outputs[0])
        return {column.name: logged(plain[column.name], column) for column in self._outputs}

    def example(self) -> Row:
        """Return a row of the examples in the signature."""
        from drivetrain.serving.predictor import example_of

        return tuple(
            example_of(column, kind) for column, kind in zip(self.reader.columns, self.reader.types, strict=True)
        )

    def measure(self) -> None:
        """Answer the example a few times, so that the first client does not pay for it, and time it."""
        row = self.example()
        taken = []
        for _ in range(3):
            started = perf_counter()
            self.answer([row])
            taken.append(perf_counter() - started)
        # Most of these take their rows one by one.
        self.seconds = {1: taken[-1], 64: 64 * taken[-1]}
