"""An ONNX graph that was made elsewhere, run as it is: several inputs, several outputs, whatever their shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.data.kinds.structure import structure_column
from drivetrain.errors import MissingExtra, Refused
from drivetrain.training.stacked import Put, Shape, Stacked, column_of

if TYPE_CHECKING:
    from pathlib import Path

    from drivetrain.data.schema import Column

_DTYPES = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}


class Graph(Stacked):
    """An ONNX graph in memory.

    Raises:
        Refused: it is no ONNX graph, or an input or output is of a type that no request can hold.
        MissingExtra: onnxruntime is not installed.
    """

    build = "onnx"

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra(library="onnxruntime", extra="onnx", purpose="running an ONNX model") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            # From memory: a graph that names other files for its weights could name any file of this machine.
            session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors have no common class
            text = " ".join(str(error).split())
            raise Refused(
                f"{path.name} cannot be run as ONNX: {text[:300]}",
                remedy="export it again; weights in other files must be saved into it: "
                "`onnx.save(onnx.load(path), path, save_as_external_data=False)`",
            ) from error
        self._run = session.run
        super().__init__([Put(put.name, _dtype(put), _shape(put)) for put in session.get_inputs()])
        self.outputs = [self._output(put) for put in session.get_outputs()]

    def run(self, arrays: list[Any]) -> list[Any]:
        return list(self._run(None, dict(zip([put.name for put in self.puts], arrays, strict=True))))

    def _output(self, put: Any) -> Column:
        if put.type.startswith(("seq(map", "map(")):  # of a classifier: a number for each class
            return structure_column(put.name, dict[str, float])
        if put.type.startswith("seq("):
            return structure_column(put.name, list[Any])
        return column_of(put.name, _dtype(put), self.inner(_shape(put)))


def _shape(put: Any) -> Shape:
    return [length if isinstance(length, int) and length >= 0 else None for length in put.shape]


def _dtype(put: Any) -> str:
    dtype = _DTYPES.get(put.type)
    if dtype is None:
        raise Refused(
            f"the graph's {put.name!r} is a {put.type}, which no request can hold",
            remedy=f"export it with one of {', '.join(_DTYPES)}",
        )
    return dtype
