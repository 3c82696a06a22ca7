"""The service that a team writes by hand: FastAPI, a pydantic row, scikit-learn's own prediction."""

import numpy as np
import skops.io
from fastapi import FastAPI
from pydantic import BaseModel

model = skops.io.load("model.skops", trusted=skops.io.get_untrusted_types(file="model.skops"))
app = FastAPI()


class Row(BaseModel):
    """What is asked."""

    x0: float
    x1: float
    x2: float
    x3: float
    x4: float
    x5: float
    x6: float
    x7: float
    x8: float
    x9: float
    x10: float
    x11: float
    x12: float
    x13: float
    x14: float
    x15: float
    x16: float
    x17: float
    x18: float
    x19: float


class Answer(BaseModel):
    """What is answered."""

    probability: float


# Not async: FastAPI then runs it in a thread, as its documentation advises for work that does not await.
@app.post("/predict")
def predict(row: Row) -> Answer:
    """Score one row."""
    x = np.array([list(row.model_dump().values())], dtype=np.float32)
    return Answer(probability=float(model.predict_proba(x)[0, 1]))
