"""The pages of a server of several services in a real browser: each form reaches its own service."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.serving.front.conftest import Many

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    # Playwright leaves its event loop's transports to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_from_the_list_to_a_form_and_back(many: Many) -> None:
    asked: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(many.url)
        for name in ("prices", "arrivals"):
            page.click(f"text={name}")
            assert page.url == f"{many.url}/{name}/"
            for place in range(page.locator("#form option").count()):
                page.select_option("#form", index=place)
                page.click("#send")
                page.locator("#status", has_text="ms").wait_for()
                assert page.inner_text("#status").startswith(("200 ", "202 ")), page.inner_text("#reply")
            page.click("text=All services")
        browser.close()

    assert {f"{many.url}/{name}/predict" for name in ("prices", "arrivals")} <= set(asked)
    assert all(each.startswith((many.url, "data:")) for each in asked)
