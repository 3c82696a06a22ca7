"""The pages of a server of several services in a real browser: each form reaches its own service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.browser import browser, pytestmark, tab_of

if TYPE_CHECKING:
    from tests.serving.front.conftest import Many

__all__ = ["browser", "pytestmark"]


def test_from_the_list_to_a_form_and_back(many: Many, browser: Any) -> None:
    asked: list[str] = []
    page = tab_of(browser).page
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

    assert {f"{many.url}/{name}/predict" for name in ("prices", "arrivals")} <= set(asked)
    assert all(each.startswith((many.url, "data:")) for each in asked)
