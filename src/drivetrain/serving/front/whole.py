"""What a server of several services answers for all of them together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from drivetrain import __version__
from drivetrain.serving.counters import merged
from drivetrain.serving.media import UNNAMED
from drivetrain.serving.native import HTML, PROMETHEUS
from drivetrain.serving.oip import EXTENSIONS, PROJECT, index_of, statistics_of
from drivetrain.serving.openai import models_of
from drivetrain.serving.route import JSON, Answer, Request, Route, as_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.serving.app import App

_BODIES = ("application/json", *UNNAMED)


class Whole:
    """Answers what is asked of the server, and of no service in particular."""

    def __init__(self, apps: Sequence[App]) -> None:
        self._apps = apps
        self._desks = [app.desk for app in apps]

    def routes(self) -> list[Route]:
        """Return what it answers."""
        return [
            Route("GET", "/", self.page, gives="text/html"),
            Route("GET", "/docs", self.page, gives="text/html"),
            Route("GET", "/healthz", self.health),
            Route("GET", "/readyz", self.readiness),
            Route("GET", "/metrics", self.metrics, gives="text/plain"),
            Route("GET", "/v1/models", self.models),
            Route("GET", "/v2", self.server),
            Route("GET", "/v2/health/live", self.alive),
            Route("GET", "/v2/health/ready", self.ready),
            Route("GET", "/v2/models/stats", self.statistics),
            Route("POST", "/v2/repository/index", self.index, takes=_BODIES),
            *(Route("GET", f"/{app.service.name}", self.moved) for app in self._apps),
        ]

    async def page(self, request: Request) -> Answer:
        """Show the services to people."""
        from drivetrain.serving.front.listing import listing

        return Answer(200, HTML, listing(self._desks))

    async def moved(self, request: Request) -> Answer:
        """Lead to the page of a service: what it refers to stands below its name."""
        return Answer(307, [("location", f"{request.path[1:]}/")], "")

    async def health(self, request: Request) -> Answer:
        """Tell that the process lives."""
        return Answer(200, JSON, '{"status":"alive"}')

    async def readiness(self, request: Request) -> Answer:
        """Tell whether each service has a version to answer with, which, and what is amiss."""
        found = await asyncio.gather(*(desk.standing() for desk in self._desks))
        services = {desk.service.name: told for desk, told in zip(self._desks, found, strict=True)}
        waiting = [name for name, told in services.items() if told["status"] != "ready"]
        problems = [f"{name}: {each}" for name, told in services.items() for each in told.get("problems", [])]
        told: dict[str, Any] = {"status": "waiting" if waiting else "ready"}
        told |= ({"waiting": waiting} if waiting else {}) | ({"problems": problems} if problems else {})
        return Answer(503 if waiting else 200, JSON, as_json(told | {"services": services}))

    async def metrics(self, request: Request) -> Answer:
        """Give the counters of all services and workers to Prometheus."""
        desks = self._desks[0].exchange.desks
        texts = [*(desk.metrics() for desk in desks), *(app.more_metrics() for app in self._apps)]
        return Answer(200, PROMETHEUS, merged(texts))

    async def models(self, request: Request) -> Answer:
        """List the models: all by name, and those that speak OpenAI's protocol as its clients know them."""
        told: dict[str, Any] = {"models": [desk.service.model for desk in self._desks]}
        engines = [model for desk in self._desks for model in models_of(desk)]
        return Answer(200, JSON, as_json(({"object": "list", "data": engines} if engines else {}) | told))

    async def server(self, request: Request) -> Answer:
        """Tell who answers, and what is understood beyond the core of the protocol."""
        return Answer(200, JSON, as_json({"name": PROJECT, "version": __version__, "extensions": EXTENSIONS}))

    async def alive(self, request: Request) -> Answer:
        """Tell that the process lives."""
        return Answer(200, JSON, '{"live":true}')

    async def ready(self, request: Request) -> Answer:
        """Tell whether each service has a version to answer with."""
        for desk in self._desks:
            desk.live()
        return Answer(200, JSON, '{"ready":true}')

    async def statistics(self, request: Request) -> Answer:
        """Tell how much was answered by the models that answer now."""
        told = [each for desk in self._desks if desk.answering for each in statistics_of(desk)]
        return Answer(200, JSON, as_json({"model_stats": told}))

    async def index(self, request: Request) -> Answer:
        """List the versions that answer."""
        return Answer(200, JSON, as_json([each for desk in self._desks for each in index_of(desk)]))
