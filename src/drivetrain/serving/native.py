"""Our own protocol: JSON objects with the columns of the signature, and what people and monitors ask a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain import __version__
from drivetrain.errors import RequestError
from drivetrain.serving.events import EVENT_STREAM, server_sent, wants_events
from drivetrain.serving.interface import digest_of
from drivetrain.serving.journal import one_line
from drivetrain.serving.media import NAMES, TYPES, answer_kind, as_csv, kind_of
from drivetrain.serving.patience import patiently
from drivetrain.serving.route import JSON, Answer, Bodies, Body, Headers, Request, Route, Streamed, as_json
from drivetrain.serving.streaming import TOO_LATE
from drivetrain.serving.uploads import FORM, UPLOADS, as_json_body, is_upload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivetrain.serving.cache.control import Control
    from drivetrain.serving.desk import Desk
    from drivetrain.serving.live import Live
    from drivetrain.serving.patience import Patience

HTML: Headers = [
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
     "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
]  # fmt: skip
PROMETHEUS: Headers = [("content-type", "text/plain; version=0.0.4; charset=utf-8")]
TEXT: Headers = [("content-type", "text/plain; charset=utf-8")]
_JSON_BODY = ("application/json",)
_BINARY = [NAMES[kind] for kind in ("arrow stream", "arrow file", "parquet")]


class Native:
    """Answers in our own protocol; `base` is the path below which it is asked."""

    def __init__(
        self, desk: Desk, others: Sequence[Route] = (), more_metrics: Callable[[], str] = str, *, base: str = ""
    ) -> None:
        self._desk, self._others, self._more_metrics, self._base = desk, others, more_metrics, base

    def routes(self) -> list[Route]:
        """Return what it answers."""
        return [
            Route("GET", "/", self.page, gives="text/html"),
            Route("GET", "/docs", self.page, gives="text/html"),
            Route("GET", "/healthz", self.health),
            Route("GET", "/readyz", self.readiness),
            Route("GET", "/metrics", self.metrics, gives="text/plain"),
            Route("GET", "/openapi.json", self.openapi),
            Route("GET", "/service.proto", self.contract, gives="text/plain"),
            Route("GET", "/version", self.version),
            Route("POST", "/feedback", self.feedback, takes=_JSON_BODY, describe=self._feedback_bodies),
            Route("POST", "/predict", self.predict, takes=(*TYPES, *UPLOADS), describe=self._predict_bodies),
        ]

    def _predict_bodies(self, live: Live) -> Bodies:
        from drivetrain.serving.openapi import array_of, example_answer, example_request, object_of, ref

        row, answer = example_request(live), example_answer(live)
        if live.streams:
            text = "events `start`, then a message for each piece, then `end` or `error`; asked for by `Accept`"
            told = {"application/json": Body(ref("Prediction"), {"one row": answer}),
                    "text/event-stream": Body({"type": "string", "description": text})}  # fmt: skip
            return Bodies({"application/json": Body(ref("Row"), {"one row": row}), **_uploads(live)}, told)
        many = {**array_of(ref("Row")), "maxItems": self._desk.service.max_rows}
        binary = {kind: Body({"type": "string", "format": "binary"}) for kind in _BINARY}
        flat = {name: value for name, value in answer.items() if name != "probabilities"}
        return Bodies(
            {
                "application/json": Body({"oneOf": [ref("Row"), many]}, {"one row": row, "two rows": [row, row]}),
                "text/csv": Body({"type": "string"}, {"two rows": as_csv([row, row])}),
                "application/x-ndjson": Body({"type": "string"}, {"two rows": f"{as_json(row)}\n{as_json(row)}\n"}),
                **binary,
                **_uploads(live),
            },
            {
                "application/json": Body(
                    {"oneOf": [ref("Prediction"), object_of({"predictions": array_of(ref("Prediction"))})]},
                    {"one row": answer, "two rows": {"predictions": [answer, answer]}},
                ),
                "text/csv": Body({"type": "string"}, {"two rows": as_csv([flat, flat])}),
                "application/x-ndjson": Body({"type": "string"}),
                **binary,
            },
        )

    def _feedback_bodies(self, live: Live) -> Bodies:
        from drivetrain.serving.openapi import EXAMPLE_ID, array_of, object_of

        signature = live.champion.version.signature
        known: dict[str, Any] = {"enum": list(signature.classes)}
        if signature.judged_as == "regression":
            known = {"type": "number"}
        elif signature.judged_as == "values":
            known = {"type": ["number", "string", "boolean"]}
        forms = [object_of({"id": {"type": "string", "pattern": "^pred-[0-9a-z]{18}$"}, "label": known})]
        if signature.roles.key:
            forms.append(object_of({"key": {"type": ["string", "integer"]}, "label": known}))
        for each in forms:
            each["additionalProperties"] = False
        one: dict[str, Any] = {"oneOf": forms} if len(forms) > 1 else forms[0]
        label = {"id": EXAMPLE_ID, "label": signature.classes[-1] if signature.classes else 1.0}
        return Bodies(
            {"application/json": Body({"oneOf": [one, array_of(one)]}, {"one": label, "two": [label, label]})},
            {"application/json": Body(object_of({"accepted": {"type": "integer"}}), {"one": {"accepted": 1}})},
        )

    async def predict(self, request: Request) -> Answer | Streamed:
        """Answer one object, an array of them, or a table of rows; or one object as a stream."""
        content_type = request.headers.get("content-type") or ""
        if is_upload(content_type):
            request = request._replace(body=as_json_body(request, self._desk.live().reader))
            content_type = "application/json"
        if kind_of(content_type) != "json":
            return await self._table(request)
        if self._desk.is_streaming:
            return await self._streamed(request)
        return await self.predicted(request.body, request.patience, request.control)

    async def _streamed(self, request: Request) -> Answer | Streamed:
        desk, body = self._desk, request.body
        live = desk.live()
        if body.lstrip()[:1] == b"[":
            raise RequestError(status=422, message="a stream answers one object, and this is an array")
        row = live.reader.one(body)
        await desk.keep_images(live, [row])
        (text,) = live.reader.kept([row], [one_line(body)])
        if wants_events(request.headers.get("accept") or ""):
            until = request.patience.until
            desk.streams.check_room(until)
            return Streamed(200, EVENT_STREAM, server_sent(desk, live, row, text, until=until))
        try:
            told = await patiently(desk.streams.whole(live, row, text), request.patience)
        except TimeoutError:
            raise RequestError(status=504, message=TOO_LATE) from None
        return Answer(200, JSON, as_json(told))

    async def predicted(self, body: bytes, patience: Patience, control: Control | None = None) -> Answer:
        """Answer a body, whatever else the request says."""
        desk = self._desk
        live = desk.live()
        if body[:1] == b"[" or body.lstrip()[:1] == b"[":
            rows, texts = live.reader.many(body, limit=desk.service.max_rows)
            if not rows:
                return Answer(200, JSON, '{"predictions":[]}')
            lines = [one_line(bytes(text)) for text in texts]
            told = await desk.ask_text(live, rows, lines, "many", patience, control)
        else:
            row = live.reader.one(body)
            told = await desk.ask_text(live, (row,), (one_line(body),), "one", patience, control)
        return Answer(200, JSON, told)

    async def _table(self, request: Request) -> Answer:
        from drivetrain.serving.tables import written

        desk = self._desk
        live, kind = desk.live(), kind_of(request.headers.get("content-type") or "")
        rows, texts = await desk.read_table(live, request.body, kind)
        form = answer_kind(request.headers.get("accept") or "", kind)
        if form == "json":
            given = live.reader.texts(rows) if texts is None else texts
            asking = desk.ask_text(live, rows, given, "many", request.patience, request.control) if rows else None
            return Answer(200, JSON, '{"predictions":[]}' if asking is None else await asking)
        reply = await desk.ask(live, rows, texts, patience=request.patience, control=request.control)
        body = await desk.aside(written, reply, live.champion.version.signature, form)
        return Answer(200, [("content-type", NAMES[form])], body)

    async def feedback(self, request: Request) -> Answer:
        """Keep labels; they survive a power cut when this answers."""
        return Answer(200, JSON, as_json({"accepted": await self._desk.keep_labels(request.body)}))

    async def health(self, request: Request) -> Answer:
        """Tell that the process lives."""
        return Answer(200, JSON, '{"status":"alive"}')

    async def readiness(self, request: Request) -> Answer:
        """Tell whether there is a version to answer with, which, and what is amiss."""
        told = await self._desk.standing()
        return Answer(200 if told["status"] == "ready" else 503, JSON, as_json(told))

    async def metrics(self, request: Request) -> Answer:
        """Give the counters of all workers to Prometheus."""
        return Answer(200, PROMETHEUS, self._desk.all_metrics() + self._more_metrics())

    async def version(self, request: Request) -> Answer:
        """Tell which versions answer, and in which form they run."""
        live = self._desk.live()
        arms = {"champion": live.champion, "canary": live.challenger}
        told: dict[str, Any] = {
            arm: {
                "version": each.version.id,
                "signature": digest_of(each.version.signature),
                "created_at": each.version.created_at,
                "run": each.version.run,
                "build": each.build,
                "build_reason": each.build_reason,
                **({"build_note": each.build_note} if each.build_note else {}),
                "metrics": each.version.metrics,
            }
            for arm, each in arms.items()
            if each is not None
        }
        return Answer(200, JSON, as_json({"service": self._desk.service.name, "drivetrain": __version__, **told}))

    async def openapi(self, request: Request) -> Answer:
        """Describe the address in OpenAPI 3.1."""
        from drivetrain.serving.openapi import description

        live = self._desk.live()
        return Answer(200, JSON, as_json(description(self._desk.service, live, self._of_use(live), base=self._base)))

    async def contract(self, request: Request) -> Answer:
        """Give the typed gRPC service as the text of a .proto file."""
        from drivetrain.serving.contract import contract

        live = self._desk.live()
        return Answer(200, TEXT, contract(self._desk.service.name, live.champion.version.signature, live.reader))

    async def page(self, request: Request) -> Answer:
        """Show the service to people."""
        from drivetrain.serving.page import page

        desk = self._desk
        live = desk.answering
        routes = self._of_use(live)
        shown = page(desk.service, live, desk.problem, routes, desk.totals(), is_listed=bool(self._base))
        return Answer(200, HTML, shown)

    def _of_use(self, live: Live | None) -> list[Route]:
        """Return the routes that are of use for what answers now."""
        routes = [*self.routes(), *self._others]
        return [route for route in routes if route.fits is None or (live is not None and route.fits(live))]


def _uploads(live: Live) -> dict[str, Body]:
    """Return the bodies beside JSON that a model takes whose requests have an image."""
    from drivetrain.serving.openapi import ref

    images = [column for column in live.reader.columns if column.kind == "image"]
    alone = {"image/*": Body({"type": "string", "format": "binary"})} if len(images) == 1 else {}
    return {FORM: Body(ref("Row")), **alone} if images else {}
