"""The Open Inference Protocol, version 2, over gRPC, with what the clients of Triton and KServe call."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from drivetrain import __version__
from drivetrain.errors import RequestError
from drivetrain.serving.batching import Reply
from drivetrain.serving.encoding import QUICK_BYTES
from drivetrain.serving.grpc.method import Context, Method, control_in, patience, read, tell_status
from drivetrain.serving.grpc.ordered import in_order
from drivetrain.serving.grpc.status import message_of
from drivetrain.serving.live import Live
from drivetrain.serving.requests import unfit
from drivetrain.serving.tensors import (
    Described,
    Tensor,
    from_bytes,
    from_texts,
    from_values,
    inputs_of,
    rows_from,
    to_bytes,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from drivetrain.serving.cache.control import Control
    from drivetrain.serving.desk import Desk
    from drivetrain.serving.grpc.proto import Protos
    from drivetrain.serving.requests import Row

SERVICE = "/inference.GRPCInferenceService/"
# Which field of the typed contents has the elements of a datatype; the others come as bytes only.
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# What would be silently wrong if it were passed over.
_UNKNOWN_PARAMETERS = ("sequence_id", "classification")
_EXTENSIONS = ("model_configuration", "model_repository", "statistics")
# Messages of one stream that are worked on at once.
AT_ONCE = 256


class Inference:
    """Answers in tensors. The model goes by the name it is asked for by, and a version by its number."""

    def __init__(self, desk: Desk, protos: Protos) -> None:
        self.desk, self._protos = desk, protos

    def methods(self) -> dict[str, Method]:
        """Return what it answers."""
        return {
            f"{SERVICE}ServerLive": Method(one=self.server_live, is_open=True),
            f"{SERVICE}ServerReady": Method(one=self.server_ready, is_open=True),
            f"{SERVICE}ModelReady": Method(one=self.model_ready),
            f"{SERVICE}ServerMetadata": Method(one=self.server_metadata),
            f"{SERVICE}ModelMetadata": Method(one=self.model_metadata),
            f"{SERVICE}ModelInfer": Method(one=self.infer),
            f"{SERVICE}ModelStreamInfer": Method(stream=self.infer_stream),
            f"{SERVICE}ModelConfig": Method(one=self.model_config),
            f"{SERVICE}ModelStatistics": Method(one=self.statistics),
            f"{SERVICE}RepositoryIndex": Method(one=self.index),
        }

    async def server_live(self, given: bytes, context: Context) -> bytes:
        """Tell that the process lives."""
        return self._told("ServerLiveResponse", live=True)

    async def server_ready(self, given: bytes, context: Context) -> bytes:
        """Tell whether there is a version to answer with."""
        return self._told("ServerReadyResponse", ready=self.desk.answering is not None)

    async def model_ready(self, given: bytes, context: Context) -> bytes:
        """Tell whether a model, or one version of it, answers."""
        request = self._read("ModelReadyRequest", given)
        if not self.desk.service.serves(request.name):
            raise _unknown_model(request.name, self.desk.service.model)
        live = self.desk.answering
        is_ready = live is not None and (not request.version or request.version in _numbers(live))
        return self._told("ModelReadyResponse", ready=is_ready)

    async def server_metadata(self, given: bytes, context: Context) -> bytes:
        """Tell what this server is."""
        return self._told("ServerMetadataResponse", name="drivetrain", version=__version__, extensions=_EXTENSIONS)

    async def model_metadata(self, given: bytes, context: Context) -> bytes:
        """Tell which tensors the model takes and gives."""
        request = self._read("ModelMetadataRequest", given)
        live = self._live(request.name, request.version)
        return self._told(
            "ModelMetadataResponse",
            name=request.name,
            versions=_numbers(live),
            platform=live.platform(live.named(request.version)[0]),
            inputs=_shapes(inputs_of(live.reader)),
            outputs=_shapes(live.outputs.described),
        )

    async def model_config(self, given: bytes, context: Context) -> bytes:
        """Tell the same as Triton's clients ask for it; the first dimension is the number of rows."""
        request = self._read("ModelConfigRequest", given)
        live = self._live(request.name, request.version)
        lacking = dict(zip(live.reader.names, live.reader.may_lack, strict=True))
        config = {
            "name": request.name,
            "platform": live.platform(live.named(request.version)[0]),
            "backend": "drivetrain",
            "input": [{**_configured(each), "optional": lacking[each.name]} for each in inputs_of(live.reader)],
            "output": [_configured(each) for each in live.outputs.described],
            "model_transaction_policy": {"decoupled": False},
        }
        return self._told("ModelConfigResponse", config=config)

    async def statistics(self, given: bytes, context: Context) -> bytes:
        """Tell what all workers have answered, over every protocol."""
        request = self._read("ModelStatisticsRequest", given)
        live = self._live(request.name or self.desk.service.model, request.version)
        sums = self.desk.totals()
        found = {
            "name": request.name or self.desk.service.model,
            "version": _numbers(live)[0],
            "inference_count": sums.rows,
            "execution_count": sums.batches,
            "inference_stats": {
                "success": {"count": sums.answered_2xx, "ns": int(sums.latency_s * 1e9)},
                "fail": {"count": sums.answered_4xx + sums.answered_5xx},
                "compute_infer": {"count": sums.batches, "ns": int(sums.busy_s * 1e9)},
            },
        }
        return self._told("ModelStatisticsResponse", model_stats=[found])

    async def index(self, given: bytes, context: Context) -> bytes:
        """List the versions that answer."""
        live = self.desk.answering
        numbers = _numbers(live) if live else []
        ready = [{"name": self.desk.service.model, "version": number, "state": "READY"} for number in numbers]
        waiting = [{"name": self.desk.service.model, "state": "UNAVAILABLE", "reason": self.desk.problem}]
        is_ready_wanted = self._read("RepositoryIndexRequest", given).ready
        return self._told("RepositoryIndexResponse", models=ready or ([] if is_ready_wanted else waiting))

    async def infer(self, given: bytes, context: Context) -> bytes:
        """Answer the rows of a request."""
        request = self._read("ModelInferRequest", given)
        control = control_in(context, self.desk)
        response = await self._inferred(request, len(given), context, control)
        tell_status(context, control)
        return bytes(response.SerializeToString())

    async def infer_stream(self, given: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answer each request of a stream, in order; one that is refused does not end the stream."""
        async for answer in in_order(given, partial(self.answered, context), at_once=AT_ONCE):
            yield answer

    async def answered(self, context: Context, message: bytes) -> bytes:
        """Answer a request of a stream, or tell why it is refused."""
        name = ""
        try:
            request = self._read("ModelInferRequest", message)
            name = request.id
            response = await self._inferred(request, len(message), context, control_in(context, self.desk))
        except RequestError as error:
            return self.refused(error, name)
        if "triton_enable_empty_final_response" in request.parameters:
            response.parameters["triton_final_response"].bool_param = True
        return self._told("ModelStreamInferResponse", infer_response=response)

    def refused(self, error: RequestError, name: str) -> bytes:
        """Return that the request of this name is refused, within a stream that goes on."""
        return self._told("ModelStreamInferResponse", error_message=message_of(error), infer_response={"id": name})

    async def _inferred(self, request: Any, size_bytes: int, context: Context, control: Control | None) -> Any:
        live = self._live(request.model_name, request.model_version)
        if request.model_version:
            live = live.pinned(request.model_version)
        within_s = patience(context, self.desk.service.timeout_s)
        named = {*request.parameters, *(name for each in request.outputs for name in each.parameters)}
        if strange := [name for name in _UNKNOWN_PARAMETERS if name in named]:
            raise _bad(strange[0], "a parameter that means nothing here", "a request without it")
        wanted = [each.name for each in request.outputs]
        live.outputs.check(wanted)  # an unknown output is refused before the model is asked
        given = (request, live, self.desk.service.max_rows)
        rows = _rows(*given) if size_bytes <= QUICK_BYTES else await self.desk.aside(_rows, *given)
        reply = await self.desk.ask(live, rows, within_s=within_s, control=control)
        outputs = live.outputs.tensors(reply, wanted)
        # In the form of the request: clients that send typed contents look for an answer there.
        is_typed = any(each.HasField("contents") for each in request.inputs)
        is_typed = is_typed and all(each.datatype in _CONTENTS for each in outputs)
        return self._message("ModelInferResponse")(
            model_name=request.model_name,
            model_version=_number_of(reply, live),
            id=request.id,
            outputs=[_typed(each) for each in outputs] if is_typed else _shapes(outputs),
            raw_output_contents=[] if is_typed else [to_bytes(each) for each in outputs],
        )

    def _live(self, model: str, version: str) -> Live:
        """Return what answers for a model; `version`, where one is named, must be among it."""
        if not self.desk.service.serves(model):
            raise _unknown_model(model, self.desk.service.model)
        live = self.desk.live()
        live.named(version)
        return live

    def _message(self, name: str) -> Any:
        return self._protos.message(f"inference.{name}")

    def _read(self, name: str, given: bytes) -> Any:
        return read(self._protos, f"inference.{name}", given)

    def _told(self, name: str, /, **values: Any) -> bytes:
        return bytes(self._message(name)(**values).SerializeToString())


def _rows(request: Any, live: Live, limit: int) -> list[Row]:
    return rows_from(live.reader, list(_tensors(request)), limit=limit)


def _tensors(request: Any) -> Iterable[Tensor]:
    """Yield the tensors of a request, whose elements stand in `raw_input_contents` or in each tensor's `contents`."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        found = f"{len(raw):,} elements for {len(request.inputs):,} inputs"
        raise _bad("raw_input_contents", found, "one for each input, or none where all inputs have `contents`")
    for place, tensor in enumerate(request.inputs):
        name, datatype, shape = tensor.name, tensor.datatype, list(tensor.shape)
        if "shared_memory_region" in tensor.parameters:
            raise _bad(name, "a region of shared memory", "the elements themselves: no memory of others is mapped")
        if raw:
            if tensor.HasField("contents"):
                raise _bad(name, "both `contents` and `raw_input_contents`", "one of them")
            yield from_bytes(name, datatype, shape, raw[place])
            continue
        field = _CONTENTS.get(datatype)
        if field is None and datatype in ("FP16", "BF16"):
            raise _bad(name, f"`contents` of {datatype}", "`raw_input_contents`, the only place for this datatype")
        strange = [other for descriptor, _ in tensor.contents.ListFields() if (other := descriptor.name) != field]
        if strange and field is not None:
            raise _bad(name, f"`{strange[0]}` for {datatype}", f"`{field}`")
        values = getattr(tensor.contents, field) if field else []
        if datatype == "BYTES":
            yield from_texts(name, datatype, shape, values)
        else:
            yield from_values(name, datatype, shape, list(values))


def _numbers(live: Live) -> list[str]:
    """Return the numbers of the versions that answer."""
    return [str(each.number) for each in live.named()]


def _number_of(reply: Reply, live: Live) -> str:
    """Return the number of the version that answered, or both; the output `version` tells which one for each row."""
    numbers = sorted({each.rpartition("@")[2] for each in reply.versions})
    return ",".join(numbers) or str(live.champion.version.number)


def _shapes(tensors: Iterable[Described | Tensor]) -> list[dict[str, Any]]:
    return [{"name": each.name, "datatype": each.datatype, "shape": each.shape} for each in tensors]


def _typed(tensor: Tensor) -> dict[str, Any]:
    is_text = tensor.datatype == "BYTES"
    contents = {_CONTENTS[tensor.datatype]: [each.encode() for each in tensor.values] if is_text else tensor.values}
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape, "contents": contents}


def _configured(tensor: Described) -> dict[str, Any]:
    kind = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    return {"name": tensor.name, "data_type": f"TYPE_{kind}", "dims": tensor.shape}


def _unknown_model(found: str, model: str) -> RequestError:
    message = f"there is no model {found[:100]!r} here; this service answers for {model!r}"
    return RequestError(status=404, message=message)


def _bad(name: str, found: str, right: str) -> RequestError:
    return unfit([{"row": None, "field": name, "found": found, "wanted": right}])
