"""Models in the ONNX format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx

from drivetrain.errors import MissingExtra, Unkeepable
from drivetrain.store.codecs.codec import Written, plain_form

if TYPE_CHECKING:
    from pathlib import Path


class ONNXCodec:
    """Keeps ModelProto; reads it as that, or as an InferenceSession of onnxruntime where that is wanted."""

    formats = frozenset({"onnx"})
    shares = False

    def write(self, value: Any, path: Path) -> Written:
        if not isinstance(value, onnx.ModelProto):
            raise Unkeepable(
                found=f"a {type(value).__qualname__}, which holds no model that can be written again",
                right="return the ModelProto itself, such as `onnx.load(path)` or what skl2onnx gives; a consumer gets "
                "a session by annotating its parameter with onnxruntime.InferenceSession",
            )
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in value.graph.initializer):
            raise Unkeepable(
                found="an ONNX model whose weights lie in other files",
                right="load them with it: `onnx.load(path, load_external_data=True)`",
            )
        try:
            data = value.SerializeToString(deterministic=True)
        except ValueError as error:
            raise Unkeepable(
                found=f"an ONNX model that cannot be written: {error}",
                right="keep it below 2 GB, which is the format's limit",
            ) from error
        path.write_bytes(data)
        return Written("onnx")

    def read(self, path: Path, form: Any) -> Any:
        form = plain_form(form)
        if getattr(form, "__name__", "") == "InferenceSession":
            try:
                import onnxruntime
            except ModuleNotFoundError as error:
                raise MissingExtra(library="onnxruntime", extra="onnx", purpose="running an ONNX model") from error
            return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return onnx.load_model_from_string(path.read_bytes())


CODEC = ONNXCodec()
