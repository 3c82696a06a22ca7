"""Runs an engine that goes wrong in every way that its prompt names: PORT."""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "sk-engine-secret at 10.0.0.7"


class Handler(BaseHTTPRequestHandler):
    """Answers a chat completion as the text of its first message says."""

    protocol_version = "HTTP/1.1"
    asked: dict[str, int] = {}
    busy = 0
    authorization = ""

    def log_message(self, *_: object) -> None:
        pass

    def _say(self, status: int, told: object, **headers: str) -> None:
        data = json.dumps(told).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/asked":
            self._say(200, {**Handler.asked, "authorization": Handler.authorization})
        else:
            self._say(200, {"data": [{"id": "odd"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        does = body["messages"][0]["content"]
        Handler.asked[does] = Handler.asked.get(does, 0) + 1
        Handler.authorization = self.headers.get("authorization", "")
        if does.isdigit():
            self._say(int(does), {"error": {"message": f"the engine says {does}" if does < "500" else SECRET}})
        elif does == "slow":
            time.sleep(5)
            self._say(200, {})
        elif does == "waits":
            Handler.busy += 1
            Handler.asked["most at once"] = max(Handler.asked.get("most at once", 0), Handler.busy)
            time.sleep(0.3)
            Handler.busy -= 1
            self._say(200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": does}}]})
        elif does == "full" and Handler.asked[does] < 3:
            self._say(429, {"error": {"message": "there is no room"}}, retry_after="0")
        elif does == "no json":
            self.send_response(200)
            self.send_header("content-length", "3")
            self.end_headers()
            self.wfile.write(b"{no")
        elif does in ("breaks", "endless"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for number in range(3 if does == "breaks" else 1000):
                part = json.dumps({"choices": [{"index": 0, "delta": {"content": f"{number} "}}]})
                data = f"data: {part}\n\n".encode()
                try:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.flush()
                except OSError:
                    Handler.asked["left"] = Handler.asked.get("left", 0) + 1
                    break
                time.sleep(0.05)
            self.close_connection = True
        else:
            self._say(200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": does}}]})


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
