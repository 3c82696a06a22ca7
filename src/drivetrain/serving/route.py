"""A route: a method and a path, and what answers there; each protocol brings its own."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from drivetrain.errors import CallFailed, RequestError, listed
from drivetrain.serving.patience import ENDLESS, Patience

if TYPE_CHECKING:
    from drivetrain.serving.cache.control import Control
    from drivetrain.serving.live import Live

Headers = list[tuple[str, str]]

JSON: Headers = [("content-type", "application/json")]


class Answer(NamedTuple):
    """What goes back to the client."""

    status: int
    headers: Headers
    body: str | bytes


class Streamed(NamedTuple):
    """What goes back to the client piece by piece; it ends when the client goes away."""

    status: int
    headers: Headers
    texts: AsyncGenerator[str, None]


class Body(NamedTuple):
    """A kind of body in a description: its JSON schema, and examples by what they show."""

    schema: dict[str, Any]
    examples: dict[str, Any] = {}


class Bodies(NamedTuple):
    """What a route is asked, and what it answers, by media type."""

    asked: dict[str, Body]
    told: dict[str, Body]


class Request(NamedTuple):
    """What a client has sent: `parameters` are the parts of the path that the route leaves open.

    `control` says whether an answer that is known will do, where the service keeps any.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    body: bytes
    patience: Patience = ENDLESS
    control: Control | None = None


def refusal(error: RequestError) -> Answer:
    """Return the answer that tells a client what is wrong with its request."""
    told: dict[str, Any] = {"error": error.message}
    if error.problems:
        told["problems"] = error.problems
    if error.error_id:
        told["error_id"] = error.error_id
    if isinstance(error, CallFailed):
        told["called"] = {"service": error.service, "status": error.called_status}
    return Answer(error.status, [*JSON, *extra_headers(error)], as_json(told))


def in_words(error: RequestError) -> str:
    """Return what is wrong in one text, the first problems included, for protocols whose clients show nothing else.

    >>> problem = {"row": 3, "field": "stops", "found": "null", "wanted": "a whole number"}
    >>> in_words(RequestError(status=422, message="1 value does not fit", problems=[problem]))
    '1 value does not fit: stops of row 3 is null, and should be a whole number'
    >>> problem = {"row": 0, "field": "stps", "found": "an unknown field", "wanted": "did you mean stops?"}
    >>> in_words(RequestError(status=422, message="1 value does not fit", problems=[problem]))
    '1 value does not fit: stps of row 0 is an unknown field: did you mean stops?'
    """
    told = []
    for problem in error.problems[:3]:
        row = "" if problem["row"] is None else f" of row {problem['row']}"
        field = (problem["field"] or "something")[:60]
        should = ":" if problem["found"].startswith("an unknown ") else ", and should be"
        told.append(f"{field}{row} is {problem['found']}{should} {problem['wanted']}")
    more = f"; and {len(error.problems) - 3} more" if len(error.problems) > 3 else ""
    return f"{error.message}: {'; '.join(told)}{more}" if told else error.message


def extra_headers(error: RequestError) -> Headers:
    """Return the headers that belong to an error, in whatever form a protocol tells it."""
    if error.status == 401:
        return [("www-authenticate", "Bearer")]
    if error.status == 405:
        return [("allow", ", ".join(error.allowed))]
    if error.status in (429, 503):
        return [("retry-after", str(error.retry_after_s))]
    return []


class Route(msgspec.Struct, frozen=True):
    """What answers at a path such as `/v2/models/{model}/infer`.

    `takes` are the media types of the bodies that it reads; without any, a body is not read. `gives` is that of its
    answer, and `status` its status where all is well. `refuse` writes an error down in the form of the route's
    protocol. `describe` returns what it is asked and what it answers, with examples; the first line of the handler's
    docstring says what it does. `fits` says whether it is of use for what answers now, where that is not all.
    """

    method: str
    path: str
    handle: Callable[[Request], Awaitable[Answer | Streamed]]
    takes: tuple[str, ...] = ()
    refuse: Callable[[RequestError], Answer] = refusal
    describe: Callable[[Live], Bodies] | None = None
    gives: str = "application/json"
    fits: Callable[[Live], bool] | None = None
    status: int = 200


class Routes:
    """All routes of a server.

    >>> async def answer(request): ...
    >>> routes = Routes([Route("GET", "/models/{model}", answer)])
    >>> routes.find("GET", "/models/late")[1]
    {'model': 'late'}
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._open: dict[str, tuple[re.Pattern[str], dict[str, Route]]] = {}
        for route in routes:
            if "{" not in route.path:
                self._exact.setdefault(route.path, {})[route.method] = route
            else:
                pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(route.path))
                self._open.setdefault(route.path, (re.compile(pattern), {}))[1][route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return what answers, and the open parts of the path.

        Raises:
            RequestError: 404 where nothing has this path, 405 where what has it takes other methods.
        """
        methods, parameters = self._exact.get(path), {}
        if methods is None:
            for pattern, methods_there in self._open.values():
                if match := pattern.fullmatch(path):
                    methods, parameters = methods_there, match.groupdict()
                    break
        if methods is None:
            raise RequestError(status=404, message=f"there is nothing at {path[:100]}: {self._remedy(path)}")
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = sorted(methods)
            message = f"{path} takes {' or '.join(allowed)}, not {method}"
            raise RequestError(status=405, message=message, allowed=allowed)
        return route, parameters

    def _remedy(self, path: str) -> str:
        """Return the path that is nearest, or those that there are: first what does the work."""
        known = self._exact | {path: methods for path, (_, methods) in self._open.items()}
        if close := get_close_matches(path, known, n=1):
            return f"did you mean {close[0]}?"
        return listed(sorted(known, key=lambda each: (each != "/predict", "POST" not in known[each])))


def as_json(value: Any) -> str:
    """Return a value as JSON text."""
    return msgspec.json.encode(value).decode()
