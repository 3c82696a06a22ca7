"""The console in a real browser: every page, both themes, no complaint of the browser's, look-up, and renewal."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from tests.browser import browser, pytestmark, tab_of

from drivetrain.pipeline.attachment import attach
from drivetrain.pipeline.points import Points
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.security.event import record_event
from drivetrain.store.record import now
from drivetrain.store.store import Store
from drivetrain.system.part import Job

__all__ = ["browser", "pytestmark"]
ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from drivetrain.system.settings import Project
from drivetrain.ui.server import serve_console
from tests.ui import seed
root = Path(sys.argv[1])
store = seed.seeded(root / ".drivetrain")
print(seed.answered(store), flush=True)
store.close()
serve_console(Project(root=root, values={}), seed.system(), port=int(sys.argv[2]))
"""
PAGES = (
    *("/", "/system", "/parts/flights", "/parts/watch", "/parts/retrain", "/runs"),
    *("/runs/run-0f3k9v2m00001", "/runs/run-0f3k9v2m00002"),
    *("/runs?q=quality.auc+>+0.7&sort=-quality.auc", "/compare?runs=run-0f3k9v2m00001,run-0f3k9v2m00003", "/compare"),
    *("/models", "/versions/lateness@4", "/live", "/events?topic=watching", "/predictions", "/store"),
)


