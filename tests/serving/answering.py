"""HTTP servers that answer as a test needs it."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Handler(BaseHTTPRequestHandler):
    """Answers in `get` and `post`, and writes nothing of what it is asked."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.get()

    def do_POST(self) -> None:
        self.post()

    def get(self) -> None:
        """Answer a GET."""
        self.send(405)

    def post(self) -> None:
        """Answer a POST."""
        self.send(405)

    def read(self) -> bytes:
        """Return the body of a request."""
        return self.rfile.read(int(self.headers["content-length"]))

    def say(self, status: int, told: object, **headers: str) -> None:
        """Answer, unless nobody waits any more."""
        self.send(status, json.dumps(told).encode(), **{"content-type": "application/json", **headers})

    def send(self, status: int, data: bytes = b"", **headers: str) -> None:
        """Answer with bytes, unless nobody waits any more."""
        self.send_response(status)
        for name, text in {"content-length": str(len(data)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True


@contextmanager
def answering(handler: type[Handler]) -> Iterator[int]:
    """Let requests be answered in threads of this process until the block ends, and give the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer_at(port: int, handler: type[Handler]) -> None:
    """Answer requests as long as this process lives."""
    ThreadingHTTPServer(("127.0.0.1", port), handler).serve_forever()
