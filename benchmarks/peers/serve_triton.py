"""Triton's own server with its Python back end, and the model as ONNX behind it: HTTP_PORT GRPC_PORT."""

import sys

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
[asked] = session.get_inputs()
scores = session.get_outputs()[1].name


@batch
def infer(x: np.ndarray) -> list[np.ndarray]:
    """Score rows."""
    [found] = session.run([scores], {asked.name: x.astype(np.float32)})  # (rows, 2)
    return [found[:, 1:].astype(np.float64)]


with Triton(config=TritonConfig(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), allow_metrics=False)) as triton:
    triton.bind(
        model_name="boosted",
        infer_func=infer,
        inputs=[Tensor(name="x", dtype=np.float64, shape=(20,))],
        outputs=[Tensor(name="prediction", dtype=np.float64, shape=(1,))],
        config=ModelConfig(max_batch_size=256, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
    )
    triton.serve()
