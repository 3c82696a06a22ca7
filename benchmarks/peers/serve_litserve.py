"""LitServe with batches of 64, one worker: serve_litserve.py PORT."""

import sys
from typing import Any

import litserve as ls
import numpy as np
from scoring import scorer


class Scorer(ls.LitAPI):
    """Scores rows."""

    def setup(self, device: str) -> None:
        self.score = scorer()

    def decode_request(self, request: dict[str, Any]) -> list[float]:
        return request["x"]

    def batch(self, inputs: list[list[float]]) -> np.ndarray:
        return np.array(inputs, dtype=np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.score(x)

    def unbatch(self, output: np.ndarray) -> list[float]:
        return output.tolist()

    def encode_response(self, output: float) -> dict[str, float]:
        return {"probability": output}


if __name__ == "__main__":
    server = ls.LitServer(
        Scorer(max_batch_size=64, batch_timeout=0.001), accelerator="cpu", workers_per_device=1, timeout=60
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
