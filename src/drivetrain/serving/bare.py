"""Answers that are the prediction alone, at a path of the user's: for clients of a server that was written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.serving.journal import one_line
from drivetrain.serving.route import JSON, Answer, Bodies, Body, Request, Route, as_json
from drivetrain.serving.uploads import UPLOADS, as_json_body, is_upload

if TYPE_CHECKING:
    from drivetrain.serving.desk import Desk
    from drivetrain.serving.live import Live

# What our own protocol has in the body stands here beside it.
ID, VERSION = "x-prediction-id", "x-model-version"


class Bare:
    """Answers at the `route` of a service, where it has one."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Return what it answers."""
        path = self._desk.service.route
        takes = ("application/json", *UPLOADS)
        return [Route("POST", path, self.predict, takes, describe=self._bodies)] if path else []

    def _bodies(self, live: Live) -> Bodies:
        from drivetrain.serving.openapi import array_of, example_answer, example_request, prediction_schema, ref

        row, answer = example_request(live), example_answer(live)["prediction"]
        one: dict[str, Any] = prediction_schema(live.champion.version.signature)["properties"]["prediction"]
        many = {**array_of(ref("Row")), "maxItems": self._desk.service.max_rows}
        return Bodies(
            {"application/json": Body({"oneOf": [ref("Row"), many]}, {"one row": row, "two rows": [row, row]})},
            {"application/json": Body({"anyOf": [one, array_of(one)]}, {"one row": answer})},
        )

    async def predict(self, request: Request) -> Answer:
        """Answer one object, or an array of them, with the prediction alone."""
        desk, body = self._desk, request.body
        live = desk.live()
        if is_upload(request.headers.get("content-type") or ""):
            body = as_json_body(request, live.reader)
        if body.lstrip()[:1] == b"[":
            rows, texts = live.reader.many(body, limit=desk.service.max_rows)
            lines = [one_line(bytes(text)) for text in texts]
            reply = await desk.ask(live, rows, lines, patience=request.patience, control=request.control)
            versions = ",".join(sorted({*reply.versions}))
            return Answer(200, [*JSON, (VERSION, versions)], as_json(reply.predictions))
        row = live.reader.one(body)
        reply = await desk.ask(live, [row], [one_line(body)], patience=request.patience, control=request.control)
        return Answer(200, [*JSON, (ID, reply.ids[0]), (VERSION, reply.versions[0])], as_json(reply.predictions[0]))
