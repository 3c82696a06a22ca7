"""Asks a server by KServe's own gRPC client, where that is installed: ADDRESS; prints what it was told as JSON."""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

ROW = {
    "asked_at": "2026-01-31T09:30:00",
    "distance": 120.5,
    "stops": 2,
    "is_new": True,
    "city": "Oslo",
    "day": "2026-01-31",
}
KINDS = {"asked_at": "BYTES", "distance": "FP64", "stops": "INT32", "is_new": "BOOL", "city": "BYTES", "day": "BYTES"}
DTYPES = {"BYTES": object, "FP64": "f8", "INT32": "i4", "BOOL": "?"}


def request(*, binary: bool) -> InferRequest:
    """Return two rows as tensors, in raw or in typed contents."""
    inputs = []
    for name, datatype in KINDS.items():
        each = InferInput(name=name, shape=[2], datatype=datatype)
        each.set_data_from_numpy(np.array([ROW[name]] * 2, DTYPES[datatype]), binary_data=binary)
        inputs.append(each)
    return InferRequest(model_name="late", infer_inputs=inputs)


async def asked(address: str) -> dict[str, object]:
    """Return what the server told in each form."""
    client = InferenceGRPCClient(url=address)
    told: dict[str, object] = {
        "ready": await client.is_server_ready(),
        "live": await client.is_server_live(),
        "model": await client.is_model_ready("late"),
    }
    for name, binary in (("typed", False), ("raw", True)):
        answer = await client.infer(request(binary=binary))
        prediction = next(each for each in answer.outputs if each.name == "prediction")
        told[name] = prediction.as_numpy().tolist()
        if not binary:
            told["contents"] = list(prediction.data)
    await client.close()
    return told


print(json.dumps(asyncio.run(asked(sys.argv[1]))))
