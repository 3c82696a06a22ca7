"""A model that an engine elsewhere answers for: a Triton server, or one that is compatible with OpenAI's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
import numpy as np

from drivetrain.data.kinds.structure import structure_column
from drivetrain.errors import DeclarationError, MissingExtra, Refused, RequestError, nearest
from drivetrain.system.caller import caller
from drivetrain.training.ready import Belongings, Ready, values_signature
from drivetrain.training.stacked import Put, Stacked, column_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.store.store import Store
    from drivetrain.system.part import Job
    from drivetrain.training.httpx import Engine
    from drivetrain.training.signature import Signature

Speaks = Literal["openai", "triton"]
# Who asks gives up when its own time is up, and knows whether that was the engine's fault. So the engine's connection
# waits for longer, and no client's short time is taken for a failure.
LONGER_S = 1.0
# Where nobody waits for the answer but a program.
OFFLINE_S = 120.0
_DTYPES = {
    "BOOL": "bool", "BYTES": "str", "FP16": "float16", "FP32": "float32", "FP64": "float64",
    **{f"{kind}{bits}": f"{kind.lower()}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)},
}  # fmt: skip


class Remote(Ready, frozen=True, eq=False):
    """A model of an engine elsewhere: `Remote("http://127.0.0.1:8080", model="llama")`.

    `protocol` is `openai` for an engine that answers as OpenAI does (vLLM, llama.cpp), and `triton` for one of the Open
    Inference Protocol. `model` is the engine's own name for it; without one, that of the only model it has. `token_env`
    names the environment variable with the engine's token, which is read when a worker starts and kept nowhere.
    `retries` are for connections that could not be made: nothing that the engine may have begun is asked twice.
    `concurrency` is how many requests of a batch job or a step are with an engine of `openai` at once.

    A run asks the engine what it has, and fails where it does not answer.

    >>> Remote("http://127.0.0.1:8080", model="llama").protocol
    'openai'
    """

    RUNS: ClassVar[bool] = True
    ANSWERS_BY: ClassVar[str] = "its engine"

    address: str
    protocol: Speaks = "openai"
    model: str = ""
    token_env: str = ""
    retries: int = 1
    concurrency: int = 16

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "place", caller())
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise DeclarationError(
                f"the engine's address is {self.address!r}",
                remedy='write it as "http://HOST:PORT", without a name or password: `token_env=` has the token',
                place=self.place,
            )
        if self.protocol not in ("openai", "triton"):
            raise DeclarationError(
                f"the engine's protocol is {self.protocol!r}",
                remedy='write `protocol="openai"` or `protocol="triton"`',
                place=self.place,
            )
        if self.concurrency < 1:
            raise DeclarationError(
                f"the engine's concurrency is {self.concurrency}",
                remedy="write `concurrency=1` or more",
                place=self.place,
            )

    def declared(self) -> dict[str, Any]:
        return {"address": self.address, "protocol": self.protocol, "model": self.model}

    def engine(self) -> Engine:
        """Return the engine, with its token.

        Raises:
            Refused: the token's variable is not set.
            MissingExtra: httpx is not installed.
        """
        try:
            from drivetrain.training.httpx import Engine
        except ImportError as error:
            raise MissingExtra(library="httpx", extra="remote", purpose="an engine elsewhere") from error
        token = os.environ.get(self.token_env, "") if self.token_env else ""
        if self.token_env and not token:
            raise Refused(
                f"the engine's token is to be in {self.token_env}, which is not set",
                remedy=f"set {self.token_env} in the environment of the run and of the server",
            )
        address = self.address.rstrip("/")
        return Engine(address.removesuffix("/v1") if self.protocol == "openai" else address, token=token,
                      retries=self.retries)  # fmt: skip

    def settings_kept(self, job: Job) -> dict[str, Any]:
        engine = self.engine()
        if self.protocol == "triton":
            if not self.model:
                raise Refused("the engine's model is not named", remedy='write `model="NAME"` in dt.Remote')
            told = engine.now(f"/v2/models/{self.model}")
            return {"model": self.model, **{word: told.get(word) for word in ("platform", "inputs", "outputs")}}
        names = [str(each.get("id")) for each in engine.now("/v1/models").get("data", [])]
        if self.model and self.model not in names:
            raise Refused(f"the engine has no model {self.model!r}", remedy=nearest(self.model, names))
        if not self.model and len(names) != 1:
            raise Refused(
                f"the engine has {len(names)} models", remedy=f"name one with `model=`: {', '.join(names[:8])}"
            )
        return {"model": self.model or names[0]}

    def load(self, store: Store, belongings: Belongings) -> Any:
        found = belongings.found
        if self.protocol == "triton":
            return TritonModel(self.engine(), found)
        return OpenAIModel(self.engine(), found["model"], concurrency=self.concurrency)

    def signature(self, model: Any) -> Signature:
        return values_signature(model.inputs, model.outputs, label=model.outputs[0].name)


class TritonModel(Stacked):
    """A model of an engine of the Open Inference Protocol; rows that arrive together go in one request."""

    HEALTH = "/v2/health/ready"
    is_awaited = True

    def __init__(self, engine: Engine, found: dict[str, Any]) -> None:
        self.engine, self._path = engine, f"/v2/models/{found['model']}/infer"
        super().__init__([Put(each["name"], _dtype(each), _shape(each)) for each in found["inputs"]])
        self._types = [each["datatype"] for each in found["inputs"]]
        self.outputs = [column_of(each["name"], _dtype(each), self.inner(_shape(each))) for each in found["outputs"]]

    async def ask(self, rows: Sequence[tuple[Any, ...]], *, timeout_s: float) -> list[Any]:
        """Return what the engine gives for each row; `timeout_s` is for how long somebody waits.

        Raises:
            RequestError: see `Engine.post`.
        """
        answers: list[Any] = [None] * len(rows)
        for places, arrays in self.feeds(rows):
            told = await self.engine.post(self._path, self._body(arrays, timeout_s), timeout_s=timeout_s + LONGER_S)
            self.take(answers, places, self._read(told))
        return answers

    def run(self, arrays: list[Any]) -> list[Any]:
        told = self.engine.now(self._path, body=msgspec.json.decode(self._body(arrays)), timeout_s=OFFLINE_S)
        return self._read(msgspec.json.encode(told))

    def _body(self, arrays: list[Any], timeout_s: float = 0.0) -> bytes:
        inputs = [
            {"name": put.name, "datatype": kind, "shape": list(array.shape), "data": array.reshape(-1).tolist()}
            for put, kind, array in zip(self.puts, self._types, arrays, strict=True)
        ]
        # The engine need not begin what nobody will wait for; in microseconds.
        limits = {"parameters": {"timeout": int(timeout_s * 1e6)}} if timeout_s else {}
        return msgspec.json.encode({"inputs": inputs, **limits})

    def _read(self, data: bytes) -> list[Any]:
        try:
            told = {each["name"]: each for each in msgspec.json.decode(data)["outputs"]}
            found = []
            for column in self.outputs:
                dtype = _DTYPES[told[column.name]["datatype"]]
                flat = np.array(told[column.name]["data"], dtype=object if dtype == "str" else dtype)
                found.append(flat.reshape(told[column.name]["shape"]))
            return found
        except (KeyError, TypeError, ValueError, msgspec.MsgspecError):
            raise RequestError(status=502, message="the engine's answer is not what it said it gives") from None


class OpenAIModel:
    """A model of an engine that answers as OpenAI does; a row is the body of a chat completion."""

    HEALTH = "/v1/models"
    is_awaited = True
    # What checks a request.
    types: ClassVar[dict[str, Any]] = {"request": dict[str, Any]}

    def __init__(self, engine: Engine, model: str, *, concurrency: int) -> None:
        self.engine, self.name, self.concurrency = engine, model, concurrency
        self.inputs = [structure_column("request", dict[str, Any])]
        self.outputs = [structure_column("prediction", dict[str, Any])]

    async def ask(self, rows: Sequence[tuple[Any, ...]], *, timeout_s: float) -> list[Any]:
        """Return the engine's chat completion for each row; `timeout_s` is for how long somebody waits.

        Raises:
            RequestError: see `Engine.post`.
        """
        found = []
        for (request,) in rows:
            body = msgspec.json.encode({**request, "model": self.name, "stream": False})
            told = await self.engine.post("/v1/chat/completions", body, timeout_s=timeout_s + LONGER_S)
            found.append(msgspec.json.decode(told))
        return found

    def answer(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the same outside of any event loop.

        Raises:
            Refused: see `Engine.now`.
        """
        found = self.each(rows)
        for answer in found:
            if isinstance(answer, Refused):
                raise answer
        return found

    def each(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the same, with a `Refused` for each row that the engine refuses.

        Raises:
            Unreachable: see `Engine.each`.
        """
        bodies = [{**request, "model": self.name, "stream": False} for (request,) in rows]
        return self.engine.each("/v1/chat/completions", bodies, timeout_s=OFFLINE_S, concurrency=self.concurrency)

    def complete(self, text: str, **options: Any) -> str:
        """Return what the model says to a text, for those who judge it; `options` are those of a chat completion."""
        body = {"model": self.name, "messages": [{"role": "user", "content": text}], **options}
        told = self.engine.now("/v1/chat/completions", body=body, timeout_s=OFFLINE_S)
        return str(told["choices"][0]["message"]["content"])


def _dtype(put: dict[str, Any]) -> str:
    if put["datatype"] not in _DTYPES:
        raise Refused(
            f"the engine's {put['name']!r} is {put['datatype']}, which no request can hold",
            remedy=f"give it one of {', '.join(_DTYPES)}",
        )
    return _DTYPES[put["datatype"]]


def _shape(put: dict[str, Any]) -> list[int | None]:
    return [None if int(length) < 0 else int(length) for length in put["shape"]]
