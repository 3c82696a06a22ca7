"""Asks a server by MLflow's own client, in an environment that has it: HOST PORT; prints what it was told as JSON."""

from __future__ import annotations

import datetime
import json
import sys

import numpy as np
import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

client = ScoringServerClient(sys.argv[1], sys.argv[2])
client.wait_server_ready(timeout=5)
frame = pd.DataFrame(
    {
        "asked_at": ["2026-01-31T09:30:00"] * 2,
        "distance": [120.5, 120.5],
        "stops": [2, 2],
        "is_new": [True, False],
        "city": ["Oslo", "Rome"],
        "day": ["2026-01-31"] * 2,
        "wind": [np.nan, np.nan],
    }
)
timed = frame.assign(asked_at=pd.to_datetime(frame["asked_at"]), day=datetime.date(2026, 1, 31))
told = {
    "version": bool(client.get_version()),
    "frame": client.invoke(frame).get_predictions()[0].tolist(),
    "times": client.invoke(timed.drop(columns="day").assign(day="2026-01-31")).get_predictions("ndarray").tolist(),
    "records": client.invoke(frame.drop(columns="wind").to_dict(orient="records"))["predictions"],
    "params": client.invoke(frame, params={"method": "predict"})["predictions"],
}
print(json.dumps(told))
