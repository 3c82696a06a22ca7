"""The limit of the model: parse, score, answer; nothing is validated, logged or counted."""

import json
from typing import Any

import numpy as np
import onnxruntime
from scoring import NAME

HEADERS = [("content-type", "application/json")]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(f"{NAME}.onnx", options, providers=["CPUExecutionProvider"])
[asked] = session.get_inputs()
scores = session.get_outputs()[-1].name


async def app(scope: Any, protocol: Any) -> None:
    """Score one row."""
    row = json.loads(await protocol())
    x = np.array([row["x"] if "x" in row else list(row.values())], dtype=np.float32)  # (1, 20) or (1, 784)
    [found] = session.run([scores], {asked.name: x})  # (1, 2) or (1, 1)
    protocol.response_bytes(200, HEADERS, b'{"probability":%.9g}' % found[0, -1])
