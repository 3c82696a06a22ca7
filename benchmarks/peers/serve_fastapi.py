"""The service that a team writes by hand: FastAPI, a pydantic row, the model's own prediction."""

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, create_model
from scoring import NAME, scorer

score = scorer()
app = FastAPI()

# 20 floats by name; the points of an image are a list.
Row = (
    create_model("Row", x=(list[float], ...))
    if NAME == "image"
    else create_model("Row", **{f"x{place}": (float, ...) for place in range(20)})
)


class Answer(BaseModel):
    """What is answered."""

    probability: float


# Not async: FastAPI then runs it in a thread, as its documentation advises for work that does not await.
@app.post("/predict")
def predict(row: Row) -> Answer:
    """Score one row."""
    values = row.x if NAME == "image" else list(row.model_dump().values())
    return Answer(probability=float(score(np.array([values], dtype=np.float32))[0]))
