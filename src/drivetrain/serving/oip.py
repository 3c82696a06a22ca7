"""The Open Inference Protocol over REST, as Triton, KServe and MLServer speak it, with tensors as JSON or as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from msgspec import UNSET, UnsetType

from drivetrain import __version__
from drivetrain.errors import RequestError
from drivetrain.serving.batching import Reply
from drivetrain.serving.encoding import QUICK_BYTES
from drivetrain.serving.live import Live
from drivetrain.serving.media import UNNAMED
from drivetrain.serving.outputs import Outputs
from drivetrain.serving.requests import parse
from drivetrain.serving.route import JSON, Answer, Bodies, Body, Request, Route, as_json, extra_headers, in_words
from drivetrain.serving.tensors import (
    DATATYPES,
    examples,
    from_bytes,
    from_values,
    inputs_of,
    rows_from,
    to_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.registry.version import Version
    from drivetrain.serving.counters import Totals
    from drivetrain.serving.desk import Desk
    from drivetrain.serving.requests import Reader, Row
    from drivetrain.serving.tensors import Described, Tensor

PROJECT = "drivetrain"
EXTENSIONS = ["binary_tensor_data", "model_configuration", "model_repository", "statistics"]
# Triton's client names no type.
_BODIES = ("application/json", "application/octet-stream", *UNNAMED)
_HEADER_LENGTH = "inference-header-content-length"
# What a request may ask for elsewhere, and would be silently wrong without.
_UNKNOWN_PARAMETERS = ("sequence_id", "shared_memory_region", "classification")


class Input(msgspec.Struct):
    """A tensor of a request: its elements stand in `data`, or behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: Any = UNSET
    parameters: dict[str, Any] | None = None


