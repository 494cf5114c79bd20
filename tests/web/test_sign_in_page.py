"""Signing in with a browser: redirect to the form, back to the requested page, no access for scripts."""

import re

import pytest
from playwright.sync_api import Browser
from starlette.testclient import TestClient
from support.browser import axe_findings, open_page, serving
from support.page_server import LOCAL_URL, TOKEN

from tagger.database.connection import Database
from tagger.people.tokens import add_token
from tagger.settings import Settings

MISPLACED_IN_HEADER = """() => {
  const parts = [".brand-mark", ".site-nav li", ".site-tools > *"].flatMap((each) => [...document.querySelectorAll(each)]);
  const boxes = parts.filter((each) => each.checkVisibility()).map((each) => [each, each.getBoundingClientRect()]);
  const isApart = (one, other) =>
    one.right <= other.left + 1 || other.right <= one.left + 1 || one.bottom <= other.top + 1 || other.bottom <= one.top + 1;
  return boxes.filter(([each, box]) =>
    box.left < 0 || box.right > innerWidth || box.width < 16 || (each.tagName === "SPAN" && box.height > 24) ||
    boxes.some(([other, its]) => other !== each && !isApart(box, its))).map(([each]) => each.outerHTML.slice(0, 80));
}"""
"""Parts that are outside the window, lie on others, are squeezed, or have several lines."""


def test_a_wrong_token_and_a_missing_page_say_what_to_do(client_with_token: TestClient) -> None:
    form = {"token": "not-the-token-at-all"}
    refused = client_with_token.post("/sign-in", data=form, headers={"origin": LOCAL_URL})
    assert refused.status_code == 403
    assert "That is not a valid token" in refused.text
    program = {"authorization": f"Bearer {TOKEN}", "accept": "text/html"}
    missing = client_with_token.get("/no-such-page", headers=program)
    assert missing.status_code == 404
    assert re.search(r'href="/"[^>]*>\s*Go to the start page', missing.text)


@pytest.mark.slow
def test_the_header_of_a_read_only_token_fits_every_window(
    web_settings: Settings, web_database: Database, browser: Browser
) -> None:
    _, secret = add_token(web_database, "guest", read_only=True)
    with (
        serving(web_settings, token=TOKEN) as address,
        open_page(browser, f"{address}/map") as page,
    ):
        page.get_by_label("Token").fill(secret)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/map")
        for width in (320, 390, 767, 768, 900, 1024, 1119, 1120, 1440):
            page.set_viewport_size({"width": width, "height": 600})
            assert page.evaluate(MISPLACED_IN_HEADER) == [], width
        assert axe_findings(page) == []
