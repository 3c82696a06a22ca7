"""Runs a real Triton server with a model of two inputs: PORT. It needs Debian's own Python and nvidia-pytriton."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from pytriton.decorators import batch  # type: ignore[import-not-found]  # in the engine's own environment
from pytriton.model_config import ModelConfig, Tensor  # type: ignore[import-not-found]
from pytriton.triton import Triton, TritonConfig  # type: ignore[import-not-found]


@batch  # type: ignore[untyped-decorator]
def infer(a: Any, b: Any) -> dict[str, Any]:
    if (a < -1e6).any():
        raise RuntimeError("a secret of the engine")
    return {"sum": (a + b).astype(np.float32), "top": (a + b).max(axis=1, keepdims=True).astype(np.float32)}


if __name__ == "__main__":
    port = int(sys.argv[1])
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, grpc_address="127.0.0.1", grpc_port=port + 1, metrics_port=port + 2
    )
    with Triton(config=config) as triton:
        shaped = {"dtype": np.float32, "shape": (3,)}
        triton.bind(
            model_name="adder",
            infer_func=infer,
            inputs=[Tensor(name="a", **shaped), Tensor(name="b", **shaped)],
            outputs=[Tensor(name="sum", **shaped), Tensor(name="top", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=16),
        )
        triton.serve()
