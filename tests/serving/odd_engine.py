"""Runs an engine that goes wrong in every way that its prompt names: PORT."""

from __future__ import annotations

import json
import sys
import time
from email.utils import formatdate

from tests.serving.answering import Handler, answer_at

SECRET = "sk-engine-secret at 10.0.0.7"


class Engine(Handler):
    """Answers a chat completion as the text of its first message says."""

    asked: dict[str, int] = {}
    busy = 0
    headers_seen: dict[str, str] = {}

    def get(self) -> None:
        if self.path == "/asked":
            self.say(200, {**Engine.asked, **Engine.headers_seen})
        else:
            self.say(200, {"data": [{"id": "odd"}]})

    def post(self) -> None:
        body = json.loads(self.read())
        does = body["messages"][0]["content"]
        Engine.asked[does] = Engine.asked.get(does, 0) + 1
        names = ("authorization", "traceparent", "tracestate")
        Engine.headers_seen = {name: self.headers.get(name, "") for name in names}
        if does.startswith("after"):
            status, asked = does.split()[1:]
            when = formatdate(time.time() + 40, usegmt=True) if asked == "date" else asked
            self.say(int(status), {"error": {"message": "no room"}}, **{"retry-after": when})
        elif does.isdigit():
            self.say(int(does), {"error": {"message": f"the engine says {does}" if does < "500" else SECRET}})
        elif does == "slow":
            time.sleep(5)
            self.say(200, {})
        elif does == "waits":
            Engine.busy += 1
            Engine.asked["most at once"] = max(Engine.asked.get("most at once", 0), Engine.busy)
            time.sleep(0.3)
            Engine.busy -= 1
            self.say(200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": does}}]})
        elif does == "full" and Engine.asked[does] < 3:
            self.say(429, {"error": {"message": "there is no room"}}, **{"retry-after": "0"})
        elif does == "no json":
            self.send(200, b"{no")
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
                    Engine.asked["left"] = Engine.asked.get("left", 0) + 1
                    break
                time.sleep(0.05)
            self.close_connection = True
        else:
            self.say(200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": does}}]})


if __name__ == "__main__":
    answer_at(int(sys.argv[1]), Engine)
