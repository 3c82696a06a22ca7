"""Answers in pieces: as server-sent events and over WebSockets, also when a listener goes away or means ill."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.serving.project import Address, Project
from tests.serving.world import wait_until

websockets = pytest.importorskip("websockets")
from websockets.asyncio.client import connect  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM = '''
import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import drivetrain as dt

HERE = Path.cwd()


@dt.predictor
class Count:
    """A plain generator, in a thread."""

    def predict(self, upto: int, pause_s: float = 0.0, fail_at: int = -1, size: int = 1) -> Iterator[str]:
        try:
            for number in range(upto):
                if number == fail_at:
                    raise RuntimeError("a secret of the model")
                time.sleep(pause_s)
                yield str(number) * size
        finally:
            with open(HERE / "closed.txt", "a") as file:
                file.write(f"count {upto}\\n")


@dt.predictor
class Tick:
    """An async generator, and an async answer beside it."""

    async def predict(self, upto: int, pause_s: float = 0.0, size: int = 1) -> AsyncIterator[int | str]:
        try:
            for number in range(upto):
                await asyncio.sleep(pause_s)
                yield number if size == 1 else "x" * size
        finally:
            with open(HERE / "closed.txt", "a") as file:
                file.write(f"tick {upto}\\n")


@dt.predictor
class Wait:
    async def predict(self, pause_s: float) -> float:
        try:
            await asyncio.sleep(pause_s)
        except asyncio.CancelledError:
            with open(HERE / "closed.txt", "a") as file:
                file.write(f"wait {pause_s}\\n")
            raise
        return pause_s


gates = [dt.Gate(Count, name="g1"), dt.Gate(Tick, name="g2"), dt.Gate(Wait, name="g3")]
counting = dt.Service(Count, timeout_s=1.0, max_stream_s=3.0, max_streams=8, max_body_bytes=2048)
slowly = dt.Service(Tick, timeout_s=30.0, max_stream_s=60)
waiting = dt.Service(Wait, timeout_s=1.0, max_concurrent=20)
rated = dt.Service(Wait, max_per_s=3)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("streams"), SYSTEM)
    made.run()
    return made


@pytest.fixture(scope="module")
def counting(project: Project) -> Iterator[Address]:
    with project.served("counting") as address:
        yield address


@pytest.fixture(scope="module")
def slowly(project: Project) -> Iterator[Address]:
    with project.served("slowly") as address:
        yield address


def events(address: Address, body: Any, **headers: str) -> list[tuple[str, Any]]:
    """Return the events of a stream, read by the rules of server-sent events."""
    found = []
    asked = {"accept": "text/event-stream", **{name.replace("_", "-"): value for name, value in headers.items()}}
    with address.client.stream("POST", "/predict", json=body, headers=asked) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = "message"
        data: list[str] = []
        for line in answer.iter_lines():
            if not line and data:
                found.append((name, json.loads("\n".join(data))))
                name, data = "message", []
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data.append(line[6:])
    return found


def closed(project: Project) -> list[str]:
    path = project.folder / "closed.txt"
    return path.read_text().splitlines() if path.exists() else []


def logged(project: Project, service: str, prediction_id: str) -> dict[str, Any]:
    return project.logged(service).filter(id=prediction_id).row(0, named=True)


@pytest.mark.parametrize("name", ["counting", "slowly"])
def test_a_generator_is_streamed_and_logged(project: Project, request: pytest.FixtureRequest, name: str) -> None:
    address = request.getfixturevalue(name)

    start, *pieces, end = events(address, {"upto": 3})

    assert start[0] == "start"
    assert [each[0] for each in pieces] == ["message"] * 3
    assert [str(each[1]) for each in pieces] == ["0", "1", "2"]
    assert end == ("end", {"id": start[1]["id"], "pieces": 3, "seconds": end[1]["seconds"]})
    row = logged(project, name, start[1]["id"])
    assert json.loads(row["prediction"]) == [each[1] for each in pieces]
    assert (row["stream"]["how"], row["stream"]["pieces"]) == ("end", 3)


def test_without_the_header_all_pieces_come_at_once(counting: Address) -> None:
    assert counting.predict({"upto": 3})["prediction"] == ["0", "1", "2"]
    assert counting.refused([{"upto": 3}], 422)["error"].startswith("a stream answers one object")
    assert counting.refused({"upto": "x"}, 422)["problems"][0]["field"] == "upto"


def test_pieces_come_as_they_are_made(counting: Address) -> None:
    began = time.monotonic()
    arrived: list[float] = []
    headers = {"accept": "text/event-stream"}
    with counting.client.stream("POST", "/predict", json={"upto": 3, "pause_s": 0.3}, headers=headers) as answer:
        arrived.extend(time.monotonic() - began for line in answer.iter_lines() if line.startswith('data: "'))

    assert len(arrived) == 3
    assert arrived[0] < arrived[2] - 0.4


def test_an_error_in_the_middle_is_an_event_without_the_secret(project: Project, counting: Address) -> None:
    start, piece, error = events(counting, {"upto": 3, "fail_at": 1})

    assert piece == ("message", "0")
    assert error[0] == "error"
    assert error[1]["status"] == 500
    assert "secret" not in str(error)
    assert logged(project, "counting", start[1]["id"])["stream"]["how"] == "error"
    assert "secret" not in str(counting.refused({"upto": 3, "fail_at": 1}, 500))


def test_a_stream_that_takes_too_long_is_told_so(counting: Address) -> None:
    assert events(counting, {"upto": 1, "pause_s": 2.0})[-1][1]["error"] == "the model gave nothing for 1 s"
    assert "as a whole" in events(counting, {"upto": 20, "pause_s": 0.5})[-1][1]["error"]
    assert counting.refused({"upto": 1, "pause_s": 2.0}, 504)


@pytest.mark.parametrize(("name", "upto"), [("counting", 101), ("slowly", 102)])
def test_a_client_that_goes_away_closes_the_generator(
    project: Project, request: pytest.FixtureRequest, name: str, upto: int
) -> None:
    address = request.getfixturevalue(name)
    headers = {"accept": "text/event-stream"}
    body = {"upto": upto, "pause_s": 0.05}

    with (
        httpx.Client(base_url=address.url) as client,
        client.stream("POST", "/predict", json=body, headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "event: start"
        prediction_id = json.loads(next(lines)[6:])["id"]

    word = {"counting": "count", "slowly": "tick"}[name]
    wait_until(lambda: f"{word} {upto}" in closed(project), 5)
    wait_until(lambda: len(project.logged(name).filter(id=prediction_id)) == 1, 5)
    assert logged(project, name, prediction_id)["stream"]["how"] == "closed"
    assert f'streams_open{{service="{name}"}} 0' in address.client.get("/metrics").text


def test_a_client_that_never_reads_a_socket_holds_the_generator_back(project: Project, slowly: Address) -> None:
    async def asked() -> None:
        url = f"ws://127.0.0.1:{slowly.port}/stream"
        async with connect(url, max_queue=1, ping_interval=None, max_size=1 << 24) as ws:
            await ws.send('{"upto": 2000000, "size": 100000}')
            await asyncio.sleep(1.5)
            before = pieces_of(slowly)
            await asyncio.sleep(0.7)
            assert pieces_of(slowly) == before  # it waits, and does not fill the memory
            assert slowly.predict({"upto": 1})["prediction"] == [0]
            ws.transport.abort()

    asyncio.run(asked())
    wait_until(lambda: "tick 2000000" in closed(project), 10)


def test_a_client_that_never_reads_events_costs_no_more_than_the_limit(project: Project, slowly: Address) -> None:
    body = json.dumps({"upto": 2_000_001, "size": 100_000}).encode()
    with socket.create_connection(("127.0.0.1", slowly.port)) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"POST /predict HTTP/1.1\r\nhost: 127.0.0.1:{slowly.port}\r\naccept: text/event-stream\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        lazy.sendall(head.encode() + body)
        wait_until(lambda: "tick 2000001" in closed(project), 10)
    assert slowly.predict({"upto": 1})["prediction"] == [0]
    assert events(slowly, {"upto": 1000, "size": 100_000})[-1][1]["status"] == 413


def counted(address: Address, name: str) -> float:
    text = address.client.get("/metrics").text
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(f"drivetrain_{name}{{")))


def pieces_of(address: Address) -> float:
    return counted(address, "stream_pieces_total")


def expired(address: Address) -> float:
    return counted(address, "expired_total")


def test_more_streams_than_may_run_are_refused(project: Project, counting: Address) -> None:
    async def both() -> list[int]:
        async with httpx.AsyncClient(base_url=counting.url, timeout=20) as client:
            found = await asyncio.gather(
                *[client.post("/predict", json={"upto": 2, "pause_s": 0.4}) for _ in range(12)]
            )
        return sorted(each.status_code for each in found)

    assert asyncio.run(both()) == [200] * 8 + [503] * 4


def test_awaited_answers_run_beside_each_other_up_to_the_limit(project: Project) -> None:
    async def asked(address: Address, count: int, pause_s: float) -> tuple[list[int], float]:
        began = time.monotonic()
        async with httpx.AsyncClient(base_url=address.url, timeout=20) as client:
            found = await asyncio.gather(*[client.post("/predict", json={"pause_s": pause_s}) for _ in range(count)])
        return sorted(each.status_code for each in found), time.monotonic() - began

    with project.served("waiting") as address:
        codes, seconds = asyncio.run(asked(address, 20, 0.5))
        assert codes == [200] * 20
        assert seconds < 3  # one after another it would be ten
        assert asyncio.run(asked(address, 25, 0.6))[0].count(503) == 5
        assert address.refused({"pause_s": 1.5}, 504)
        many = address.predict([{"pause_s": 0.3}, {"pause_s": 0.2}])["predictions"]
    assert [each["prediction"] for each in many] == [0.3, 0.2]
    assert len(project.logged("waiting")) >= 22


def test_an_awaited_model_is_stopped_when_nobody_waits_for_it_any_more(project: Project) -> None:
    with project.served("waiting") as address:
        before = expired(address)
        began = time.monotonic()
        told = address.client.post("/predict", json={"pause_s": 0.91}, headers={"x-request-timeout-ms": "200"})
        assert told.status_code == 504
        assert time.monotonic() - began < 0.8
        assert "wait 0.91" in closed(project)

        with pytest.raises(httpx.ReadTimeout):
            address.client.post("/predict", json={"pause_s": 0.92}, timeout=0.2)
        wait_until(lambda: "wait 0.92" in closed(project), 0.7)
        assert address.predict({"pause_s": 0.0})["prediction"] == 0.0
        assert expired(address) == before + 1  # who has gone away is not told that it took too long


def test_a_stream_that_is_awaited_whole_ends_when_its_client_waits_no_longer(project: Project, slowly: Address) -> None:
    asked = {"upto": 77, "pause_s": 0.1}
    told = slowly.client.post("/predict", json=asked, headers={"x-request-timeout-ms": "250"})
    assert told.status_code == 504
    assert "did not end in the time" in told.json()["error"]
    wait_until(lambda: "tick 77" in closed(project), 3)


@pytest.mark.parametrize(("name", "kind"), [("counting", "count"), ("slowly", "tick")])
def test_a_stream_of_events_ends_when_its_client_waits_no_longer(
    project: Project, request: pytest.FixtureRequest, name: str, kind: str
) -> None:
    address = request.getfixturevalue(name)
    before = expired(address)
    began = time.monotonic()

    told = events(address, {"upto": 78, "pause_s": 0.1}, x_request_timeout_ms="450")

    assert 0.4 < time.monotonic() - began < 2
    assert [each[0] for each in told[:2]] == ["start", "message"]
    assert told[-1] == ("error", {"status": 504, "error": "the stream did not end in the time that the request has"})
    assert logged(project, name, told[0][1]["id"])["stream"]["how"] == "timeout"
    assert expired(address) == before + 1
    wait_until(lambda: f"{kind} 78" in closed(project), 3)  # and nothing is made for nobody


def test_a_stream_that_is_asked_for_too_late_is_not_begun(project: Project, counting: Address) -> None:
    asked = {"accept": "text/event-stream", "x-request-timeout-ms": "0"}
    told = counting.client.post("/predict", json={"upto": 79}, headers=asked)

    assert told.status_code == 504
    assert "count 79" not in closed(project)


def test_more_requests_a_second_than_may_be_are_refused(project: Project) -> None:
    with project.served("rated") as address:
        answers = [address.client.post("/predict", json={"pause_s": 0.0}) for _ in range(6)]
        codes = [each.status_code for each in answers]
        assert codes[:3] == [200] * 3
        assert codes.count(429) >= 2
        assert answers[codes.index(429)].headers["retry-after"] == "1"
        time.sleep(0.5)
        assert address.predict({"pause_s": 0.0})["prediction"] == 0


async def _conversation(
    address: Address, *messages: str | bytes, headers: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return what a socket says to messages, each awaited to its end."""
    found = []
    async with connect(f"ws://127.0.0.1:{address.port}/stream", additional_headers=headers) as ws:
        for message in messages:
            await ws.send(message)
            while True:
                told = json.loads(await asyncio.wait_for(ws.recv(), 20))
                found.append(told)
                if "end" in told or "error" in told:
                    break
    return found


