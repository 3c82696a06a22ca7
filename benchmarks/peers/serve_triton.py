"""Triton's own server with its Python back end, and the boosted model as ONNX behind it: HTTP_PORT GRPC_PORT."""

import sys

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession("boosted.onnx", options, providers=["CPUExecutionProvider"])
[asked] = session.get_inputs()
scores = session.get_outputs()[-1].name


@batch
def infer(input: np.ndarray) -> list[np.ndarray]:  # noqa: A002  # Triton's name for it, and ours
    """Score rows: (rows, 20) to (rows, 1)."""
    [found] = session.run([scores], {asked.name: input})  # (rows, 2)
    return [found[:, 1:]]


with Triton(config=TritonConfig(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), allow_metrics=False)) as triton:
    triton.bind(
        model_name="scored",
        infer_func=infer,
        inputs=[Tensor(name="input", dtype=np.float32, shape=(20,))],
        outputs=[Tensor(name="prediction", dtype=np.float32, shape=(1,))],
        config=ModelConfig(max_batch_size=256, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
    )
    triton.serve()
