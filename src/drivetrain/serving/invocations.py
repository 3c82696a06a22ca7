"""The forms of MLflow's scoring server, which SageMaker shares, and of TensorFlow Serving, which KServe calls V1."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from drivetrain.data.kinds.kind import KINDS
from drivetrain.errors import RequestError, nearest
from drivetrain.serving.columns import from_columns, from_rows, unnamed
from drivetrain.serving.encoding import QUICK_BYTES
from drivetrain.serving.media import TYPES, UNNAMED, as_csv, kind_of
from drivetrain.serving.requests import MAX_PROBLEMS, parse, shown, too_many_rows, unfit, wanted
from drivetrain.serving.route import JSON, Answer, Bodies, Body, Request, Route, as_json, extra_headers, in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivetrain.serving.desk import Desk
    from drivetrain.serving.live import Live
    from drivetrain.serving.requests import Reader, Row

# What reads the rows of each form, out of what stands under its name.
Forms: TypeAlias = "Mapping[str, Callable[[Any, Reader, int], list[Row]]]"
# The examples of TensorFlow Serving and KServe name no type.
_BODIES_V1 = ("application/json", *UNNAMED)
_ROWS: dict[str, Any] = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}
_LISTS: dict[str, Any] = {"type": "array", "items": {"type": "array"}}
_CODES = {
    413: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def refused(error: RequestError) -> Answer:
    """Return an error as MLflow tells it."""
    told: dict[str, Any] = {"error_code": _CODES.get(error.status, "BAD_REQUEST"), "message": in_words(error)}
    if error.problems:
        told["problems"] = error.problems
    return Answer(error.status, [*JSON, *extra_headers(error)], as_json(told))


def refused_v1(error: RequestError) -> Answer:
    """Return an error as TensorFlow Serving tells it."""
    told: dict[str, Any] = {"error": in_words(error)}
    if error.problems:
        told["problems"] = error.problems
    return Answer(error.status, [*JSON, *extra_headers(error)], as_json(told))


class Invocations:
    """Answers rows as MLflow and TensorFlow Serving are sent them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Return what it answers."""
        return [
            Route("GET", "/ping", self.ping, refuse=refused),
            Route("GET", "/health", self.ping, refuse=refused),
            Route("POST", "/invocations", self.invocations, tuple(TYPES), refused, self._bodies),
            Route("GET", "/v1/models", self.models, refuse=refused_v1),
            Route("GET", "/v1/models/{model}", self.model, refuse=refused_v1),
            *(
                Route("POST", f"/v1/models/{named}:predict", self.predict, _BODIES_V1, refused_v1, self._bodies_v1)
                for named in ("{model}", "{model}/versions/{version}")
            ),
        ]

    def _bodies(self, live: Live) -> Bodies:
        from drivetrain.serving.openapi import example_request, object_of

        row = example_request(live)
        split = {"columns": list(row), "data": [list(row.values())] * 2}
        bodies = self._bodies_v1(live)
        asked = bodies.asked["application/json"]
        frames = {"dataframe_split": {"dataframe_split": split}, "dataframe_records": {"dataframe_records": [row, row]}}
        schema = object_of({"columns": {"type": "array", "items": {"enum": live.reader.names}}, "data": _LISTS})
        schemas = [_form("dataframe_split", schema), _form("dataframe_records", _ROWS)]
        return Bodies(
            {
                "application/json": Body({"oneOf": [*schemas, *asked.schema["oneOf"]]}, frames | asked.examples),
                "text/csv": Body({"type": "string"}, {"two rows": as_csv([row, row])}),
                "application/vnd.apache.parquet": Body({"type": "string", "format": "binary"}),
            },
            bodies.told,
        )

    def _bodies_v1(self, live: Live) -> Bodies:
        from drivetrain.serving.openapi import array_of, example_answer, example_request, object_of

        row, answer = example_request(live), example_answer(live)
        columns = {"type": "object", "additionalProperties": {"type": "array"}}
        examples = {
            "instances": {"instances": [row, row]},
            "lists": {"instances": [[row.get(name) for name in live.reader.names]] * 2},
            "columns": {"inputs": {name: [value] * 2 for name, value in row.items()}},
        }
        told: dict[str, Any] = {"predictions": {"type": "array"}, "probabilities": array_of({"type": "array"})}
        told |= dict.fromkeys(("ids", "versions"), array_of({"type": "string"}))
        shown = {
            "predictions": [answer["prediction"]] * 2,
            "ids": [answer["id"]] * 2,
            "versions": [answer["version"]] * 2,
        }
        either = {"anyOf": [_ROWS["items"], {"type": "array"}]}
        forms = [_form("instances", array_of(either)), _form("inputs", columns)]
        return Bodies(
            {"application/json": Body({"oneOf": forms}, examples)},
            {"application/json": Body(object_of(told, optional=["probabilities"]), {"two rows": shown})},
        )

    async def ping(self, request: Request) -> Answer:
        """Tell whether there is a version to answer with."""
        self._desk.live()
        return Answer(200, JSON, '{"status":"ready"}')

    async def models(self, request: Request) -> Answer:
        """List the one model."""
        return Answer(200, JSON, as_json({"models": [self._desk.service.model]}))

    async def model(self, request: Request) -> Answer:
        """Tell whether the model answers."""
        self._must_be_ours(request)
        self._desk.live()
        return Answer(200, JSON, as_json({"name": self._desk.service.model, "ready": True}))

    async def invocations(self, request: Request) -> Answer:
        """Answer the rows of a body in one of MLflow's forms, or of a table."""
        live = self._desk.live()
        kind = kind_of(request.headers.get("content-type") or "")
        if kind == "json":
            return await self._answer(request, live, await self._read(request.body, live.reader, FORMS))
        rows, _ = await self._desk.read_table(live, request.body, kind)
        return await self._answer(request, live, rows)

    async def predict(self, request: Request) -> Answer:
        """Answer the rows of a body in one of TensorFlow Serving's forms, by the champion where a version is named."""
        self._must_be_ours(request)
        live = self._desk.live()
        if number := unquote(request.parameters.get("version", "")):
            live = live.pinned(number)
        return await self._answer(request, live, await self._read(request.body, live.reader, FORMS_V1))

    async def _read(self, body: bytes, reader: Reader, forms: Forms) -> list[Row]:
        limit = self._desk.service.max_rows
        if len(body) <= QUICK_BYTES:
            return read(body, reader, forms, limit)
        return await self._desk.aside(read, body, reader, forms, limit)

    def _must_be_ours(self, request: Request) -> None:
        name = unquote(request.parameters["model"])
        if not self._desk.service.serves(name):
            message = f"there is no model {name[:60]!r} here, but {self._desk.service.model!r}"
            raise RequestError(status=404, message=message)

    async def _answer(self, request: Request, live: Live, rows: list[Row]) -> Answer:
        reply = await self._desk.ask(live, rows, patience=request.patience, control=request.control)
        told: dict[str, Any] = {"predictions": reply.predictions}
        if reply.probabilities is not None:
            told["probabilities"] = reply.probabilities
        return Answer(200, JSON, as_json({**told, "ids": reply.ids, "versions": reply.versions}))


