"""The server's routes, as an RSGI application: one in each worker process."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain import __version__
from drivetrain.errors import RequestError, nearest
from drivetrain.serving.batching import Batcher, Failure
from drivetrain.serving.counters import Counters, exposition, totals
from drivetrain.serving.feedback import FeedbackLog, read_labels
from drivetrain.serving.journal import Journal, Names, folder_of
from drivetrain.serving.watcher import Watcher
from drivetrain.store.record import new_id

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from drivetrain.serving.live import Live
    from drivetrain.serving.service import Terms

LOG = logging.getLogger("drivetrain.serving")
Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, str]

JSON: Headers = [("content-type", "application/json")]
HTML: Headers = [
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
     "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
]  # fmt: skip
PROMETHEUS: Headers = [("content-type", "text/plain; version=0.0.4; charset=utf-8")]
# A client that is cut off while it sends does not see why: so many times the limit are let pass by unread.
PATIENCE = 8
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


class App:
    """Answers requests to a service from this process.

    `hosts` are the names that the Host header may give; empty allows all. `token` is what every request must carry,
    save those for /healthz and /readyz; empty asks for none.
    """

    def __init__(self, service: Terms, store_path: Path, *, token: str = "", hosts: tuple[str, ...] = ()) -> None:
        self.service, self._store_path = service, store_path
        self._authorization = f"Bearer {token}".encode() if token else b""
        self._hosts = frozenset(hosts)
        self._known_hosts: set[str] = set()
        self._max_body = service.max_body_bytes
        self._gets: dict[str, Callable[[], Answer]] = {
            "/": self.page,
            "/docs": self.page,
            "/healthz": self.health,
            "/readyz": self.readiness,
            "/metrics": self.metrics,
            "/openapi.json": self.openapi,
            "/version": self.version,
        }
        self._posts: dict[str, Callable[[bytes], Awaitable[Answer]]] = {
            "/feedback": self.feedback,
            "/predict": self.predict,
        }

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        from drivetrain.store.store import Store

        store = Store.open(self._store_path)
        folder = folder_of(store, self.service.name)
        self._folder = folder
        self._counters = Counters(folder)
        self._journal = Journal(folder, "predictions")
        self._feedback = FeedbackLog(loop, Journal(folder, "feedback"), self._counters)
        self._batcher = Batcher(
            loop,
            journal=self._journal,
            names=Names(),
            counters=self._counters,
            max_batch=self.service.max_batch,
            timeout_s=self.service.timeout_s,
        )
        self._watcher = Watcher(loop, store, self.service, self._counters, self._tend)
        self._watcher.start()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watcher.stop()
        self._feedback.close()
        self._batcher.close()
        self._journal.close()
        self._counters.close()

    def _tend(self) -> None:
        self._journal.close_if_old()
        self._feedback.tend()

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        started = monotonic_ns()
        try:
            path = scope.path
            headers = scope.headers
            self._admit(scope, headers, path)
            if path == "/predict" and scope.method == "POST":
                status, fields, body = await self.predict(await self._body(proto, headers))
            else:
                status, fields, body = await self._route(scope.method, path, proto, headers)
        except RequestError as error:
            status, fields, body = refusal(error)
        except Exception as error:  # whatever went wrong here is ours, and the client still gets an answer
            error_id = new_id("error")
            LOG.error("%s: %s %s", error_id, scope.method, scope.path, exc_info=error)
            message = f"the server failed on this request; its log has more under {error_id}"
            status, fields, body = 500, JSON, _text({"error": message, "error_id": error_id})
        # Counted before the client has the answer, so that whoever reads the counters next finds it there.
        self._counters.answered(status, started)
        proto.response_str(status, fields, body)

    def _admit(self, scope: Any, headers: Any, path: str) -> None:
        """Refuse a request that a foreign page made a browser send, or that lacks the token."""
        if self._hosts:
            host = scope.authority or headers.get("host") or ""
            if host not in self._known_hosts:
                name = host if host.endswith("]") else host.rpartition(":")[0] or host
                if name.lower() not in self._hosts:
                    raise RequestError(status=421, message=f"this server does not answer for the host {host[:100]!r}")
                if len(self._known_hosts) < 64:
                    self._known_hosts.add(host)
        if self._authorization and path not in ("/healthz", "/readyz"):
            given = (headers.get("authorization") or "").encode(errors="replace")
            if not hmac.compare_digest(given, self._authorization):
                message = "the token is missing or wrong: send `Authorization: Bearer TOKEN`"
                raise RequestError(status=401, message=message)

    async def _body(self, proto: Any, headers: Any) -> bytes:
        kind = headers.get("content-type") or ""
        if kind != "application/json" and kind.partition(";")[0].strip().lower() != "application/json":
            found = f"not {kind[:60]!r}" if kind else "and the request does not name a type"
            raise RequestError(status=415, message=f"send JSON with `Content-Type: application/json`, {found}")
        length = headers.get("content-length")
        if length is not None and int(length) <= self._max_body:
            body: bytes = await proto()
            return body
        return await self._limited(proto)

    async def _limited(self, proto: Any) -> bytes:
        """Return a body whose length is not known or too large, without ever holding more than is allowed."""
        parts, size = [], 0
        async for part in proto:
            size += len(part)
            if size <= self._max_body:
                parts.append(bytes(part))
            elif size > self._max_body * PATIENCE:
                break
        if size > self._max_body:
            raise RequestError(status=413, message=f"the body is too large; at most {self._max_body:,} bytes are read")
        return b"".join(parts)

    async def _route(self, method: str, path: str, proto: Any, headers: Any) -> Answer:
        if path in self._gets:
            if method not in ("GET", "HEAD"):
                return _wrong_method(method, path, "GET")
            answer = self._gets[path]()
            return answer if method == "GET" else (*answer[:2], "")
        if path in self._posts:
            if method != "POST":
                return _wrong_method(method, path, "POST")
            return await self._posts[path](await self._body(proto, headers))
        known = [*self._gets, *self._posts]
        raise RequestError(status=404, message=f"there is nothing at {path[:100]}: {nearest(path, known)}")

    def _live(self) -> Live:
        live = self._watcher.live
        if live is None:
            reason = self._watcher.problem or f"{self.service.model} has no champion yet"
            raise RequestError(status=503, message=f"{self.service.name} cannot answer: {reason}")
        return live

    async def predict(self, body: bytes) -> Answer:
        """Answer one object, or an array of them."""
        live = self._live()
        if body[:1] == b"[" or body.lstrip()[:1] == b"[":
            rows, texts = live.reader.many(body, limit=self.service.max_rows)
            if not rows:
                return 200, JSON, '{"predictions":[]}'
            batch, number = self._batcher.add(live, rows, [_one_line(bytes(text)) for text in texts], single=False)
        else:
            row = live.reader.one(body)
            batch, number = self._batcher.add(live, (row,), (_one_line(body),), single=True)
        await batch.done
        reply = batch.replies[number]
        if isinstance(reply, str):
            return 200, JSON, reply
        return failed(reply)

    async def feedback(self, body: bytes) -> Answer:
        """Keep labels; they survive a power cut when this answers."""
        labels = read_labels(body, self._live().champion.version.signature, limit=self.service.max_rows)
        reason = await self._feedback.keep(labels) if labels else ""
        if reason:
            raise RequestError(status=503, message=f"the labels could not be kept, send them again later: {reason}")
        return 200, JSON, _text({"accepted": len(labels)})

    def health(self) -> Answer:
        """Tell that the process lives."""
        return 200, JSON, '{"status":"alive"}'

    def readiness(self) -> Answer:
        """Tell whether there is a version to answer with, which, and what is amiss."""
        live = self._watcher.live
        told: dict[str, Any] = {"status": "ready" if live else "waiting", "versions": live.versions() if live else {}}
        if live is not None and live.challenger is not None:
            told["canary_share"] = live.want.share
        problems = [each for each in (self._watcher.problem, self._log_problem()) if each]
        if live is None and not problems:
            problems = [f"{self.service.model} has no champion yet"]
        if problems:
            told["problems"] = problems
        return 200 if live else 503, JSON, _text(told)

    def _log_problem(self) -> str:
        error = self._batcher.log_error
        return f"predictions are not logged at the moment: {error}" if error else ""

    def metrics(self) -> Answer:
        """Give the counters of all workers to Prometheus."""
        live = self._watcher.live
        return 200, PROMETHEUS, exposition(totals(self._folder), self.service.name, live.versions() if live else {})

    def version(self) -> Answer:
        """Tell which versions answer, and in which form they run."""
        live = self._live()
        arms = {"champion": live.champion, "canary": live.challenger}
        told = {
            arm: {
                "version": each.version.id,
                "created_at": each.version.created_at,
                "run": each.version.run,
                "build": each.build,
                "metrics": each.version.metrics,
            }
            for arm, each in arms.items()
            if each is not None
        }
        return 200, JSON, _text({"service": self.service.name, "drivetrain": __version__, **told})

    def openapi(self) -> Answer:
        """Describe the address in OpenAPI 3.1."""
        from drivetrain.serving.openapi import description

        return 200, JSON, _text(description(self.service, self._live()))

    def page(self) -> Answer:
        """Show the service to people."""
        from drivetrain.serving.page import page

        return 200, HTML, page(self.service, self._watcher.live, self._watcher.problem)


def _one_line(text: bytes) -> msgspec.Raw:
    """Return JSON without line breaks: the log has a batch a line, and within a text JSON has none."""
    return msgspec.Raw(text.replace(b"\n", b" ") if b"\n" in text else text)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _wrong_method(method: str, path: str, right: str) -> Answer:
    return 405, [*JSON, ("allow", right)], _text({"error": f"{path} takes {right}, not {method}"})


def refusal(error: RequestError) -> Answer:
    """Return the answer that tells a client what is wrong with its request."""
    told: dict[str, Any] = {"error": error.message}
    if error.problems:
        told["problems"] = error.problems
    fields = JSON
    if error.status == 401:
        fields = [*JSON, ("www-authenticate", "Bearer")]
    elif error.status == 503:
        fields = [*JSON, ("retry-after", "1")]
    return error.status, fields, _text(told)


def failed(failure: Failure) -> Answer:
    """Return the answer to a request that got no prediction."""
    if failure.error_id:
        return failure.status, JSON, _text({"error": failure.message, "error_id": failure.error_id})
    return refusal(RequestError(status=failure.status, message=failure.message))
