"""BentoML with adaptive batching, one worker: `bentoml serve serve_bentoml:Scorer`."""

import bentoml
import numpy as np
from scoring import scorer


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1024}, metrics={"enabled": True})
class Scorer:
    """Scores rows."""

    def __init__(self) -> None:
        self.score = scorer()

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=64, max_latency_ms=10_000, route="/predict")
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Score the rows of a batch: (rows, width) → (rows,)."""
        return self.score(x)
