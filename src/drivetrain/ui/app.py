"""The console as an application: each page once as HTML and once as JSON, from the same view."""

from __future__ import annotations

import hmac
import mimetypes
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, quote

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from drivetrain.errors import DrivetrainError, NotFound, StoreError, UsageError
from drivetrain.system.drawing import svg
from drivetrain.ui import (
    approvals,
    attachments,
    charts,
    compare,
    live,
    logs,
    lookup,
    overview,
    parts,
    runs,
    timeline,
    versions,
    words,
)
from drivetrain.ui.console import Console, counted, leading, service_names
from drivetrain.ui.guard import COOKIE, Guard, cookie_for, safe_next
from drivetrain.ui.source import coloured
from drivetrain.ui.store import Survey
from drivetrain.ui.store import store as store_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from drivetrain.store.store import Store
    from drivetrain.system.settings import Project
    from drivetrain.system.system import System
    from drivetrain.ui.console import Asked

_HERE = Path(__file__).parent
# A token is short, and so is a reason; more in the body is not worth reading.
_LONGEST_FORM = 16_384


class Page(NamedTuple):
    """A page: where it is, which template shows it, and what gives it its view."""

    path: str
    template: str
    view: Callable[[Console, Asked], Any]


PAGES = (
    Page("/", "overview.html", overview.overview),
    Page("/system", "system.html", parts.system),
    Page("/parts/{name}", "part.html", parts.part),
    Page("/runs", "runs.html", runs.runs),
    Page("/runs/{id}", "run.html", runs.run),
    Page("/compare", "compare.html", compare.comparison),
    Page("/models", "models.html", versions.models),
    Page("/versions/{id}", "version.html", versions.version),
    Page("/live", "live.html", live.live),
    Page("/live/{service}", "live.html", live.live),
    Page("/approvals", "approvals.html", approvals.approvals),
    Page("/events", "events.html", timeline.timeline),
    Page("/store", "store.html", store_page),
    Page("/predictions", "lookup.html", lookup.lookup),
    Page("/predictions/{id}", "prediction.html", lookup.prediction),
)
NAVIGATION = (
    ("Overview", "/", "loop"),
    ("System", "/system", "graph"),
    ("Runs", "/runs", "run"),
    ("Approvals", "/approvals", "check"),
    ("Models", "/models", "version"),
    ("Live", "/live", "pulse"),
    ("Store", "/store", "disk"),
    ("Look-up", "/predictions", "search"),
)
# The page that a part of the path belongs to in the navigation, where the two differ.
_BELONGS = {"compare": "/runs", "parts": "/system", "versions": "/models", "events": "/"}


class Asset(NamedTuple):
    """A file of the page's own: style sheet, script, picture."""

    data: bytes
    media_type: str


def console(store: Store, system: System, project: Project) -> Starlette:
    """Return the console of a project."""
    looked_at = Console(store, system, project, Survey(store))
    token = str(project.get("console.token"))
    assets = {
        path.name: _asset(path)
        for path in sorted((_HERE / "static").iterdir())
        if path.suffix in (".css", ".js", ".svg")
    }
    templates = _templates(looked_at, assets, has_token=bool(token))
    routes = [
        *(Route(page.path, _html(page, looked_at, templates)) for page in PAGES),
        *(Route(_api_path(page.path), _json(page.view, looked_at)) for page in PAGES),
        Route("/api/charts/{service}", _json(live.charts, looked_at)),
        Route("/api/pulse", _json(pulse, looked_at)),
        Route(
            "/find",
            lambda request: RedirectResponse(lookup.address_of(looked_at, request.query_params.get("q", "")), 303),
        ),
        Route("/static/{name}", _static(assets)),
        Route("/attachments/{run}", partial(attachments.answer, looked_at)),
        Route("/logs/{run}", partial(logs.answer, looked_at)),
        Route("/approvals/{id}", _answering(looked_at), methods=["POST"]),
        Route("/api/approvals/{id}", _answering(looked_at), methods=["POST"]),
        Route("/login", _door(templates, token), methods=["GET", "POST"]),
    ]

    def refused(request: Request, error: Exception) -> Response:
        return _refusal(request, error, templates)

    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, host=str(project.get("console.host")), token=token)],
        exception_handlers={DrivetrainError: refused, HTTPException: refused, Exception: refused},
    )


def pulse(console: Console, asked: Asked) -> dict[str, int]:
    """Return numbers of which one changes whenever something is recorded, and when a service begins or ends.

    Open pages ask them before they renew themselves.
    """
    ready = sum(counted(console, name).workers_ready for name in service_names(console))
    return {"generation": console.store.ledger.generation(), "workers_ready": ready}


def _html(page: Page, looked_at: Console, templates: Environment) -> Callable[[Request], Response]:
    template = templates.get_template(page.template)

    def answer(request: Request) -> Response:
        view = page.view(looked_at, _asked(request))
        return HTMLResponse(template.render(view=view, path=request.url.path, section=_section(request.url.path)))

    return answer