class Wanted(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class Inference(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[Input]
    id: str | UnsetType = UNSET
    outputs: list[Wanted] | None = None
    parameters: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(Inference)


def refused(error: RequestError) -> Answer:
    """Return an error as the protocol tells it: one text, which is all that its clients show."""
    told: dict[str, Any] = {"error": in_words(error)}
    if error.problems:
        told["problems"] = error.problems
    return Answer(error.status, [*JSON, *extra_headers(error)], as_json(told))


class Oip:
    """Answers in the Open Inference Protocol; a model has the name it is asked for by, its versions are numbers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Return what it answers."""
        model = "/v2/models/{model}"
        told = {"": self.metadata, "/ready": self.model_ready, "/config": self.config, "/stats": self.statistics}
        gets = {
            "/v2": self.server,
            "/v2/health/live": self.alive,
            "/v2/health/ready": self.ready,
            "/v2/models/stats": self.statistics,
            **{f"{model}{end}": answer for end, answer in told.items()},
            **{f"{model}/versions/{{version}}{end}": answer for end, answer in told.items()},
        }
        posts = {
            f"{model}/infer": self.infer,
            f"{model}/versions/{{version}}/infer": self.infer,
            "/v2/repository/index": self.index,
            "/v2/repository/models/{model}/load": self.load,
            "/v2/repository/models/{model}/unload": self.load,
        }
        return [
            *(Route("GET", path, answer, refuse=refused) for path, answer in gets.items()),
            *(
                Route("POST", path, answer, _BODIES, refused, self._bodies if answer == self.infer else _no_bodies)
                for path, answer in posts.items()
            ),
        ]

    def _bodies(self, live: Live) -> Bodies:
        from drivetrain.serving.openapi import array_of, example_answer, example_request, object_of

        row, answer = example_request(live), example_answer(live)
        inputs = [
            {"name": each.name, "datatype": each.datatype, "shape": each.shape, "data": each.values}
            for each in examples(live.reader, row)
        ]
        shares = [list(answer["probabilities"].values())] * 2 if "probabilities" in answer else None
        reply = Reply([answer["id"]] * 2, [answer["version"]] * 2, [answer["prediction"]] * 2, shares)
        outputs = [
            {"name": each.name, "datatype": each.datatype, "shape": each.shape, "data": each.values}
            for each in live.outputs.tensors(reply)
        ]
        tensor: dict[str, Any] = {
            "name": {"type": "string"},
            "datatype": {"enum": list(DATATYPES)},
            "shape": array_of({"type": "integer"}),
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        }
        wanted = object_of({"name": {"enum": [each["name"] for each in outputs]}})
        asked = object_of(
            {"inputs": array_of(object_of(tensor, optional=["parameters"])), "id": {"type": "string"},
             "outputs": array_of(wanted), "parameters": {"type": "object"}},
            optional=["id", "outputs", "parameters"],
        )  # fmt: skip
        told = object_of(
            {"model_name": {"type": "string"}, "model_version": {"type": "string"}, "id": {"type": "string"},
             "outputs": array_of(object_of(tensor, optional=["data", "parameters"]))},
            optional=["id"],
        )  # fmt: skip
        shown = {"model_name": self._desk.service.model, "model_version": answer["version"].rpartition("@")[2]}
        only = {"inputs": inputs, "id": "seven", "outputs": [{"name": outputs[0]["name"]}]}
        binary = {"application/octet-stream": Body({"type": "string", "format": "binary"})}
        return Bodies(
            {"application/json": Body(asked, {"two rows": {"inputs": inputs}, "one output": only}), **binary},
            {"application/json": Body(told, {"two rows": {**shown, "outputs": outputs}}), **binary},
        )

    async def server(self, request: Request) -> Answer:
        """Tell who answers, and what is understood beyond the core of the protocol."""
        return _told({"name": PROJECT, "version": __version__, "extensions": EXTENSIONS})

    async def alive(self, request: Request) -> Answer:
        """Tell that the process lives."""
        return _told({"live": True})

    async def ready(self, request: Request) -> Answer:
        """Tell whether there is a version to answer with."""
        self._desk.live()
        return _told({"ready": True})

    async def model_ready(self, request: Request) -> Answer:
        """Tell whether the model, or one version of it, answers."""
        self._versions(request)
        return _told({"name": _name(request), "ready": True})

    async def metadata(self, request: Request) -> Answer:
        """Tell which tensors the model takes and gives."""
        versions = self._versions(request)
        live = self._desk.live()
        return _told(
            {
                "name": _name(request),
                "versions": [str(each.number) for each in versions],
                "platform": live.platform(versions[0]),
                "inputs": inputs_of(live.reader),
                "outputs": Outputs(versions[0].signature).described,
            }
        )

    async def config(self, request: Request) -> Answer:
        """Tell the same in the words of Triton's model configuration."""
        version, live = self._versions(request)[0], self._desk.live()
        return _told(
            {
                "name": _name(request),
                "platform": live.platform(version),
                "backend": PROJECT,
                "max_batch_size": 0,  # the number of rows is a dimension like any other, up to `max_rows`
                "input": _configured(inputs_of(live.reader)),
                "output": _configured(Outputs(version.signature).described),
            }
        )

    async def statistics(self, request: Request) -> Answer:
        """Tell how much was answered, in the form of Triton's statistics; what we do not count is zero."""
        told, name = statistics_of(self._desk, self._versions(request)), _name(request)
        return _told({"model_stats": [{**each, "name": name} for each in told] if name else told})

    async def index(self, request: Request) -> Answer:
        """List the versions that answer."""
        return _told(index_of(self._desk))

    async def load(self, request: Request) -> Answer:
        """Refuse: which version answers is decided in the registry, where it is kept why."""
        name = self._desk.service.model
        message = f"which version of {name} answers is decided in the registry: `drivetrain promote {name}@NUMBER`"
        raise RequestError(status=403, message=message)

    async def infer(self, request: Request) -> Answer:
        """Answer the rows that tensors hold."""
        live = self._live(request)
        given = (request.body, request.headers.get(_HEADER_LENGTH), live.reader, self._desk.service.max_rows)
        asked, rows = _rows(*given) if len(request.body) <= QUICK_BYTES else await self._desk.aside(_rows, *given)
        outputs = asked.outputs or []
        names = [each.name for each in outputs]
        live.outputs.check(names)  # an unknown one is refused before anything is answered and logged
        reply = await self._desk.ask(live, rows, patience=request.patience, control=request.control)
        all_binary = bool((asked.parameters or {}).get("binary_data_output", False))
        binary = {each.name: bool((each.parameters or {}).get("binary_data", all_binary)) for each in outputs}
        told = {
            "model_name": _name(request),
            "model_version": ",".join(sorted({each.rpartition("@")[2] for each in reply.versions}))
            or str(live.champion.version.number),
            **({} if asked.id is UNSET else {"id": asked.id}),
        }
        found = live.outputs.tensors(reply, names)
        return written(told, found, [binary.get(each.name, all_binary) for each in found])

    def _versions(self, request: Request) -> list[Version]:
        """Return the versions that answer and that the path means: the champion first.

        Raises:
            RequestError: 404, there is no such model or version here; 503, none is loaded yet.
        """
        return self._asked_live(request).named(_number(request))

    def _live(self, request: Request) -> Live:
        """Return what answers a path: both arms of a canary, or the champion alone where the path asks for it."""
        live, number = self._asked_live(request), _number(request)
        return live.pinned(number) if number else live

    def _asked_live(self, request: Request) -> Live:
        name = _name(request)
        if name and not self._desk.service.serves(name):
            raise RequestError(
                status=404, message=f"there is no model {name[:60]!r} here; this is {self._desk.service.model!r}"
            )
        return self._desk.live()


def _name(request: Request) -> str:
    """Return the name that the model is asked for by; empty where a path names none."""
    return unquote(request.parameters.get("model", ""))


def _number(request: Request) -> str:
    return unquote(request.parameters.get("version", ""))


def _no_bodies(live: Live) -> Bodies:
    return Bodies({}, {"application/json": Body({})})


def read(body: bytes, header: str | None) -> tuple[Inference, list[Tensor]]:
    """Return a request and its tensors; `header` is the length of the JSON where bytes of tensors stand behind it.

    Raises:
        RequestError: 400, it cannot be read; 422, a tensor is not what it says it is.
    """
    length = len(body)
    if header is not None:
        length = int(header) if header.isascii() and header.isdecimal() and len(header) < 12 else 0
        if not 0 < length <= len(body):
            message = f"Inference-Header-Content-Length is {header[:20]!r}, and the body has {len(body):,} bytes"
            raise RequestError(status=400, message=message)
    asked = _asked(body[:length])
    tensors, at, data = [], length, memoryview(body)
    for each in asked.inputs:
        size = (each.parameters or {}).get("binary_data_size")
        if size is None:
            if each.data is UNSET:
                raise RequestError(status=400, message=f"the input {each.name[:60]!r} has no data")
            tensors.append(from_values(each.name, each.datatype, each.shape, each.data))
            continue
        if type(size) is not int or not 0 <= size <= len(body) - at or each.data is not UNSET:
            found = f"the input {each.name[:60]!r} has a binary_data_size of {str(size)[:30]}"
            raise RequestError(status=400, message=f"{found}, and {len(body) - at:,} bytes are left")
        tensors.append(from_bytes(each.name, each.datatype, each.shape, data[at : at + size]))
        at += size
    if at != len(body):
        raise RequestError(status=400, message=f"{len(body) - at:,} bytes stand behind the last input")
    return asked, tensors


def _rows(body: bytes, header: str | None, reader: Reader, limit: int) -> tuple[Inference, list[Row]]:
    asked, tensors = read(body, header)
    return asked, rows_from(reader, tensors, limit=limit)


def _asked(text: bytes) -> Inference:
    try:
        asked = _DECODER.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        try:
            asked = msgspec.convert(parse(text, nan_is_null=True), Inference)  # Triton's client writes NaN
        except (msgspec.ValidationError, OverflowError) as error:
            raise RequestError(status=400, message=f"the request does not have the protocol's form: {error}") from None
    given = [asked.parameters, *(each.parameters for each in (*asked.inputs, *(asked.outputs or ())))]
    for name in _UNKNOWN_PARAMETERS:
        if any(name in each for each in given if each):
            raise RequestError(status=400, message=f"the parameter {name!r} is not known here: leave it out")
    return asked


def written(told: dict[str, Any], tensors: Sequence[Tensor], binary: Sequence[bool]) -> Answer:
    """Return the answer with these tensors, those that are `binary` behind the JSON."""
    shown, parts = [], []
    for tensor, is_binary in zip(tensors, binary, strict=True):
        each: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if is_binary:
            parts.append(to_bytes(tensor))
            each["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            each["data"] = tensor.values
        shown.append(each)
    text = as_json({**told, "outputs": shown})
    if not parts:
        return Answer(200, JSON, text)
    header = text.encode()
    fields = [("content-type", "application/octet-stream"), (_HEADER_LENGTH, str(len(header)))]
    return Answer(200, fields, b"".join([header, *parts]))


def _told(value: Any) -> Answer:
    return Answer(200, JSON, as_json(value))


def _configured(tensors: Sequence[Described]) -> list[dict[str, Any]]:
    kinds = {"BYTES": "STRING"}
    return [
        {"name": each.name, "data_type": f"TYPE_{kinds.get(each.datatype, each.datatype)}", "dims": each.shape}
        for each in tensors
    ]


def index_of(desk: Desk) -> list[dict[str, str]]:
    """Return the versions that answer for a service, as the protocol lists them."""
    arms = desk.answering.named() if desk.answering else []
    return [{"name": each.model, "version": str(each.number), "state": "READY", "reason": ""} for each in arms]


def statistics_of(desk: Desk, versions: Sequence[Version] | None = None) -> list[dict[str, Any]]:
    """Return how much versions of a service have answered: some, or all that answer now."""
    live, totals = desk.live(), desk.totals()
    champion = live.champion.version.id
    return [_statistics(each, totals, each.id == champion) for each in versions or live.named()]


def _statistics(version: Version, totals: Totals, is_champion: bool) -> dict[str, Any]:
    rows = totals.rows - totals.rows_canary if is_champion else totals.rows_canary
    told: dict[str, Any] = {"name": version.model, "version": str(version.number), "inference_count": rows}
    names = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    spans = {name: {"count": 0, "ns": 0} for name in names}
    if is_champion:  # requests, batches and times are counted for both arms together
        spans["success"] = {"count": totals.answered_2xx, "ns": int(totals.latency_s * 1e9)}
        spans["fail"]["count"] = totals.answered_5xx
        spans["compute_infer"] = {"count": totals.batches, "ns": int(totals.busy_s * 1e9)}
    return {
        **told,
        "execution_count": totals.batches if is_champion else 0,
        "inference_stats": spans,
        "batch_stats": [],
    }
