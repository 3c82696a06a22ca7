"""The page of a service in a real browser: every form can be tried, and nothing comes from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.browser import browser, pytestmark, tab_of

if TYPE_CHECKING:
    from tests.serving.world import Server

__all__ = ["browser", "pytestmark"]


def test_every_form_can_be_tried(server: Server, browser: Any) -> None:
    page, complaints = tab_of(browser)
    elsewhere: list[str] = []

    def only_ours(route: Any) -> None:
        if not route.request.url.startswith((server.url, "data:")):
            elsewhere.append(route.request.url)
        route.continue_()

    page.route("**", only_ours)
    page.goto(f"{server.url}/docs")
    forms = page.locator("#form option").all_inner_texts()
    told = {}
    for place, form in enumerate(forms):
        page.select_option("#form", index=place)
        page.click("#send")
        page.locator("#status", has_text="ms").wait_for()
        told[form] = page.inner_text("#status").split()[0]
        assert form.split()[0] in page.inner_text("#curl")
    page.fill("#request", "{")
    page.click("#send")
    page.locator("#reply.bad").wait_for()

    assert {status for form, status in told.items() if not form.startswith("/jobs ")} == {"200"}
    assert {status for form, status in told.items() if form.startswith("/jobs ")} == {"202"}
    assert {form.split()[0] for form in forms} == {
        "/predict",
        "/feedback",
        "/invocations",
        "/jobs",
        "/v1/models/late:predict",
        "/v2/models/late/infer",
    }
    assert elsewhere == []
    assert len(complaints) == 1  # the browser's own, on the refusal that was asked for