def test_a_socket_answers_one_row_after_another(project: Project, counting: Address) -> None:
    found = asyncio.run(_conversation(counting, '{"upto": 2}', '{"upto": 1}'))

    assert [next(iter(each)) for each in found] == ["start", "piece", "piece", "end", "start", "piece", "end"]
    assert [each["piece"] for each in found if "piece" in each] == ["0", "1", "0"]
    assert logged(project, "counting", found[0]["start"]["id"])["stream"]["how"] == "end"


def test_the_trace_of_a_sockets_handshake_is_that_of_its_messages(project: Project, counting: Address) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}

    told = asyncio.run(_conversation(counting, '{"upto": 1}', '{"upto": 2}', headers=headers))
    plain = asyncio.run(_conversation(counting, '{"upto": 1}'))

    names = [each["start"]["id"] for each in (*told, *plain) if "start" in each]
    assert [logged(project, "counting", name).get("trace") for name in names] == [trace, trace, None]


def test_each_message_of_a_socket_has_the_time_that_its_handshake_says(project: Project, slowly: Address) -> None:
    messages = ['{"upto": 3, "pause_s": 0.15}', '{"upto": 80, "pause_s": 0.1}', '{"upto": 3, "pause_s": 0.15}']

    found = asyncio.run(_conversation(slowly, *messages, headers={"x-request-timeout-ms": "1000"}))

    ends = [each for each in found if "end" in each or "error" in each]
    assert [next(iter(each)) for each in ends] == ["end", "error", "end"]
    assert ends[1]["error"]["status"] == 504
    assert "did not end in the time that the request has" in ends[1]["error"]["error"]
    wait_until(lambda: "tick 80" in closed(project), 3)


