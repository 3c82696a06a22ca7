"""The service typed by the signature: a field for each column, made anew when a version with another one answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from google.protobuf.unknown_fields import UnknownFieldSet

from drivetrain.errors import RequestError
from drivetrain.serving.batching import class_names
from drivetrain.serving.contract import answer_of, contract, fields_of, is_json, label_of, package_of
from drivetrain.serving.encoding import QUICK_BYTES
from drivetrain.serving.grpc.method import Context, Method, control_in, patience, read, tell_status
from drivetrain.serving.grpc.ordered import in_order
from drivetrain.serving.grpc.proto import Protos
from drivetrain.serving.grpc.status import code_of, place_of
from drivetrain.serving.requests import too_many_rows, unfit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from drivetrain.serving.batching import Reply
    from drivetrain.serving.desk import Desk
    from drivetrain.serving.live import Live

# Messages of one stream that are worked on at once.
_AT_ONCE = 256


class Messages:
    """The messages of one signature, and rows, answers and labels in them."""

    def __init__(self, service: str, live: Live) -> None:
        package = package_of(service)
        self.live = live
        self._signature = live.champion.version.signature
        self.protos = Protos({f"{service}.proto": contract(service, self._signature, live.reader)})
        self._names = [field.name for field in fields_of(live.reader.columns)]
        self._json_places = [place for place, column in enumerate(live.reader.columns) if is_json(column)]
        self._types = {name: f"{package}.{name}" for name in ("Row", "Rows", "Labels")}
        self._prediction, self._predictions, self._answer, self._accepted = (
            self.protos.message(f"{package}.{name}") for name in ("Prediction", "Predictions", "Answer", "Accepted")
        )

    def read(self, name: str, given: bytes) -> Any:
        """Return the message that bytes hold."""
        return read(self.protos, self._types[name], given)

    def rows(self, messages: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return messages as rows.

        Raises:
            RequestError: 422, some do not fit; all problems are named.
        """
        return self.live.reader.checked([self._values(message) for message in messages])

    def _values(self, message: Any) -> tuple[Any, ...]:
        for unknown in UnknownFieldSet(message):
            right = "a field that GET /service.proto has now"
            raise _unfit(f"number {unknown.field_number}", "an unknown field", right)
        has = message.HasField
        values: list[Any] = [getattr(message, name) if has(name) else None for name in self._names]
        for place in self._json_places:
            if values[place] is not None:
                try:
                    values[place] = msgspec.json.decode(values[place])
                except msgspec.DecodeError:
                    raise _unfit(self._names[place], "a text that is not JSON", "JSON text") from None
        return tuple(values)

    def predictions(self, reply: Reply) -> list[Any]:
        """Return what rows are answered."""
        shares: Sequence[Any] = reply.probabilities or [None] * len(reply.ids)
        is_text = answer_of(self._signature).is_json
        found = []
        for name, version, value, row in zip(reply.ids, reply.versions, reply.predictions, shares, strict=True):
            told = msgspec.json.encode(value).decode() if is_text else value
            prediction = self._prediction(id=name, version=version, prediction=told)
            if row is not None:
                for each, share in zip(class_names(reply.classes), row, strict=True):
                    prediction.probabilities[each] = share
            found.append(prediction)
        return found

    def told(self, predictions: list[Any]) -> bytes:
        """Return the answer to many rows."""
        return bytes(self._predictions(predictions=predictions).SerializeToString())

    def streamed(self, prediction: Any = None, error: RequestError | None = None) -> bytes:
        """Return the answer to a row of a stream: its prediction, or why it has none."""
        if error is None:
            return bytes(self._answer(prediction=prediction).SerializeToString())
        problems = [
            {"field": place_of({**each, "row": None}), "found": str(each["found"]), "wanted": str(each["wanted"])}
            for each in error.problems
        ]
        refusal = {"code": code_of(error).value[0], "error": error.message, "problems": problems}
        return bytes(self._answer(refusal=refusal).SerializeToString())

    def labels(self, given: bytes) -> list[dict[str, Any]]:
        """Return labels as feedback has them in JSON."""
        return [
            {name: self._label(getattr(each, name), name) for name in ("id", "key", "label") if _has(each, name)}
            for each in self.read("Labels", given).labels
        ]

    def _label(self, value: Any, name: str) -> Any:
        if name != "label" or not label_of(self._signature).is_json:
            return value
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise _unfit("label", "a text that is not JSON", "JSON text") from None

    def accepted(self, count: int) -> bytes:
        """Return that labels are kept."""
        return bytes(self._accepted(accepted=count).SerializeToString())


class Typed:
    """Answers in messages of the signature."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._messages: Messages | None = None
        self.name = f"{package_of(desk.service.name)}.Predictor"

    def methods(self) -> dict[str, Method]:
        """Return what it answers."""
        return {
            f"/{self.name}/Predict": Method(one=self.predict),
            f"/{self.name}/PredictBatch": Method(one=self.predict_batch),
            f"/{self.name}/PredictStream": Method(stream=self.predict_stream),
            f"/{self.name}/Feedback": Method(one=self.feedback),
        }

    def messages(self) -> Messages:
        """Return the messages of what answers now.

        Raises:
            RequestError: 503, nothing does.
        """
        live = self.desk.live()
        if self._messages is None or self._messages.live is not live:
            self._messages = Messages(self.desk.service.name, live)
        return self._messages

    async def predict(self, given: bytes, context: Context) -> bytes:
        """Answer one row."""
        messages = self.messages()
        (prediction,) = await self._asked(messages, [messages.read("Row", given)], len(given), context)
        return bytes(prediction.SerializeToString())

    async def predict_batch(self, given: bytes, context: Context) -> bytes:
        """Answer many rows, all or none."""
        messages = self.messages()
        rows = messages.read("Rows", given).rows
        if len(rows) > self.desk.service.max_rows:
            raise too_many_rows(len(rows), self.desk.service.max_rows)
        return messages.told(await self._asked(messages, rows, len(given), context))

    async def predict_stream(self, given: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answer each row of a stream, in order."""

        async def answered(message: bytes) -> bytes:
            messages = self.messages()
            try:
                (prediction,) = await self._asked(messages, [messages.read("Row", message)], len(message), context)
            except RequestError as error:
                return messages.streamed(error=error)
            return messages.streamed(prediction)

        async for answer in in_order(given, answered, at_once=_AT_ONCE):
            yield answer

    async def feedback(self, given: bytes, context: Context) -> bytes:
        """Keep labels; they survive a power cut when this answers."""
        messages = self.messages()
        labels = messages.labels(given)
        return messages.accepted(await self.desk.keep_labels(msgspec.json.encode(labels)))

    async def _asked(self, messages: Messages, given: Sequence[Any], size_bytes: int, context: Context) -> list[Any]:
        within_s = patience(context, self.desk.service.timeout_s)
        rows = messages.rows(given) if size_bytes <= QUICK_BYTES else await self.desk.aside(messages.rows, given)
        control = control_in(context, self.desk)
        reply = await self.desk.ask(messages.live, rows, within_s=within_s, control=control)
        tell_status(context, control)
        return messages.predictions(reply)


def _has(message: Any, name: str) -> bool:
    return name in message.DESCRIPTOR.fields_by_name and message.HasField(name)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _unfit(field: str, found: str, wanted: str) -> RequestError:
    return unfit([{"row": None, "field": field, "found": found, "wanted": wanted}])
