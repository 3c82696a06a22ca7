"""An engine elsewhere, asked over HTTP: what it answers, what its errors mean, and when it is left alone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from math import ceil, inf
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from drivetrain.errors import Refused, RequestError, Unreachable
from drivetrain.training.awaiting import finished
from drivetrain.training.trace import trace_now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

# Of a client's own mistake the engine's words are told; of what else goes wrong, only that it did.
_TELLS = (400, 404, 409, 413, 415, 422, 429)
# So many failures in a row, and the engine is left alone for as long, but for one request that tries it.
FAILURES, REST_S = 5, 5.0
CONNECT_S = 2.0
HEALTH_S = 1.0
# An engine without room is asked again after so long, where it does not say itself how long that should be.
_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_LONGEST_WAIT_S = 60.0
_NO_ROOM = (429, 503)
_REMEDY = "start the engine, or correct the address in dt.Remote"


class Breaker:
    """Says whether an engine may be asked: after failures in a row it is left alone for a while.

    >>> breaker = Breaker()
    >>> for _ in range(FAILURES):
    ...     breaker.failed()
    >>> breaker.may_ask(), breaker.may_ask()
    (False, False)
    """

    def __init__(self) -> None:
        self._failures = 0
        self._rests_until = 0.0

    def may_ask(self) -> bool:
        """Return whether a request may go to the engine; after the rest one may, and its outcome decides."""
        if self._failures < FAILURES:
            return True
        if monotonic() < self._rests_until:
            return False
        self._rests_until = monotonic() + REST_S
        return True

    def failed(self) -> None:
        """Count a failure."""
        self._failures += 1
        if self._failures >= FAILURES:
            self._rests_until = monotonic() + REST_S

    def succeeded(self) -> None:
        """Forget the failures before."""
        self._failures = 0


class Engine:
    """An engine at an address, with the token that it asks for. It is asked from one event loop.

    Only what the engine has surely not begun is tried again: a request whose connection was not made.
    """

    def __init__(self, address: str, *, token: str = "", retries: int = 1, noun: str = "the engine") -> None:
        self.address, self._noun = address.rstrip("/"), noun
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._retries = retries
        self._client: httpx.AsyncClient | None = None
        self.breaker = Breaker()
        self._health: tuple[float, str] = (0.0, "")

    def now(self, path: str, *, timeout_s: float = 10.0, body: Any = None) -> Any:
        """Return what the engine answers to a GET, or to a POST of a body, outside of any event loop.

        Raises:
            Unreachable: there is nobody at its address.
            Refused: it does not answer, or not with JSON.
        """
        try:
            with httpx.Client(timeout=timeout_s, trust_env=False, headers=self._headers) as client:
                url = self.address + path
                found = client.get(url) if body is None else client.post(url, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(f"the engine at {self.address} does not answer: {error}", remedy=_REMEDY) from error
        except httpx.HTTPError as error:
            raise Refused(f"the engine at {self.address} does not answer: {error}", remedy=_REMEDY) from error
        return self._told(found, path)

    def each(self, path: str, bodies: Sequence[Any], *, timeout_s: float, concurrency: int) -> list[Any]:
        """Return what the engine answers to POSTs of bodies, in their order, and a `Refused` for each that it refuses.

        `concurrency` of them are with the engine at once. Where it has no room (429, 503) it is asked again, after as
        long as it says.

        Raises:
            Unreachable: there is nobody at its address, or no room for a minute and more.
        """
        return finished(self._each(path, bodies, timeout_s, concurrency))

    async def _each(self, path: str, bodies: Sequence[Any], timeout_s: float, concurrency: int) -> list[Any]:
        room = asyncio.Semaphore(concurrency)
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_S)
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)

        async def asked(body: Any) -> Any:
            async with room:
                return await self._asked(client, path, body)

        try:
            async with (
                httpx.AsyncClient(headers=self._headers, trust_env=False, limits=limits, timeout=timeout) as client,
                asyncio.TaskGroup() as group,
            ):
                tasks = [group.create_task(asked(body)) for body in bodies]
        except ExceptionGroup as error:  # the others are cancelled with the first that finds nobody
            raise error.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _asked(self, client: httpx.AsyncClient, path: str, body: Any) -> Any:
        waits = iter(_WAITS_S)
        while True:
            try:
                found = await client.post(self.address + path, json=body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise Unreachable(f"the engine at {self.address} does not answer: {error}", remedy=_REMEDY) from error
            except httpx.HTTPError as error:
                told = str(error) or type(error).__name__
                return Refused(f"the engine at {self.address} does not answer: {told}", remedy=_REMEDY)
            if found.status_code not in _NO_ROOM:
                break
            wait_s = next(waits, None)
            if wait_s is None:
                raise Unreachable(
                    f"the engine at {self.address} has no room ({found.status_code}): {_words(found)}",
                    remedy="try again later, or with a smaller `concurrency=` in dt.Remote",
                )
            asked_s = _retry_after_s(found)
            await asyncio.sleep(wait_s if asked_s is None else min(asked_s, _LONGEST_WAIT_S))
        try:
            return self._told(found, path)
        except Refused as error:
            return error

    def _told(self, found: httpx.Response, path: str) -> Any:
        if found.status_code != 200:
            words = _words(found) if found.status_code in _TELLS else ""
            raise Refused(
                f"the engine at {self.address} answers {found.status_code} to {path}{f': {words}' if words else ''}",
                remedy=_REMEDY,
            )
        try:
            return msgspec.json.decode(found.content)
        except msgspec.DecodeError as error:
            raise Refused(f"the engine at {self.address} answers {path} with no JSON", remedy=_REMEDY) from error

    async def health(self, path: str) -> str:
        """Return what is amiss with the engine, empty where it answers; asked once a second at most."""
        checked_at, told = self._health
        if monotonic() - checked_at < HEALTH_S:
            return told
        try:
            found = await self._opened().get(self.address + path, timeout=HEALTH_S)
            told = "" if found.status_code < 400 else f"{self._noun} answers {found.status_code} to {path}"
        except httpx.HTTPError as error:
            told = f"{self._noun} does not answer: {type(error).__name__}"
        self._health = (monotonic(), told)
        return told

    async def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return what the engine answers to a body of JSON.

        Raises:
            RequestError: it refuses the request (its own status), has no room and says when it will have (503), fails
                (502), cannot be reached (503) or takes too long (504).
        """
        async with self.stream(path, body, timeout_s=timeout_s) as found:
            try:
                return await found.aread()
            except httpx.HTTPError as error:
                raise self._failed(error, timeout_s) from None

    @asynccontextmanager
    async def stream(
        self, path: str, body: bytes, *, timeout_s: float, until: float = inf
    ) -> AsyncGenerator[httpx.Response, None]:
        """Give the engine's answer as it comes; leaving early closes the connection, which stops the engine.

        `timeout_s` is for each wait: for the head of the answer, and for each part of it. The head is not awaited
        beyond the moment `until`, by `time.monotonic`.

        Raises:
            RequestError: as for `post`.
            TimeoutError: the moment has come.
        """
        found = await self._sent(path, body, {}, timeout_s, until=until)
        try:
            if found.status_code >= 400:
                await self._refuse(found)
            self.breaker.succeeded()
            yield found
        finally:
            await found.aclose()

    async def ask(self, path: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float) -> httpx.Response:
        """Return what it answers to a body of JSON, read to its end, whatever the status is.

        Raises:
            RequestError: it cannot be reached (503), breaks off (502) or takes too long (504).
        """
        found = await self._sent(path, body, headers, timeout_s)
        try:
            await found.aread()
        except httpx.HTTPError as error:
            raise self._failed(error, timeout_s) from None
        finally:
            await found.aclose()
        self.breaker.succeeded()
        return found

    async def _sent(
        self, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float, *, until: float = inf
    ) -> httpx.Response:
        """Return an answer whose body is still to be read."""
        if not self.breaker.may_ask():
            message = f"{self._noun} has failed several times in a row, and rests a moment"
            raise RequestError(status=503, message=message)
        client = self._opened()
        timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        trace = trace_now()
        headers = {"content-type": "application/json", **headers, **(trace.headers() if trace else {})}
        for attempt in range(self._retries + 1):
            request = client.build_request("POST", self.address + path, content=body, headers=headers, timeout=timeout)
            try:
                async with _within(until):
                    return await client.send(request, stream=True)
            except httpx.ConnectError as error:
                if attempt == self._retries:
                    raise self._failed(error, timeout_s) from None
            except httpx.HTTPError as error:
                raise self._failed(error, timeout_s) from None
        raise AssertionError("the last attempt raises")

    async def parts(self, found: httpx.Response, timeout_s: float, *, until: float = inf) -> AsyncIterator[str]:
        """Give the lines of an answer as they come, up to the moment `until` by `time.monotonic`.

        Raises:
            RequestError: it breaks off (502), or the next part takes too long (504).
            TimeoutError: the moment has come.
        """
        lines = found.aiter_lines()
        try:
            while True:
                async with _within(until):
                    line = await anext(lines, None)
                if line is None:
                    return
                yield line
        except httpx.HTTPError as error:
            raise self._failed(error, timeout_s) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(headers=self._headers, trust_env=False, limits=httpx.Limits())
        return self._client

    async def _refuse(self, found: httpx.Response) -> None:
        status = found.status_code
        retry_after_s = _retry_after_s(found)
        if status == 503 and retry_after_s is not None:
            self.breaker.succeeded()  # it is well, and has too much to do
            message = "the engine has no room at the moment"
            raise RequestError(status=503, message=message, retry_after_s=retry_after_s)
        if status >= 500:
            self.breaker.failed()
            raise RequestError(status=502, message=f"the engine failed on this request (its status is {status})")
        self.breaker.succeeded()
        if status not in _TELLS:
            message = f"the engine does not take requests from this service (its status is {status})"
            raise RequestError(status=502, message=message)
        try:
            await found.aread()
        except httpx.HTTPError:
            words = ""
        else:
            words = _words(found)
        message = words or f"the engine refuses this request ({status})"
        raise RequestError(status=status, message=message, retry_after_s=1 if retry_after_s is None else retry_after_s)

    def _failed(self, error: httpx.HTTPError, timeout_s: float) -> RequestError:
        self.breaker.failed()
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            return RequestError(status=503, message=f"{self._noun} cannot be reached; try again in a moment")
        if isinstance(error, httpx.TimeoutException):
            return RequestError(status=504, message=f"{self._noun} gave nothing for {timeout_s:g} s")
        return RequestError(status=502, message=f"{self._noun} broke the connection off")


def _within(until: float) -> asyncio.Timeout:
    """Return what ends a block with a TimeoutError at a moment by `time.monotonic`."""
    return asyncio.timeout(None if until == inf else max(0.0, until - monotonic()))


def _retry_after_s(found: httpx.Response) -> int | None:
    """Return after how many seconds an engine wants to be asked again; None where it does not say."""
    told = found.headers.get("retry-after", "")
    if told.isascii() and told.isdecimal() and len(told) < 7:
        return int(told)
    try:
        return max(0, ceil(parsedate_to_datetime(told).timestamp() - time()))
    except ValueError:
        return None


def _words(found: httpx.Response) -> str:
    """Return what an engine says of a refusal, in the forms of OpenAI and of Triton; empty where that is nothing."""
    try:
        told = msgspec.json.decode(found.content)
    except msgspec.DecodeError:
        return ""
    error = told.get("error") if isinstance(told, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    return str(error)[:500] if error else ""