def _form(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with the rows under this name and no other."""
    properties = {name: schema, "params": {"type": "object"}}
    return {"type": "object", "properties": properties, "required": [name], "additionalProperties": False}


def read(body: bytes, reader: Reader, forms: Forms, limit: int) -> list[Row]:
    """Return the rows of a JSON body, an object with its rows under the name of exactly one of the forms.

    Raises:
        RequestError: 400, it is no JSON or has another form; 413, it has more than `limit` rows; 422, some do not fit.
    """
    value = parse(body, nan_is_null=True)  # Python's clients write NaN, which is no JSON
    found = [name for name in forms if isinstance(value, dict) and name in value]
    if len(found) != 1:
        names = ", ".join(value)[:100] if isinstance(value, dict) else shown(value)
        message = f"send an object with exactly one of {', '.join(forms)}, not {names or 'an empty one'}"
        raise RequestError(status=400, message=message)
    return forms[found[0]](value[found[0]], reader, limit)


def _from_split(given: Any, reader: Reader, limit: int) -> list[Row]:
    """Return the rows of `{"columns": [...], "data": [[...], ...]}`; an index is no column, and is let be."""
    names, data = (given.get("columns"), given.get("data")) if isinstance(given, dict) else (None, None)
    if not isinstance(names, list) or not isinstance(data, list):
        raise RequestError(status=400, message='dataframe_split takes {"columns": [names], "data": [rows]}')
    return _from_lists(data, [str(name) for name in names], reader, limit)


def _from_records(given: Any, reader: Reader, limit: int) -> list[Row]:
    """Return the rows of a list of objects."""
    if not isinstance(given, list):
        raise RequestError(status=400, message=f"rows come as an array of objects, not as {shown(given)}")
    _check_rows(len(given), limit)
    needed = {name for name, may_lack in zip(reader.names, reader.may_lack, strict=True) if not may_lack}
    problems: list[dict[str, Any]] = []
    for number, row in enumerate(given):
        if not isinstance(row, dict):
            found, right = shown(row), "an object with a value for each field"
            problems.append({"row": number, "field": None, "found": found, "wanted": right})
        elif row.keys() != needed:
            problems += [{"row": number, **problem} for problem in _name_problems(row, needed, reader)]
        if len(problems) >= MAX_PROBLEMS:
            raise unfit(problems[:MAX_PROBLEMS], more=True)
    if problems:
        raise unfit(problems)
    return from_rows(reader, [tuple([row.get(name) for name in reader.names]) for row in given])


def _name_problems(row: Mapping[str, Any], needed: set[str], reader: Reader) -> list[dict[str, Any]]:
    missing = [
        {"field": column.name, "found": "nothing", "wanted": wanted(column)}
        for column in reader.columns
        if column.name in needed and column.name not in row
    ]
    unknown = [
        {"field": name, "found": "an unknown field", "wanted": nearest(name, reader.names)}
        for name in row
        if name not in reader.names
    ]
    return missing + unknown


def _from_lists(data: list[Any], names: list[str] | None, reader: Reader, limit: int) -> list[Row]:
    """Return the rows of lists of values: of these columns, or of those that lists of their length are."""
    _check_rows(len(data), limit)
    width = len(names) if names is not None else len(data[0]) if data and isinstance(data[0], list) else 1
    if names is None:
        names = unnamed(reader, width)
        if names is None:
            right = f"{len(reader.names)} values, in the order {', '.join(reader.names)[:200]}; or objects with names"
            raise unfit([{"row": 0, "field": None, "found": f"{width} values without names", "wanted": right}])
        data = [row if isinstance(row, list) else [row] for row in data] if width == 1 else data
    unknown = [
        {"row": None, "field": name, "found": "an unknown field", "wanted": nearest(name, reader.names)}
        for name in names
        if name not in reader.names
    ]
    twice = [
        {"row": None, "field": name, "found": "two columns", "wanted": "one"}
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if unknown or twice:
        raise unfit((unknown + twice)[:MAX_PROBLEMS], more=len(unknown + twice) > MAX_PROBLEMS)
    problems = [
        {"row": number, "field": None, "found": shown(row), "wanted": f"an array of {width} values"}
        for number, row in enumerate(data)
        if not isinstance(row, list) or len(row) != width
    ]
    if problems:
        raise unfit(problems[:MAX_PROBLEMS], more=len(problems) > MAX_PROBLEMS)
    if names == reader.names:
        return from_rows(reader, [tuple(row) for row in data])
    flat = list(chain.from_iterable(data))
    return from_columns(reader, {name: flat[place::width] for place, name in enumerate(names)}, len(data))


def _from_instances(given: Any, reader: Reader, limit: int) -> list[Row]:
    """Return the rows of a list of objects, of lists in the signature's order, or of values of the only column."""
    if not isinstance(given, list) or not given or any(isinstance(row, dict) for row in given):
        return _from_records(given, reader, limit)
    needed = [each for each, may_lack in zip(reader.columns, reader.may_lack, strict=True) if not may_lack]
    if len(needed) != 1 or needed[0].kind not in KINDS:
        return _from_lists(given, None, reader, limit)
    # A list may be the one value, such as a tensor, or the list of a row's values; only one of them fits.
    _check_rows(len(given), limit)
    try:
        return from_columns(reader, {needed[0].name: given}, len(given))
    except RequestError as error:
        try:
            return _from_lists(given, None, reader, limit)
        except RequestError:
            raise error from None


def _from_inputs(given: Any, reader: Reader, limit: int) -> list[Row]:
    """Return the rows of an object with a list for each column, or of what `instances` takes."""
    if not isinstance(given, dict):
        return _from_instances(given, reader, limit)
    plain = {column.name for column in reader.columns if column.kind not in (*KINDS, "other")}
    columns = {
        name: [values] if not isinstance(values, list) else list(map(_alone, values)) if name in plain else values
        for name, values in given.items()
    }
    counts = {name: len(values) for name, values in columns.items()}
    rows = next(iter(counts.values()), 0)
    _check_rows(rows, limit)
    uneven = [
        {"row": None, "field": name, "found": f"{count:,} values", "wanted": f"{rows:,}, as the first field has"}
        for name, count in counts.items()
        if count != rows
    ]
    needed = {name for name, may_lack in zip(reader.names, reader.may_lack, strict=True) if not may_lack}
    problems = uneven + [{"row": None, **problem} for problem in _name_problems(given, needed, reader)]
    if problems:
        raise unfit(problems[:MAX_PROBLEMS], more=len(problems) > MAX_PROBLEMS)
    return from_columns(reader, columns, rows)


def _alone(value: Any) -> Any:
    """Return the one value of a row in a column that came with the shape [rows, 1]."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _check_rows(rows: int, limit: int) -> None:
    if rows > limit:
        raise too_many_rows(rows, limit)


FORMS = {
    "dataframe_split": _from_split,
    "dataframe_records": _from_records,
    "instances": _from_instances,
    "inputs": _from_inputs,
}
FORMS_V1 = {"instances": _from_instances, "inputs": _from_inputs}
