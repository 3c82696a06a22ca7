"""Runs an engine of the Open Inference Protocol that takes as long over a row as the row says: PORT.

It doubles a number `x`, after `x` seconds where that is positive. Below -100 it fails on a row, and with a negative one
it answers at once.
"""

from __future__ import annotations

import json
import sys
import time

from tests.serving.answering import Handler, answer_at

MODEL = {
    "name": "doubler",
    "platform": "python",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
    "outputs": [{"name": "double", "datatype": "FP32", "shape": [-1]}],
}


class Engine(Handler):
    """Answers what a Triton server would be asked."""

    def get(self) -> None:
        self.say(200, MODEL if self.path == "/v2/models/doubler" else {})

    def post(self) -> None:
        data = self.read()
        if not data:  # who asks was gone before it had said what
            return
        body = json.loads(data)
        values = body["inputs"][0]["data"]
        if min(values) < -100:
            self.say(500, {"error": "the engine failed"})
            return
        time.sleep(max(0.0, *values))
        output = {"name": "double", "datatype": "FP32", "shape": [len(values)], "data": [2 * each for each in values]}
        self.say(200, {"model_name": "doubler", "outputs": [output]})


if __name__ == "__main__":
    answer_at(int(sys.argv[1]), Engine)
