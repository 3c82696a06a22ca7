"""Runs an engine of the Open Inference Protocol that takes as long over a row as the row says: PORT.

It doubles a number `x`, after `x` seconds where that is positive. Below -100 it fails on a row, and with a negative one
it answers at once.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = {
    "name": "doubler",
    "platform": "python",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
    "outputs": [{"name": "double", "datatype": "FP32", "shape": [-1]}],
}


class Handler(BaseHTTPRequestHandler):
    """Answers what a Triton server would be asked."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _say(self, status: int, told: object) -> None:
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        try:
            self.wfile.write(data)
        except OSError:  # nobody waits any more
            self.close_connection = True

    def do_GET(self) -> None:
        self._say(200, MODEL if self.path == "/v2/models/doubler" else {})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        if not data:  # who asks was gone before it had said what
            return
        body = json.loads(data)
        values = body["inputs"][0]["data"]
        if min(values) < -100:
            self._say(500, {"error": "the engine failed"})
            return
        time.sleep(max(0.0, *values))
        output = {"name": "double", "datatype": "FP32", "shape": [len(values)], "data": [2 * each for each in values]}
        self._say(200, {"model_name": "doubler", "outputs": [output]})


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
