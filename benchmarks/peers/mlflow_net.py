"""A network as an MLflow model, from code; it is started where the weights lie."""

from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Scorer(PythonModel):
    """Scores rows."""

    def load_context(self, context: Any) -> None:
        """Read the weights."""
        from scoring import scorer

        self.score = scorer()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> np.ndarray:
        """Return probabilities: (rows, width) → (rows,)."""
        return self.score(np.asarray(model_input, dtype=np.float32))


set_model(Scorer())
