"""The protocol of OpenAI in front of an engine that speaks it: our limits, log, versions and metrics, its answers."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from drivetrain.errors import RequestError
from drivetrain.serving.events import EVENT_STREAM
from drivetrain.serving.journal import Ended, Line, one_line
from drivetrain.serving.patience import patiently
from drivetrain.serving.ready import ReadyModel
from drivetrain.serving.route import JSON, Answer, Bodies, Body, Request, Route, Streamed, as_json, extra_headers
from drivetrain.serving.streaming import TOO_LATE
from drivetrain.training.remote import LONGER_S, OpenAIModel
from drivetrain.training.trace import trace_now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from drivetrain.serving.desk import Desk
    from drivetrain.serving.live import Live
    from drivetrain.serving.patience import Patience

# Where a request is passed on to an engine; its body names the model.
PASSED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
_KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
# Longer requests and texts than this are logged by their digest, or cut.
_MOST_LOGGED_BYTES = 32 << 10


class OpenAI:
    """Passes chat completions, completions and embeddings on to the engine of the version that answers.

    Another protocol lists its models at /v1/models as well: `other_models` answers where no engine does.
    """

    def __init__(self, desk: Desk, other_models: Callable[[Request], Awaitable[Answer]]) -> None:
        self._desk, self._other_models = desk, other_models

    def routes(self) -> list[Route]:
        """Return what it answers."""
        return [
            Route("GET", "/v1/models", self.models, refuse=refusal, fits=_speaks),
            *[
                Route("POST", path, self.passed, ("application/json",), refusal, partial(_bodies, path), fits=_speaks)
                for path in PASSED
            ],
        ]

    async def models(self, request: Request) -> Answer:
        """Tell the name of the model as clients of the service know it."""
        if not _speaks(self._desk.live()):
            return await self._other_models(request)
        return Answer(200, JSON, as_json({"object": "list", "data": models_of(self._desk)}))

    async def passed(self, request: Request) -> Answer | Streamed:
        """Pass a request on, whole or as a stream."""
        body = _object(request.body)
        (name,) = self._desk.names.take(1)
        arm_name, arm = self._arm(name)
        known = (arm.version.model, arm.version.id, self._desk.service.name)
        if body.get("model", known[0]) not in known:
            raise RequestError(status=404, message=f"the model is {known[0]!r}, and not {str(body['model'])[:100]!r}")
        assert isinstance(arm.model, OpenAIModel)
        body["model"] = arm.model.name
        asked = _Asked(self._desk, name, arm_name, arm, request)
        if body.get("stream") is True and request.path != "/v1/embeddings":
            wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
            texts = self._streamed(asked, msgspec.json.encode(body), request.patience.until, wants_usage=wants_usage)
            # The head of the answer is awaited here, so that a refusal still has its status.
            first = await anext(texts)
            return Streamed(200, [*EVENT_STREAM, *asked.headers], _with_first(first, texts))
        told, is_new = await self._whole(asked, body, request)
        asked.whole(told, is_new=is_new)
        return Answer(200, [*JSON, *asked.headers], told)

    async def _whole(self, asked: _Asked, body: dict[str, Any], request: Request) -> tuple[bytes, bool]:
        """Return an answer that comes at once, and whether the engine was asked for it."""
        desk = self._desk

        async def ask(places: Sequence[int], patience: Patience) -> list[bytes]:
            timeout_s = patience.left_s(desk.service.timeout_s)
            with desk.direct.slot():
                longer_s = desk.service.timeout_s + LONGER_S
                asking = asked.engine.post(request.path, msgspec.json.encode(body), timeout_s=longer_s)
                try:
                    told = await patiently(asking, patience, timeout_s)
                except TimeoutError:
                    # A client that waits for less than the service does is no failure of the engine's.
                    if timeout_s >= desk.service.timeout_s:
                        asked.arm.was_late()
                    message = f"the engine did not answer within {timeout_s:.3g} s"
                    raise RequestError(status=504, message=message) from None
            _decoded(told)  # what is no answer is not kept as one
            return [told]

        if desk.cached is None or desk.sharing is None:
            return (await ask([0], request.patience))[0], True
        key = desk.cached.keys(desk.live(), asked.arm_name, asked.arm, None).of_values([request.path, body])
        found = await desk.sharing.find([key], ask, request.patience, request.control)
        return found.entries[0], bool(found.asked)

    async def _streamed(
        self, asked: _Asked, body: bytes, until: float, *, wants_usage: bool
    ) -> AsyncGenerator[str, None]:
        service, engine = self._desk.service, asked.engine
        with self._desk.direct.slot():
            self._desk.counters.add("streams")
            self._desk.counters.add("streams_open")
            size, ends_at = 0, min(monotonic() + service.max_stream_s, until)
            try:
                async with engine.stream(asked.path, body, timeout_s=service.timeout_s, until=ends_at) as found:
                    asked.is_begun = True
                    yield ""
                    async for line in engine.parts(found, service.timeout_s, until=ends_at):
                        if not line.startswith("data:"):
                            continue
                        if asked.took(line[5:].strip(), drops_usage=not wants_usage):
                            told = f"data: {line[5:].strip()}\n\n"
                            size += len(told)
                            yield told
                        if size > service.max_stream_bytes:
                            raise TimeoutError
                    asked.ended = "end"
            except TimeoutError:
                asked.ended = "timeout"
                # The loop's timers may strike a moment early, so that the clock alone does not tell.
                is_late = ends_at == until and size <= service.max_stream_bytes
                self._desk.counters.add("expired", int(is_late))
                message = TOO_LATE if is_late else "the stream is longer than this service lets it be"
                error = RequestError(status=504, message=message)
                if not asked.is_begun:
                    raise error from None
                yield f"data: {as_json(_told(error))}\n\n"
            except RequestError as error:
                asked.ended = "error"
                if not asked.is_begun:
                    raise
                yield f"data: {as_json(_told(error))}\n\n"
            finally:
                self._desk.counters.add("streams_open", -1)
                asked.log_stream()

    def _arm(self, name: str) -> tuple[str, ReadyModel]:
        """Return the arm that answers a request of this name, and its version.

        Raises:
            RequestError: it is no model of this protocol.
        """
        arm_name, arm, _, _ = self._desk.live().share_of((), name)
        if not isinstance(arm, ReadyModel) or not isinstance(arm.model, OpenAIModel):
            message = f"{self._desk.service.name} answers at POST /predict: its model does not speak OpenAI's protocol"
            raise RequestError(status=404, message=message)
        return arm_name, arm


class _Asked:
    """One request to an engine, and what is known of its answer so far."""

    def __init__(self, desk: Desk, name: str, arm_name: str, arm: ReadyModel, request: Request) -> None:
        self._desk, self._name, self.arm_name, self.arm, self.path = desk, name, arm_name, arm, request.path
        assert isinstance(arm.model, OpenAIModel)
        self.engine = arm.model.engine
        self._body = request.body
        self._at, self._began, self._trace = time_ns() // 1000, monotonic(), trace_now()
        self.headers = [("x-drivetrain-id", name), ("x-drivetrain-version", arm.version.id)]
        self.ended: Literal["end", "closed", "error", "timeout"] = "closed"
        self.is_begun = False
        self._pieces = 0
        self._first_s: float | None = None
        self._text: list[str] = []
        self._size = 0
        self._usage: dict[str, Any] = {}
        self._finish = ""

    def whole(self, told: bytes, *, is_new: bool) -> None:
        """Log an answer that came at once; what the engine spent on one that is not new was counted then."""
        answer = _decoded(told)
        self._usage = answer.get("usage") or {}
        for choice in answer.get("choices") or []:
            self._keep(_text_of(choice))
            self._finish = choice.get("finish_reason") or self._finish
        self._write(None, is_new=is_new)

    def took(self, data: str, *, drops_usage: bool) -> bool:
        """Take in a part of a stream; return whether it is for the client."""
        if data == "[DONE]":
            return True
        try:
            part = msgspec.json.decode(data)
        except msgspec.DecodeError:
            return True
        if not isinstance(part, dict):
            return True
        self._usage = part.get("usage") or self._usage
        choices = part.get("choices") or []
        for choice in choices:
            self._keep(_text_of(choice))
            self._finish = choice.get("finish_reason") or self._finish
        if choices and self._first_s is None:
            self._first_s = monotonic() - self._began
            self._desk.counters.add("first_pieces")
            self._desk.counters.add("first_piece_ns", int(self._first_s * 1e9))
        self._pieces += 1
        self._desk.counters.add("pieces")
        return bool(choices) or "usage" not in part or not drops_usage

    def log_stream(self) -> None:
        """Log a stream that has ended."""
        if self.ended == "closed":
            self._desk.counters.add("streams_left")
        self._write(
            Ended(
                self.ended,
                self._pieces,
                round(monotonic() - self._began, 6),
                None if self._first_s is None else round(self._first_s, 6),
            )
        )

    def _keep(self, text: str) -> None:
        if self._size < _MOST_LOGGED_BYTES:
            self._text.append(text)
            self._size += len(text)

    def _write(self, ended: Ended | None, *, is_new: bool = True) -> None:
        counters = self._desk.counters
        if is_new:
            counters.add("tokens_in", int(self._usage.get("prompt_tokens") or 0))
            counters.add("tokens_out", int(self._usage.get("completion_tokens") or 0))
        counters.add("rows")
        if self.arm_name == "canary":
            counters.add("rows_canary")
        given: Any = one_line(self._body)
        if len(self._body) > _MOST_LOGGED_BYTES:
            given = {"digest": f"sha256:{sha256(self._body).hexdigest()}", "size_bytes": len(self._body)}
        prediction = {
            "path": self.path,
            "text": "".join(self._text),
            "finish_reason": self._finish,
            "usage": self._usage,
            "seconds": round(monotonic() - self._began, 6),
        }
        line = Line(
            self._at,
            self.arm.version.id,
            self.arm_name,
            [self._name],
            None,
            [{"request": given}],
            [prediction],
            streams=None if ended is None else [ended],
            traces=[self._trace.id] if self._trace else None,
        )
        self._desk.logbook.write(msgspec.json.encode(line) + b"\n", 1)


def models_of(desk: Desk) -> list[dict[str, Any]]:
    """Return the models of a service as clients know them: one, or none where its version speaks another protocol."""
    live = desk.answering
    if live is None or not _speaks(live):
        return []
    version = live.champion.version
    made = int(version.created_at.timestamp())
    return [{"id": version.model, "object": "model", "created": made, "owned_by": desk.service.name}]


def _speaks(live: Live) -> bool:
    return isinstance(getattr(live.champion, "model", None), OpenAIModel)


def _bodies(path: str, live: Live) -> Bodies:
    from drivetrain.serving.openapi import object_of

    names = {"/v1/chat/completions": "messages", "/v1/completions": "prompt", "/v1/embeddings": "input"}
    asked = object_of({"model": {"type": "string"}, names[path]: {}})
    examples = {"one message": live.champion.examples["request"]} if names[path] == "messages" else {}
    return Bodies({"application/json": Body(asked, examples)}, {"application/json": Body({"type": "object"})})


def refusal(error: RequestError) -> Answer:
    """Return an error in the form of OpenAI."""
    return Answer(error.status, [*JSON, *extra_headers(error)], as_json(_told(error)))


def _told(error: RequestError) -> dict[str, Any]:
    kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": None, "code": error.error_id or None}}


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise RequestError(status=400, message="the body cannot be read as JSON") from None
    if not isinstance(found, dict):
        raise RequestError(status=400, message="the body is no JSON object")
    if not isinstance(found.get("stream_options") or {}, dict):
        raise RequestError(status=400, message="`stream_options` is no object")
    return found


def _decoded(told: bytes) -> dict[str, Any]:
    """Return an engine's answer.

    Raises:
        RequestError: 502, it is none.
    """
    try:
        return msgspec.json.decode(told, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise RequestError(status=502, message="the engine's answer is no JSON") from None


def _text_of(choice: dict[str, Any]) -> str:
    said = choice.get("delta") or choice.get("message") or {}
    return str(said.get("content") or choice.get("text") or "")


async def _with_first(first: str, rest: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    try:
        if first:
            yield first
        async for each in rest:
            yield each
    finally:
        await rest.aclose()
