"""A service: how a model answers requests, and how a challenger earns its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from drivetrain.data.duration import duration
from drivetrain.errors import BadSetting, DeclarationError, UnknownName
from drivetrain.serving.cache.terms import LEAST_BYTES, Cache
from drivetrain.serving.jobs.terms import Jobs
from drivetrain.system.caller import caller
from drivetrain.system.declaration import Declared
from drivetrain.system.part import Part
from drivetrain.training.custom import Custom
from drivetrain.training.metrics import names_of

if TYPE_CHECKING:
    from collections.abc import Mapping

# Where a service answers by itself: these paths, and all that are below some of them.
TAKEN = re.compile(
    r"/(docs|feedback|health|healthz|invocations|metrics|openapi\.json|ping|predict|readyz|service\.proto|stream|version"
    r"|v1/(chat/completions|completions|embeddings|models)|(jobs|models|v1/models|v2)(/.*)?)"
)


class Canary(msgspec.Struct, frozen=True, kw_only=True, metaclass=Declared):
    """How a challenger is tried: the share of the entities it answers, and when it is promoted or rolled back.

    Both arms are compared by `metric` over the predictions whose label has arrived. With `at_least` labels in each arm,
    the challenger is promoted when it is better, or surely not much worse, and rolled back when it is worse, each with
    `confidence`. If `within` (such as `"14d"`, in the time of the data) has passed without either, it is promoted
    unless a last test shows it worse: the gate has found it good, and live labels say nothing against it.

    >>> Canary(share=0.2).share
    0.2
    """

    share: float = 0.1
    metric: str = ""
    at_least: int = 500
    confidence: float = 0.95
    within: str = "14d"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process needs to know of a service: plain values, that can be handed to it."""

    name: str
    model: str
    # What the model's own code says about itself.
    about: str = ""
    max_batch: int = 256
    max_rows: int = 10_000
    max_body_bytes: int = 16 << 20
    timeout_s: float = 2.0
    latency_target_ms: float | None = None
    max_concurrent: int = 64
    max_per_s: float = 0.0
    max_streams: int = 64
    max_stream_s: float = 300.0
    max_stream_bytes: int = 16 << 20
    max_sockets: int = 2_000
    keep_images: bool = False
    route: str = ""
    jobs: Jobs = Jobs()
    cache: Cache | None = None
    # The services that its model calls.
    calls: tuple[Terms, ...] = ()

    def serves(self, name: str) -> bool:
        """Return whether a client's name for a model is that of ours, or the service's.

        One that KServe knows has hyphens.

        >>> terms = Terms(name="flowers", model="sklearn_iris")
        >>> terms.serves("sklearn-iris"), terms.serves("flowers"), terms.serves("sklearn.iris")
        (True, True, False)
        """
        return name.replace("-", "_") == self.model or name == self.name


