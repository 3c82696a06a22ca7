"""KServe's own Python server with a custom model, protocol v1: serve_kserve.py --http_port PORT."""

from typing import Any

import numpy as np
from kserve import Model, ModelServer
from scoring import scorer


class Scorer(Model):
    """Scores rows."""

    def load(self) -> bool:
        self.score = scorer()
        self.ready = True
        return True

    async def predict(
        self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None
    ) -> dict[str, Any]:
        """Score the instances of a request."""
        return {"predictions": self.score(np.array(payload["instances"], dtype=np.float32)).tolist()}


if __name__ == "__main__":
    model = Scorer("scorer")
    model.load()
    ModelServer(workers=1, enable_grpc=False).start([model])