def test_a_handshake_with_a_time_that_is_none_is_refused(counting: Address) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        asyncio.run(_conversation(counting, headers={"x-request-timeout-ms": "soon"}))

    assert refused.value.response.status_code == 400


def test_a_socket_says_what_does_not_fit_and_goes_on(counting: Address) -> None:
    found = asyncio.run(
        _conversation(counting, "no json", '{"upto": "x"}', '{"upto": 2, "fail_at": 1}', "[" * 900, '{"upto": 1}')
    )

    errors = [each["error"] for each in found if "error" in each]
    assert [error["status"] for error in errors] == [400, 422, 500, 400]
    assert errors[1]["problems"][0]["field"] == "upto"
    assert [each["piece"] for each in found if "piece" in each] == ["0", "0"]


@pytest.mark.parametrize(("message", "status"), [(b"\x00\xff", 415), ("x" * 5000, 413), ("x" * 3_000_000, 413)])
def test_a_socket_is_closed_on_what_is_no_message(counting: Address, message: str | bytes, status: int) -> None:
    async def asked() -> int:
        async with connect(f"ws://127.0.0.1:{counting.port}/stream") as ws:
            await ws.send(message)
            told: int = json.loads(await ws.recv())["error"]["status"]
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(ws.recv(), 5)
            return told

    assert asyncio.run(asked()) == status
    assert counting.predict({"upto": 1})["prediction"] == ["0"]


