"""Asks a server by KServe's own client, in an environment that has it: URL; prints what it was told as JSON."""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

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
    """Return two rows as tensors."""
    inputs = []
    for name, datatype in KINDS.items():
        each = InferInput(name=name, shape=[2], datatype=datatype)
        each.set_data_from_numpy(np.array([ROW[name]] * 2, DTYPES[datatype]), binary_data=binary)
        inputs.append(each)
    return InferRequest(model_name="late", infer_inputs=inputs, parameters={"binary_data_output": binary})


async def asked(url: str) -> dict[str, object]:
    """Return what the server told in each form."""
    v2, v1 = InferenceRESTClient(RESTConfig(protocol="v2")), InferenceRESTClient(RESTConfig(protocol="v1"))
    told: dict[str, object] = {"ready": await v2.is_server_ready(url), "live": await v2.is_server_live(url)}
    for name, binary in (("json", False), ("binary", True)):
        answer = await v2.infer(url, request(binary=binary), model_name="late")
        told[name] = next(each for each in answer.outputs if each.name == "prediction").as_numpy().tolist()
    told["v1"] = (await v1.infer(url, {"instances": [ROW]}, model_name="late"))["predictions"]
    return told


print(json.dumps(asyncio.run(asked(sys.argv[1]))))
