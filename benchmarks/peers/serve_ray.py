"""Ray Serve with batches of 64, one replica: serve_ray.py PORT."""

import sys
import time
from typing import Any

import numpy as np
import ray
from ray import serve
from scoring import scorer
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=1024, ray_actor_options={"num_cpus": 1})
class Scorer:
    """Scores rows."""

    def __init__(self) -> None:
        self.score = scorer()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def scores(self, rows: list[list[float]]) -> list[float]:
        """Score a batch."""
        return self.score(np.array(rows, dtype=np.float32)).tolist()

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Score one row."""
        asked = await request.json()
        return {"probability": await self.scores(asked["x"])}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Scorer.bind(), route_prefix="/predict")
    while True:
        time.sleep(60)
