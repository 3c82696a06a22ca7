"""Graphs in a real browser: a run that waits is answered there, its items are unfolded, and its log is plain text."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from tests.browser import browser, pytestmark, tab_of
from tests.ui import graphs

from drivetrain.pipeline.run import StepRun
from drivetrain.store.store import Store

__all__ = ["browser", "pytestmark"]
ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from drivetrain.system.settings import Project
from drivetrain.ui.server import serve_console
from tests.ui import graphs
values = {"console.token": sys.argv[3]} if sys.argv[3:] else {}
serve_console(Project(root=Path(sys.argv[1]), values=values), graphs.system(), port=int(sys.argv[2]))
"""
# A folder for pictures of the pages, to be looked at.
PICTURES = os.environ.get("DRIVETRAIN_TEST_PICTURES", "")


class Served(NamedTuple):
    """A console, the store that it shows, and the ids of a run that waits and of one that failed."""

    address: str
    store: Store
    run: str
    failed: str


@contextmanager
def console_at(root: Path, *token: str) -> Iterator[str]:
    """Serve a console in a process of its own, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(root), str(port), *token], cwd=ROOT) as process:
        address = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                urlopen(f"{address}/login", timeout=5).close()
                break
            except URLError:
                time.sleep(0.1)
        try:
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("graphs")
    store = Store.open(root / ".drivetrain")
    failed = graphs.failed(store)
    run, _ = graphs.waiting(store)
    with console_at(root) as address:
        yield Served(address, store, run, failed)
    graphs.end_waiting(store)


def picture(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_pages_of_graphs_fit_and_nothing_is_complained_of(served: Served, browser: Any, theme: str, width: int) -> None:
    tab = tab_of(browser, theme=theme, width=width)
    for path in ("/", "/system", f"/runs/{served.run}", f"/runs/{served.failed}", "/approvals", "/parts/rows"):
        tab.page.goto(served.address + path)
        tab.page.wait_for_timeout(50)
        for each in tab.page.locator("details").all():
            each.locator("summary").click()
        picture(tab.page, f"{theme}{path.replace('/', '-')}")
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is wider than the window"
        assert not tab.complaints, path


def test_a_log_is_opened_as_text_and_runs_nothing(served: Served, browser: Any) -> None:
    tab = tab_of(browser)
    tab.page.on("dialog", lambda dialog: tab.complaints.append(dialog.message))
    tab.page.goto(f"{served.address}/runs/{served.run}")
    tab.page.locator("#logs .log", has_text="total").get_by_role("link", name="all of it").click()
    tab.page.wait_for_url("**/logs/**")
    assert "<script>alert(1)</script>" in tab.page.locator("body").inner_text()
    assert not tab.complaints


def test_a_waiting_run_is_answered_in_the_browser_and_unfolded_items_stay_open(served: Served, browser: Any) -> None:
    tab = tab_of(browser)
    tab.page.goto(f"{served.address}/runs/{served.run}")
    tab.page.locator("#items-rows summary").click()
    tab.page.get_by_text("rows[2013-12]").wait_for()
    tab.page.get_by_label("Your name").fill("ann")
    tab.page.get_by_role("button", name="Approve").click()
    assert "/approvals/" not in tab.page.url, "the browser asks for a reason first"
    tab.page.get_by_label("Why").fill("I added them up")
    tab.page.get_by_role("button", name="Approve").click()
    tab.page.get_by_role("link", name="shipped").wait_for(timeout=60_000)
    assert tab.page.get_by_label("Your name").count() == 0
    step = served.store.ledger.get(StepRun, served.run, "sign_off")
    assert step is not None
    told = step.outputs["sign_off"].detail["approval"]
    assert (told["by"], told["reason"], told["state"]) == ("ann (console)", "I added them up", "approved")
    tab.page.locator("#items-rows summary").click()
    graphs.failed(served.store)  # something is recorded, and the page renews itself
    tab.page.wait_for_timeout(2500)
    assert tab.page.get_by_text("rows[2013-12]").is_visible()
    assert not tab.complaints


def test_the_token_opens_the_console_in_a_browser(browser: Any, tmp_path: Path) -> None:
    Store.open(tmp_path / ".drivetrain").close()
    with console_at(tmp_path, "long enough to be a token") as address:
        page = tab_of(browser).page
        page.goto(f"{address}/runs")
        page.locator("input[name=token]").fill("long enough to be a token")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/runs")
        assert page.locator("h1").inner_text() == "Runs"
