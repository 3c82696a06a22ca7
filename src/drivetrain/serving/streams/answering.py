"""Messages become answers: read, held against the signature, answered as one batch, and logged once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import RequestError
from drivetrain.serving.batching import Batch, Failure, answered, line_of, replies
from drivetrain.serving.journal import Journal, folder_of, one_line
from drivetrain.serving.log import answers_in_log
from drivetrain.serving.streams.message import Aside, Output, prediction_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.serving.live import Live
    from drivetrain.serving.requests import Row
    from drivetrain.serving.streams.message import Message
    from drivetrain.store.store import Store

# A message that has been given so often without being settled is put aside: perhaps it is what ends its consumers.
DELIVERIES = 5
# A broker that was ended may have forgotten what was delivered and settled, and gives it again as if it were new. What
# this process has answered lately it knows itself; so many of the first messages of a connection are looked up.
REMEMBERED = 10_000
DOUBTED = 512


class Answering:
    """Answers the messages of one stream."""

    def __init__(self, store: Store, service: str, stream: str, *, max_batch: int) -> None:
        self._store, self._service, self._stream, self._max_batch = store, service, stream, max_batch
        # Ids tell when a message was sent, and that may have been long before the part was begun.
        self._journal = Journal(folder_of(store, service), "predictions", is_dated=False)
        self._lately: dict[str, None] = {}
        self._doubted = DOUBTED

    def connected(self) -> None:
        """Say that what comes now comes over a new connection."""
        self._doubted = DOUBTED

    def answer(self, live: Live, messages: Sequence[Message]) -> tuple[list[Output], list[Aside]]:
        """Return the answers in the order of the messages, and those that are put aside, each with the reason.

        A message that was answered before is given the answer that stands in the log, whatever version answers now.
        """
        names = [prediction_id(self._service, self._stream, message) for message in messages]
        is_doubted = self._doubted > 0
        self._doubted -= len(messages)
        known = self._known(
            [
                name
                for name, message in zip(names, messages, strict=True)
                if message.is_again or is_doubted or name in self._lately
            ]
        )
        told: dict[str, bytes] = {}
        dead: list[Aside] = []
        fresh: list[tuple[Message, str, Row]] = []
        for message, name in zip(messages, names, strict=True):
            if name in known:
                told[name] = msgspec.json.encode(known[name] | {"message": message.id})
                continue
            try:
                fresh.append((message, name, self._row(live, message)))
            except RequestError as error:
                dead.append(_put_aside(message, name, error.message, error.problems))
        failures = self._answer_fresh(live, fresh, told)
        dead += [_put_aside(message, name, failures[name], []) for message, name, _ in fresh if name in failures]
        outputs = [
            Output(name, told[name], message.key, message.is_again)
            for message, name in zip(messages, names, strict=True)
            if name in told
        ]
        return outputs, dead

    def _row(self, live: Live, message: Message) -> Row:
        if message.deliveries > DELIVERIES:
            raise RequestError(status=500, message=f"it was delivered {message.deliveries} times without an answer")
        if message.body is None:
            raise RequestError(status=422, message="the message has no field `data` with a row as JSON")
        return live.reader.one(message.body)

    def _known(self, names: list[str]) -> dict[str, dict[str, Any]]:
        return answers_in_log(self._store, self._service, names) if names else {}

    def _answer_fresh(
        self, live: Live, fresh: Sequence[tuple[Message, str, Row]], told: dict[str, bytes]
    ) -> dict[str, str]:
        if not fresh:
            return {}
        batch = Batch(live)
        for message, name, row in fresh:
            batch.add((row,), (one_line(message.body or b""),), "one")
            batch.names.append(name)
        parts, failures = answered(batch, self._max_batch)
        lines = [msgspec.json.encode(line_of(batch, part)) + b"\n" for part in parts]
        if lines:
            self._journal.write(b"".join(lines))
            self._journal.close_if_old()
            self._lately.update(dict.fromkeys(batch.names))
            while len(self._lately) > REMEMBERED:
                del self._lately[next(iter(self._lately))]
        failed = {}
        for (message, name, _), reply in zip(fresh, replies(batch, parts, failures), strict=True):
            if isinstance(reply, Failure):
                failed[name] = reply.message
            else:
                assert isinstance(reply, str)
                told[name] = f'{reply[:-1]},"message":{msgspec.json.encode(message.id).decode()}}}'.encode()
        return failed

    def close(self) -> None:
        """Finish the log."""
        self._journal.close()


def _put_aside(message: Message, name: str, reason: str, problems: list[dict[str, Any]]) -> Aside:
    text = (message.body or b"").decode(errors="replace")
    told = {"error": reason, "problems": problems, "message": message.id, "data": text}
    output = Output(f"dead-{name}", msgspec.json.encode(told), message.key, message.is_again)
    return Aside(output, message.id, reason)