def test_a_socket_that_closes_in_the_middle_closes_the_generator(project: Project, slowly: Address) -> None:
    async def asked() -> None:
        async with connect(f"ws://127.0.0.1:{slowly.port}/stream") as ws:
            await ws.send('{"upto": 777, "pause_s": 0.05}')
            assert "start" in json.loads(await ws.recv())
            assert "piece" in json.loads(await ws.recv())

    asyncio.run(asked())

    wait_until(lambda: "tick 777" in closed(project), 5)


def test_who_may_open_a_socket(project: Project, counting: Address) -> None:
    async def opened(port: int, path: str = "/stream", **headers: str) -> int:
        try:
            async with connect(f"ws://127.0.0.1:{port}{path}", additional_headers=headers):
                return 101
        except websockets.InvalidStatus as error:
            return int(error.response.status_code)

    own = f"http://127.0.0.1:{counting.port}"
    assert asyncio.run(opened(counting.port, Origin=own)) == 101
    assert asyncio.run(opened(counting.port, Origin="http://evil.example")) == 403
    assert asyncio.run(opened(counting.port, path="/other")) == 404
    with project.served("counting", DRIVETRAIN_SERVE_TOKEN="t0ken") as guarded:
        assert asyncio.run(opened(guarded.port)) == 401
        assert asyncio.run(opened(guarded.port, Authorization="Bearer t0ken")) == 101


def test_a_thousand_sockets_stay_open_and_others_are_answered(slowly: Address) -> None:
    async def opened() -> tuple[int, Any]:
        sockets = []
        for _ in range(20):
            url = f"ws://127.0.0.1:{slowly.port}/stream"
            sockets += await asyncio.gather(*[connect(url, ping_interval=None) for _ in range(50)])
        await asyncio.gather(*[ws.send('{"upto": 1}') for ws in sockets[:40]])
        told = [json.loads(await asyncio.wait_for(ws.recv(), 20)) for ws in sockets[:40]]
        async with httpx.AsyncClient(base_url=slowly.url, timeout=20) as client:
            answer = (await client.post("/predict", json={"upto": 2})).json()["prediction"]
        await asyncio.gather(*[ws.close() for ws in sockets])
        return sum("start" in each for each in told), answer

    assert asyncio.run(opened()) == (40, [0, 1])