class Served(NamedTuple):
    """A console that answers on this machine."""

    address: str
    prediction: str
    root: Path
    process: subprocess.Popen[str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("project")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(root), str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        prediction = process.stdout.readline().strip()
        address = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                urlopen(f"{address}/api/pulse", timeout=5).close()
                break
            except URLError:
                time.sleep(0.1)
        yield Served(address, prediction, root, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_is_drawn_without_a_complaint(served: Served, browser: Any, theme: str, width: int) -> None:
    tab = tab_of(browser, theme=theme, width=width)

    for path in (*PAGES, f"/predictions/{served.prediction}"):
        tab.page.goto(served.address + path)
        tab.page.wait_for_timeout(50)

        assert tab.page.locator("h1").is_visible(), path
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is wider than the window"
        assert tab.page.evaluate(
            "[...document.querySelectorAll('[data-chart]')].every(each => each.querySelector('canvas'))"
        )
        assert not tab.complaints, path


def test_the_theme_changes_and_stays(served: Served, browser: Any) -> None:
    page = tab_of(browser).page
    page.goto(served.address)

    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    light = paper()
    page.get_by_role("button", name="light and dark").click()
    dark = paper()
    page.goto(f"{served.address}/live")

    assert light != dark
    assert paper() == dark
    assert page.locator("[data-theme-name]").inner_text() == "Dark"


def test_a_prediction_is_found_from_the_keyboard(served: Served, browser: Any) -> None:
    tab = tab_of(browser)
    tab.page.goto(served.address)

    tab.page.keyboard.press("/")
    tab.page.keyboard.type(served.prediction)
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/predictions/pred-*")

    assert "turned out to be" in tab.page.locator("main").inner_text()
    assert not tab.complaints


def test_an_open_page_shows_what_is_recorded_meanwhile(served: Served, browser: Any) -> None:
    tab = tab_of(browser)
    tab.page.goto(served.address)
    tab.page.wait_for_timeout(300)
    tab.page.evaluate("window.mine = document.querySelector('#loop .hub-name')")

    store = Store.open(served.root / ".drivetrain")
    record_event(
        store.ledger, "version.promoted", subject="lateness@5", message="lateness@5 is the champion <b>now</b>."
    )
    store.close()
    tab.page.get_by_text("lateness@5 is the champion <b>now</b>.").wait_for(timeout=8000)

    # What did not change was not drawn anew.
    assert tab.page.evaluate("window.mine.isConnected")
    assert not tab.complaints


# What an attached page may try: to tell of itself first, so that the test knows that it ran.
HOSTILE = """<body><script>
const told = [`origin ${origin}`];
const tries = {
  parent: () => parent.document.title, top: () => { top.location = "/stolen"; }, cookie: () => document.cookie,
  storage: () => localStorage.length, opener: () => window.open("/") || (() => { throw 0; })(),
};
for (const [name, attempt] of Object.entries(tries)) {
  try { attempt(); told.push(`${name} allowed`); } catch { told.push(`${name} refused`); }
}
fetch("/api/runs").then(() => told.push("fetch allowed"), () => told.push("fetch refused"))
  .finally(() => { document.body.innerHTML = told.join(", "); });
</script></body>"""
DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" onload="document.title = 'ran'">
<script>document.title = "ran"; fetch("/api/runs").then(() => { document.title = "read"; });</script>
<rect width="40" height="40"/></svg>"""


def test_what_a_step_attached_never_reaches_the_console(served: Served, browser: Any) -> None:
    store = Store.open(served.root / ".drivetrain")
    run = "run-0f3k9v2m00001"
    for name, text in (("page.html", HOSTILE), ("drawing.svg", DRAWING)):
        (served.root / name).write_text(text)
        attach(store, run, "lateness", f"<script>alert('{name}')</script>", served.root / name)
    store.close()
    page = tab_of(browser).page
    title = "lateness"
    page.goto(f"{served.address}/runs/{run}")
    frame = page.frame_locator("iframe").first
    page.locator("iframe").first.scroll_into_view_if_needed()
    frame.get_by_text("fetch").wait_for(timeout=20_000)
    told = frame.locator("body").inner_text()

    assert told.startswith("origin null")
    assert "allowed" not in told, told
    assert page.url.endswith(run)
    assert title not in page.title()
    addresses = page.locator(".attachment header a").evaluate_all("links => links.map(link => link.href)")
    hostile = [address for address in addresses if "alert" in address]
    assert len(hostile) == 2
    for address in hostile:
        # Opened on its own it is no part of the console either.
        alone = tab_of(browser).page
        alone.goto(address)
        alone.wait_for_timeout(500)
        assert alone.title() not in ("ran", "read")
        # The page leads its own tab away, which any page may; it takes nothing along, and the drawing stays.
        assert alone.url.endswith("/stolen") or alone.evaluate("origin") == "null"
        assert alone.url.endswith("/stolen") == ("page.html" in address)
        answer = alone.request.get(address)
        assert answer.headers["content-security-policy"].startswith("sandbox")
        assert "allow-same-origin" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_curves_of_a_running_step_grow_by_themselves(served: Served, browser: Any) -> None:
    store = Store.open(served.root / ".drivetrain")
    run = "run-0f3k9v2m99999"
    store.ledger.write(
        Run(id=run, system="flights", state="running", started_at=now()),
        StepRun(
            run=run, step="lateness", role="model", state="running", key="k", origin=run, reason="", started_at=now()
        ),
    )  # fmt: skip
    points = Points(cast("Job", SimpleNamespace(store=store, run=run)), "lateness")
    tab = tab_of(browser)
    tab.page.goto(f"{served.address}/runs/{run}")
    tab.page.wait_for_timeout(500)

    def last() -> str:
        return str(tab.page.locator("[data-value]").first.inner_text())

    for value in (0.5, 0.25):
        points.log("loss", value)
    points.flush()
    tab.page.locator("[data-chart] canvas").wait_for(timeout=20_000)
    assert last() == "0.250"
    tab.page.evaluate("window.mine = document.querySelector('[data-chart]')")
    points.log("loss", 0.125)
    points.flush()
    tab.page.locator("[data-value]", has_text="0.125").wait_for(timeout=20_000)

    # It goes on in the same chart.
    assert tab.page.evaluate("window.mine.isConnected")
    assert not tab.complaints
    points.close()
    store.close()


def test_ticked_runs_are_compared_and_stay_ticked(served: Served, browser: Any) -> None:
    tab = tab_of(browser)
    tab.page.goto(f"{served.address}/runs")
    ticks = tab.page.locator(".tick")
    ticks.nth(0).check()
    assert tab.page.get_by_role("button", name="Compare").is_disabled()
    ticks.nth(1).check()
    store = Store.open(served.root / ".drivetrain")
    store.ledger.write(Run(id="run-0f3k9v2m99998", system="flights", state="finished", started_at=now()))
    store.close()
    tab.page.get_by_text("run-0f3k9v2m99998").wait_for(timeout=20_000)

    tab.page.get_by_role("button", name="Compare").click()
    tab.page.wait_for_url("**/compare?run=*")

    assert "2 runs side by side" in tab.page.locator("h1").inner_text()
    assert not tab.complaints