class Service(Part, frozen=True, eq=False):
    """A model's versions behind one address: `Service(lateness, canary=Canary(share=0.1))`.

    Rows that arrive together are answered as one batch; a lone request never waits for others. How many, up to
    `max_batch`, is worked out from how long batches take, so that requests of few rows are answered within
    `latency_target_ms`; what could not be is turned away. Without a target they are batched for a tenth of a second,
    and turned away where they could not be answered within `timeout_s`. A request may have `max_rows` rows and
    `max_body_bytes` bytes, and is given up after `timeout_s`. `jobs` are answered later, in the idle room.

    Of a model that waits for something else, `max_concurrent` requests are asked at once in each worker, and
    `max_per_s` a second, where that is not 0. Of one that streams, `max_streams` streams run at once, each for
    `max_stream_s` at most, and `timeout_s` is for the next piece; as events it may have `max_stream_bytes`.
    `max_sockets` WebSockets may be open.

    With `keep_images`, the images of requests are kept as artifacts under the digests that the log has. With a
    `cache`, who asks the same again is given the answer that is known. At a `route` of your own, such as `/v1/score`,
    a request of JSON is answered with the prediction alone.
    """

    ROLE: ClassVar[str] = "service"

    model: Any
    canary: Canary | None = None
    max_batch: int = 256
    max_rows: int = 10_000
    max_body_bytes: int = 16 << 20
    timeout_s: float = 2.0
    latency_target_ms: float | None = None
    max_concurrent: int = 64
    max_per_s: float = 0.0
    max_streams: int = 64
    max_stream_s: float = 300.0
    max_stream_bytes: int = 16 << 20
    max_sockets: int = 2_000
    keep_images: bool = False
    route: str = ""
    jobs: Jobs = Jobs()
    cache: Cache | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "place", caller())

    def refers(self) -> tuple[Part, ...]:
        return (self.model,)

    def check(self, parts: Mapping[str, Part]) -> None:
        if getattr(self.model, "ROLE", "") != "model":
            raise DeclarationError(
                f"the service {self.name!r} is given {type(self.model).__name__}, which is no model",
                remedy="give it a function that bears @dt.model, a class that bears @dt.predictor, or a dt.onnx(…)",
                place=self.place,
            )
        if self.canary is not None:
            self._check_canary(self.canary)
        limits = {
            "max_batch": (self.max_batch, self.max_batch >= 1, "1 or more"),
            "max_rows": (self.max_rows, self.max_rows >= 1, "1 or more"),
            "max_body_bytes": (self.max_body_bytes, self.max_body_bytes >= 1024, "1024 or more"),
            "timeout_s": (self.timeout_s, self.timeout_s > 0, "above 0"),
            "latency_target_ms": (
                self.latency_target_ms,
                self.latency_target_ms is None or 0 < self.latency_target_ms <= self.timeout_s * 1000,
                "above 0, and not above timeout_s",
            ),
            "max_concurrent": (self.max_concurrent, self.max_concurrent >= 1, "1 or more"),
            "max_per_s": (self.max_per_s, self.max_per_s >= 0, "0 or more"),
            "max_streams": (self.max_streams, 1 <= self.max_streams <= 10_000, "1 to 10,000"),
            "max_stream_bytes": (self.max_stream_bytes, self.max_stream_bytes >= 1024, "1024 or more"),
            "max_sockets": (self.max_sockets, self.max_sockets >= 1, "1 or more"),
            "max_stream_s": (self.max_stream_s, self.max_stream_s > 0, "above 0"),
        }
        self._check_limits(limits)
        self._check_route(self.route)
        self._check_jobs(self.jobs)
        if self.cache is not None:
            self._check_cache(self.cache)

    def _check_route(self, route: str) -> None:
        if not route:
            return
        right = ""
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", route):
            right = "write a path such as `/v1/score`"
        elif TAKEN.fullmatch(route):
            right = "a service answers there by itself: take another one"
        elif isinstance(self.model, Custom) and self.model.form.streams:
            right = f"leave it out: {self.model.name} answers in pieces, at /predict"
        if right:
            raise BadSetting(setting=f"{self.name}.route", found=repr(route), right=right, place=self.place)

    def _check_cache(self, cache: Cache) -> None:
        if not isinstance(cache, Cache):
            raise DeclarationError(
                f"the cache of {self.name!r} is {cache!r}",
                remedy='write for example `cache=dt.Cache(keep="5m")`',
                place=self.place,
            )
        if isinstance(self.model, Custom) and self.model.form.streams:
            raise DeclarationError(
                f"{self.name!r} has a cache, and {self.model.name!r} answers in pieces, which are not kept",
                remedy="leave out `cache=`, or let `predict` return its answer as a whole",
                place=self.place,
            )
        duration(cache.keep, f"{self.name}.cache keep", place=self.place)
        enough = cache.max_bytes >= LEAST_BYTES
        self._check_limits({"cache max_bytes": (cache.max_bytes, enough, f"{LEAST_BYTES:,} or more")})

    def _check_jobs(self, jobs: Jobs) -> None:
        if not isinstance(jobs, Jobs):
            raise DeclarationError(
                f"the jobs of {self.name!r} are {jobs!r}",
                remedy="write for example `jobs=dt.Jobs(max_waiting=100)`",
                place=self.place,
            )
        duration(jobs.keep, f"{self.name}.jobs keep", place=self.place)
        self._check_limits(
            {
                "jobs max_waiting": (jobs.max_waiting, jobs.max_waiting >= 0, "0 or more"),
                "jobs max_rows": (jobs.max_rows, 1 <= jobs.max_rows <= 1_000_000, "1 to 1,000,000"),
                "jobs share": (jobs.share, 0 <= jobs.share <= 1, "0 to 1"),
            }
        )

    def _check_canary(self, canary: Canary) -> None:
        if not isinstance(canary, Canary):
            raise DeclarationError(
                f"the canary of {self.name!r} is {canary!r}",
                remedy="write for example `canary=dt.Canary(share=0.1)`",
                place=self.place,
            )
        known = names_of(self.model.task)
        if canary.metric and canary.metric not in known:
            raise UnknownName(kind="metric of live labels", name=canary.metric, known=known, place=self.place)
        duration(canary.within, f"{self.name}.canary within", place=self.place)
        self._check_limits(
            {
                "canary share": (canary.share, 0 < canary.share < 1, "a number above 0 and below 1"),
                "canary at_least": (canary.at_least, canary.at_least >= 0, "a number of labels, 0 or more"),
                "canary confidence": (canary.confidence, 0.5 < canary.confidence < 1, "above 0.5 and below 1"),
            }
        )

    def _check_limits(self, limits: Mapping[str, tuple[object, bool, str]]) -> None:
        for setting, (found, is_right, right) in limits.items():
            if not is_right:
                raise BadSetting(
                    setting=f"{self.name}.{setting}", found=repr(found), right=f"it must be {right}", place=self.place
                )

    def declared(self) -> dict[str, Any]:
        return {"model": self.model.name}

    def called(self) -> tuple[Service, ...]:
        """Return the services that its model calls."""
        return tuple(part for part in self.model.refers() if isinstance(part, Service))

    def terms(self) -> Terms:
        """Return what a worker process needs to know."""
        shared = [name for name in Terms.__struct_fields__ if name not in ("name", "model", "about", "calls")]
        return Terms(
            name=self.name,
            model=self.model.name,
            about=_ended(self.model.about),
            calls=tuple(each.terms() for each in self.called()),
            **{name: getattr(self, name) for name in shared},
        )


def _ended(line: str) -> str:
    """Return a line of prose as a sentence that others can follow.

    >>> _ended("Tells the language of a text"), _ended("Is it spam?"), _ended("")
    ('Tells the language of a text.', 'Is it spam?', '')
    """
    return line if not line or line[-1] in ".!?:" else f"{line}."