def _json(view: Callable[[Console, Asked], Any], looked_at: Console) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        body = msgspec.json.encode(view(looked_at, _asked(request)))
        return Response(body, media_type="application/json")

    return answer


def _static(assets: dict[str, Asset]) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        asset = assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        # The address changes with the bytes, so a copy is never out of date.
        return Response(
            asset.data, media_type=asset.media_type, headers={"cache-control": "public, max-age=31536000, immutable"}
        )

    return answer


def _door(templates: Environment, token: str) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        following = safe_next(request.query_params.get("next", "/"))
        if not token:
            return RedirectResponse(following, 303)
        is_wrong = False
        if request.method == "POST":
            given = parse_qs(await _body(request)).get("token", [""])[0]
            if hmac.compare_digest(given.strip().encode(), token.encode()):
                response = RedirectResponse(following, 303)
                is_https = request.url.scheme == "https"
                response.set_cookie(COOKIE, cookie_for(token), httponly=True, samesite="strict", secure=is_https)
                return response
            is_wrong = True
        page = templates.get_template("login.html").render(
            following=following, is_wrong=is_wrong, path="/login", section=""
        )
        return HTMLResponse(page, 401 if is_wrong else 200)

    return answer


def _answering(looked_at: Console) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        body, is_form = await _body(request), not request.url.path.startswith("/api/")
        try:
            given = {name: each[0] for name, each in parse_qs(body).items()} if is_form else msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise UsageError(
                f"the body is no JSON: {error}", remedy='send {"answer": …, "by": …, "reason": …}'
            ) from error
        if not isinstance(given, dict):
            raise UsageError("the body is no object", remedy='send {"answer": …, "by": …, "reason": …}')
        told = await run_in_threadpool(approvals.answered, looked_at, request.path_params["id"], given)
        if is_form:
            return RedirectResponse(f"/runs/{quote(told.run, safe='')}", 303)
        return Response(msgspec.json.encode(told), media_type="application/json")

    return answer


async def _body(request: Request) -> str:
    """Return the body of a request, which is short."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            raise HTTPException(413)
    return body.decode(errors="replace")


def _refusal(request: Request, error: Exception, templates: Environment) -> Response:
    status, title, message, remedy = 500, "Something broke here", "The console could not draw this page.", ""
    match error:
        case NotFound():
            status, title, message, remedy = 404, "Not found", error.message, error.remedy
        case StoreError():
            status, title, message, remedy = 503, "The store does not answer", error.message, error.remedy
        case DrivetrainError():
            status, title, message, remedy = 400, "That cannot be done", error.message, error.remedy
        case HTTPException(status_code=404):
            status, title, message, remedy = 404, "Not found", f"There is no page at {request.url.path}.", ""
        case HTTPException():
            status, title, message, remedy = error.status_code, "That cannot be done", error.detail, ""
    if request.url.path.startswith("/api/"):
        return Response(
            msgspec.json.encode({"error": message, "remedy": remedy}), status, media_type="application/json"
        )
    page = templates.get_template("refusal.html")
    return HTMLResponse(
        page.render(status=status, title=title, message=message, remedy=remedy, path=request.url.path, section=""),
        status,
    )


def _templates(looked_at: Console, assets: dict[str, Asset], *, has_token: bool) -> Environment:
    stamp = sha256(b"".join(asset.data for asset in assets.values())).hexdigest()[:12]
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= words.FILTERS | {
        "coloured": coloured,
        "as_json": charts.as_json,
        "leading": partial(leading, looked_at),
    }
    environment.globals |= {
        "system_name": looked_at.system.name,
        "navigation": NAVIGATION,
        "asset": lambda name: f"/static/{name}?{stamp}",
        "bar": charts.bar,
        "share_bar": charts.share_bar,
        "spark": charts.spark,
        "histogram": charts.histogram,
        "heat": charts.heat,
        "graph": lambda view: Markup(svg(looked_at.system, parts.marks(view))),  # noqa: S704  # escaped where it is drawn
        "caption": parts.caption,
        "link_to": lambda subject: timeline.link_to(looked_at, subject),
        "topics": timeline.TOPICS,
        "has_token": has_token,
    }
    return environment


def _asset(path: Path) -> Asset:
    return Asset(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream")


def _asked(request: Request) -> dict[str, str]:
    asked = dict(request.query_params) | request.path_params
    # The boxes of a form come one by one.
    ticked = request.query_params.getlist("run")
    return asked | {"runs": ",".join(ticked)} if ticked else asked


def _api_path(path: str) -> str:
    return "/api/overview" if path == "/" else f"/api{path}"


def _section(path: str) -> str:
    first = path.split("/")[1]
    return _BELONGS.get(first, f"/{first}")
