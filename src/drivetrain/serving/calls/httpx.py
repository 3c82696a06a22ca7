"""A called service at an address: asked over HTTP, with what is left of the time."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import CallFailed, RequestError
from drivetrain.serving.calls.exchange import failed
from drivetrain.serving.calls.prediction import Prediction, Told
from drivetrain.serving.patience import MILLISECONDS
from drivetrain.training.httpx import Engine

if TYPE_CHECKING:
    import httpx

    from drivetrain.serving.calls.addresses import Addresses
    from drivetrain.serving.service import Terms


class _Refusal(msgspec.Struct):
    error: str = ""
    problems: list[dict[str, Any]] = []
    error_id: str = ""


class Elsewhere:
    """A called service in a server of its own; a connection that cannot be made is tried twice, and nothing else."""

    def __init__(self, service: Terms, addresses: Addresses) -> None:
        self._name, self._model = service.name, service.model
        token = addresses.tokens.get(service.name, "")
        self._engine = Engine(addresses.urls[service.name], token=token, noun="its server")

    async def ask(self, body: bytes, *, is_many: bool, until: float) -> list[Prediction[Any]]:
        left_s = until - monotonic()
        headers = {MILLISECONDS: f"{left_s * 1000:.1f}"}
        try:
            async with asyncio.timeout(left_s):
                # Longer by a second: who has little time says nothing of how well the other is.
                found = await self._engine.ask("/predict", body, headers, timeout_s=left_s + 1)
        except TimeoutError:
            raise CallFailed(service=self._name, called_status=504, reason=f"it had {left_s:.3g} s") from None
        except RequestError as error:
            raise failed(self._name, error) from error
        if found.status_code != 200:
            raise failed(self._name, _refusal(found))
        return self._read(found.content, is_many)

    def _read(self, content: bytes, is_many: bool) -> list[Prediction[Any]]:
        try:
            if is_many:
                answers = msgspec.json.decode(content, type=Told).predictions
            else:
                answers = [msgspec.json.decode(content, type=Prediction[Any])]
        except msgspec.DecodeError as error:
            raise CallFailed(service=self._name, called_status=502, reason=f"its answer is none: {error}") from error
        model = answers[0].version.partition("@")[0]
        if model != self._model:
            reason = f"its address is that of another service, where {model} answers and not {self._model}"
            raise CallFailed(service=self._name, called_status=502, reason=reason)
        return answers

    def standing(self) -> tuple[Any, str]:
        return self._engine.address, ""

    async def health(self) -> str:
        return await self._engine.health("/readyz")

    async def close(self) -> None:
        await self._engine.close()


def amiss_at(service: Terms, addresses: Addresses) -> str:
    """Ask a called service at its address, and return what is amiss with it; empty where it is ready."""

    async def asked() -> str:
        elsewhere = Elsewhere(service, addresses)
        try:
            return await elsewhere.health()
        finally:
            await elsewhere.close()

    return asyncio.run(asked())


def _refusal(found: httpx.Response) -> RequestError:
    try:
        told = msgspec.json.decode(found.content, type=_Refusal)
    except msgspec.DecodeError:
        told = _Refusal()
    wait = found.headers.get("retry-after", "")
    return RequestError(
        status=found.status_code,
        message=told.error or "it does not say why",
        problems=told.problems,
        error_id=told.error_id,
        retry_after_s=int(wait) if wait.isdigit() else 1,
    )
