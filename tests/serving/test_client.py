"""Clients that are written for a service: typed, without dependencies, and asked against a real server."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.serving.answering import Handler, answering
from tests.serving.world import ROOT, ROW, Server, promote, register, served, signature, wait_until

from drivetrain.data.schema import Column, Roles
from drivetrain.registry.version import Signature
from drivetrain.serving.client import attributes_of, client, signature_in
from drivetrain.serving.interface import digest_of, interface_of
from drivetrain.serving.log import read_feedback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from tests.project import Project

    from drivetrain.store.store import Store

SEVERAL = Signature(
    task="multiclass",
    label="grape",
    classes=["Agnello", "Bruno's", 'the "C"'],
    request=[
        Column(name="mean radius (mm)", kind="float", dtype="Float64", example=17.99),
        Column(name="class", kind="int", dtype="Int64", nullable=True),
        Column(name="class_", kind="bool", dtype="Boolean", example=True),
        Column(name="2nd", kind="str", dtype="String", example='a "quoted" \\ text\nof two lines'),
        Column(name="at", kind="datetime", dtype="Datetime(time_unit='us', time_zone='UTC')"),
        Column(name="more", kind="other", dtype="List(Int64)", nullable=True),
        Column(name="date", kind="date", dtype="Date"),
        Column(name="picture", kind="image", dtype="uint8"),
    ],
    features=[Column(name="class_", kind="bool", dtype="Boolean")],
    roles=Roles(label="grape"),
)
NUMBERS = Signature(
    task="regression",
    label="price",
    request=[Column(name=f"x{number}", kind="float", dtype="Float64", example=0.5) for number in range(20)],
    features=[Column(name="x1", kind="float", dtype="Float64")],
    roles=Roles(label="price"),
)


def text_for(given: Signature, max_rows: int = 500) -> str:
    return client(interface_of("answers", given, max_rows=max_rows))


def loaded(text: str, folder: Path, name: str = "written") -> ModuleType:
    """Return a client's module."""
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(f"{name}_{folder.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return loaded(text_for(signature()), tmp_path_factory.mktemp("client"))


def row(module: ModuleType, **changed: Any) -> Any:
    values = {**ROW, "asked_at": datetime(2026, 1, 31, 9, 30), "day": date(2026, 1, 31)}  # noqa: DTZ001  # local
    return module.Row(**{**values, **changed})


@pytest.mark.parametrize("given", [signature(), SEVERAL, NUMBERS], ids=["binary", "multiclass", "regression"])
def test_what_is_written_passes_the_strictest_checks(given: Signature, tmp_path: Path) -> None:
    path = tmp_path / "client.py"
    path.write_text(text_for(given))

    for command in (
        ["ruff", "check", "--isolated"],
        ["ruff", "check", "--config", str(ROOT / "pyproject.toml")],
        ["ruff", "format", "--isolated", "--line-length", "120", "--diff"],
    ):
        program = shutil.which(command[0], path=f"{sys.prefix}/bin") or pytest.skip("ruff is not installed")
        done = subprocess.run(
            [program, *command[1:], "client.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_written_is_typed_and_so_is_its_use(tmp_path: Path) -> None:
    pytest.importorskip("mypy.api", reason="mypy is not installed")
    from mypy import api

    for name, given in (("binary", signature()), ("several", SEVERAL), ("prices", NUMBERS)):
        (tmp_path / f"{name}.py").write_text(text_for(given))
    (tmp_path / "use.py").write_text(
        "import several, binary\n"
        "reveal_type(several.Client().predict_many([])[0].probabilities)\n"
        "binary.Label(label=7, id='a')\n"
        "binary.Row(distance='far')\n"
    )

    told, _, _ = api.run(["--strict", "--cache-dir", str(tmp_path / "cache"), *map(str, tmp_path.glob("*.py"))])

    lines = [line for line in told.splitlines() if "use.py" in line]
    assert lines == told.splitlines()[:-1], told
    assert "dict[Literal['Agnello'] | Literal[" in lines[0]
    assert any('"label"' in line for line in lines)
    assert any('"distance"' in line for line in lines)


def test_it_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(text_for(signature()))
    command = [sys.executable, "-S", "-E", "-c", "import client; print(client.SIGNATURE)"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert (done.stdout.strip(), done.stderr) == (digest_of(signature()), "")


def test_odd_names_become_attributes_and_are_sent_as_they_are() -> None:
    attributes = {each.column: each.name for each in attributes_of(interface_of("s", SEVERAL, max_rows=1))}

    assert attributes["mean radius (mm)"] == "mean_radius__mm_"
    assert attributes["2nd"] == "f_2nd"
    assert attributes["date"] == "date_"
    assert "    picture: str\n" in text_for(SEVERAL)
    assert {attributes["class"], attributes["class_"]} == {"class_", "class__"}


def test_a_row_and_many_are_answered_as_by_the_server(server: Server, written: ModuleType) -> None:
    with written.Client(server.url) as asked:
        one = asked.predict(row(written))
        many = asked.predict_many(row(written, distance=float(each % 251)) for each in range(1_201))

    assert one.prediction == pytest.approx(server.predict(ROW).json()["prediction"])
    assert one.version == "late@1"
    assert len({each.id for each in many}) == 1_201
    assert many[1].prediction < 0.5 < many[250].prediction


def test_what_does_not_fit_is_told_with_its_row(server: Server, written: ModuleType) -> None:
    rows = [row(written) for _ in range(700)]
    rows[600] = replace(rows[600], distance="far", city=None)

    with written.Client(server.url) as asked, pytest.raises(written.Refused) as caught:
        asked.predict_many(rows)

    assert caught.value.status == 422
    assert {(each.row, each.field) for each in caught.value.problems} == {(600, "distance"), (600, "city")}
    assert '"far"' in str(caught.value)


def test_a_number_that_is_none_is_refused_before_it_is_sent(server: Server, written: ModuleType) -> None:
    with written.Client(server.url) as asked, pytest.raises(written.Refused, match="None stands for"):
        asked.predict(row(written, distance=float("nan")))


def test_feedback_is_kept(server: Server, written: ModuleType) -> None:
    with written.Client(server.url) as asked:
        answer = asked.predict(row(written))
        accepted = asked.feedback(written.Label(id=answer.id, label=1), written.Label(key="t-77", label=0))

    assert accepted == 2
    assert "t-77" in read_feedback(server.store, "answers")["key"].to_list()


def test_threads_and_tasks_share_a_client(server: Server, written: ModuleType) -> None:
    seen: list[str] = []
    with written.Client(server.url) as asked:
        threads = [
            threading.Thread(target=lambda: seen.extend(asked.predict(row(written)).id for _ in range(20)))
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    async def ask() -> list[str]:
        async with written.AsyncClient(server.url) as asked:
            assert await asked.feedback(written.Label(key="t-78", label=0)) == 1
            answers = await asyncio.gather(*[asked.predict(row(written)) for _ in range(100)])
            many = await asked.predict_many([row(written)] * 600)
            with pytest.raises(written.Refused):
                await asked.predict(row(written, city=None))
            return [each.id for each in [*answers, *many]]

    assert len(set(seen)) == 100
    assert len(set(asyncio.run(ask()))) == 700


def test_a_token_is_sent(store: Store, written: ModuleType) -> None:
    promote(store, register(store, 1))
    with served(store, TOKEN="secret") as server:
        with written.Client(server.url, token="secret") as asked:
            assert asked.predict(row(written)).version == "late@1"
        with written.Client(server.url) as asked, pytest.raises(written.Unauthorized, match="token"):
            asked.predict(row(written))


def test_a_change_of_the_signature_is_told(store: Store, written: ModuleType) -> None:
    fewer = signature([name for name in ROW if name != "day"])
    promote(store, register(store, 1))
    with served(store) as server, written.Client(server.url) as asked:
        asked.predict(row(written))  # looked at once, and it fits
        promote(store, register(store, 2, signature=fewer))
        wait_until(lambda: "late@2" in server.client.get("/version").text)

        with pytest.raises(written.SignatureChanged) as caught:
            asked.predict(row(written))
        assert [each.field for each in caught.value.problems] == ["day"]
        assert "drivetrain client" in str(caught.value)
        with written.Client(server.url, signature="refuse") as other, pytest.raises(written.SignatureChanged):
            other.predict(row(written))
        with (
            written.Client(server.url) as other,
            pytest.warns(written.SignatureWarning, match=digest_of(fewer)),
            pytest.raises(written.SignatureChanged),
        ):
            other.predict(row(written))
        with written.Client(server.url, signature="ignore") as other, pytest.raises(written.Refused) as caught:
            other.predict(row(written))
        assert type(caught.value) is written.Refused


class Script(Handler):
    """Answers what the test says, one after the other, and counts."""

    answers: list[tuple[int, dict[str, str], Any]] = []
    asked: list[float] = []

    def post(self) -> None:
        self.read()
        self.asked.append(time.monotonic())
        status, headers, body = self.answers.pop(0) if self.answers else (200, {}, {"predictions": [PLAIN]})
        if headers.pop("slow", None):
            time.sleep(0.6)
        self.say(status, body, **headers)


PLAIN = {"id": "pred-1", "version": "late@1", "prediction": 0.5}


@contextmanager
def scripted(*answers: tuple[int, dict[str, str], Any]) -> Iterator[str]:
    Script.answers, Script.asked = list(answers), []
    with answering(Script) as port:
        yield f"http://127.0.0.1:{port}"


def ask(module: ModuleType, url: str, is_async: bool, **options: Any) -> Any:
    """Return the answer of either client to one row."""
    options = {"signature": "ignore", "backoff_s": 0.02, **options}
    if not is_async:
        with module.Client(url, **options) as asked:
            return asked.predict(row(module))

    async def whole() -> Any:
        async with module.AsyncClient(url, **options) as asked:
            return await asked.predict(row(module))

    return asyncio.run(whole())


BUSY: tuple[int, dict[str, str], Any] = (503, {}, {"error": "too many requests are waiting"})
LATE: tuple[int, dict[str, str], Any] = (504, {}, {"error": "the model did not answer"})
BOTH = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@BOTH
def test_what_could_not_be_answered_at_the_moment_is_tried_again(written: ModuleType, is_async: bool) -> None:
    with scripted(BUSY, LATE, (503, {"retry-after": "1"}, {})) as url:
        answer = ask(written, url, is_async)

    assert answer.id == "pred-1"
    assert len(Script.asked) == 4
    assert Script.asked[3] - Script.asked[2] >= 1  # as long as the service asks for


@BOTH
@pytest.mark.parametrize("status", [400, 413, 422, 500, 502])
def test_nothing_else_is_tried_again(written: ModuleType, is_async: bool, status: int) -> None:
    with (
        scripted((status, {}, {"error": "no", "error_id": "error-1"})) as url,
        pytest.raises(written.ServiceError) as caught,
    ):
        ask(written, url, is_async)

    assert len(Script.asked) == 1
    kinds = {500: written.Failed, 502: written.Unavailable}
    assert type(caught.value) is kinds.get(status, written.Refused)
    if status == 500:
        assert caught.value.error_id == "error-1"


@BOTH
def test_retries_end(written: ModuleType, is_async: bool) -> None:
    with scripted(*[BUSY] * 9) as url, pytest.raises(written.Unavailable, match="waiting"):
        ask(written, url, is_async, retries=2)

    assert len(Script.asked) == 3


@BOTH
def test_the_time_is_for_the_whole_call(written: ModuleType, is_async: bool) -> None:
    began = time.monotonic()
    with scripted(BUSY, (200, {"slow": "yes"}, {})) as url:
        with pytest.raises(written.TimedOut, match="within"):
            ask(written, url, is_async, timeout_s=0.3)
        taken = time.monotonic() - began

    assert taken < 0.55


@BOTH
def test_an_answer_in_pieces_is_read_and_nobody_there_is_told(written: ModuleType, is_async: bool) -> None:
    with scripted((404, {"connection": "close"}, "<html>")) as url, pytest.raises(written.Refused, match="html"):
        ask(written, url, is_async)
    with pytest.raises(written.Unavailable, match="does not answer"):
        ask(written, url, is_async)


def test_the_digest_changes_with_what_is_asked_and_not_with_examples() -> None:
    plain = signature()
    same = Signature(**{**_fields(plain), "request": [_with(each, example=None) for each in reversed(plain.request)]})
    others = [
        Signature(**{**_fields(plain), "classes": [0, 2]}),
        Signature(**{**_fields(plain), "request": plain.request[1:]}),
        Signature(**{**_fields(plain), "request": [_with(each, nullable=True) for each in plain.request]}),
    ]

    assert digest_of(same) == digest_of(plain)
    assert len({digest_of(each) for each in [plain, *others]}) == 4


def _fields(given: Signature) -> dict[str, Any]:
    return {name: getattr(given, name) for name in given.__struct_fields__}


def _with(column: Column, **changed: Any) -> Column:
    return Column(**{**{name: getattr(column, name) for name in column.__struct_fields__}, **changed})


def test_the_server_tells_what_a_client_is_made_of(server: Server) -> None:
    told = server.client.get("/openapi.json").json()["x-drivetrain"]

    assert told["signature"] == digest_of(signature()) == server.client.get("/version").json()["champion"]["signature"]
    assert signature_in(text_for(signature())) == told["signature"]


def test_the_command_asks_a_running_server(server: Server, project: Project, tmp_path: Path) -> None:
    told = project.json("client", "--url", server.url, "--output", "sub/asked.py")
    project.command("client", "--url", server.url, "--proto")

    assert (told["signature"], told["is_current"]) == (digest_of(signature()), True)
    assert (project.root / "sub" / "asked.py").read_text() == text_for(signature())
    assert (project.root / "service.proto").read_text() == server.client.get("/service.proto").text
    for options in (["--output", "sub/asked.py"], ["--proto"]):
        project.command("client", "--url", server.url, "--check", *options)


@pytest.mark.parametrize(
    ("url", "told"),
    [("localhost:8000", "is no address"), ("http://127.0.0.1:9", "cannot be reached"), ("file:///etc", "no address")],
)
def test_an_address_that_is_none_is_refused(project: Project, url: str, told: str) -> None:
    done = project.command("client", "--url", url, check=2)

    assert told in done.stderr
    assert not (project.root / "client.py").exists()
