"""People in a browser on a phone: signing in by name, the account, and the access of others."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient
from support.browser import DESKTOP, PHONE, axe_findings, colour_findings, open_page, serving
from support.page_server import LOCAL_URL, TOKEN
from test_accessibility import OUTSIDE_THE_SCREEN

from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.people.users import add_user
from tagger.settings import Settings

PASSWORD = "correct horse battery"


def check(page: Page) -> None:
    """The view has no accessibility violations in either theme, and nothing is outside of the window."""
    assert axe_findings(page) == []
    assert page.evaluate(OUTSIDE_THE_SCREEN) == []
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert colour_findings(page) == []
    page.emulate_media(color_scheme="light")


@pytest.mark.slow
def test_people_sign_in_and_their_pages_are_accessible(
    web_settings: Settings, web_database: Database, browser: Browser
) -> None:
    add_user(web_database, "ada", Role.ADMIN, PASSWORD)
    with (
        serving(web_settings, token=TOKEN) as address,
        open_page(browser, f"{address}/admin/users", screen=PHONE) as page,
    ):
        expect(page.get_by_label("Name")).to_be_focused()
        check(page)
        page.get_by_label("Name").fill("Ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/admin/users")
        check(page)
        page.get_by_role("button", name="Settings").click()
        page.get_by_role("link", name="Account").click()
        expect(page.get_by_text("this browser")).to_be_visible()
        check(page)
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.wait_for_url(f"{address}/sign-in")


@pytest.mark.slow
def test_people_and_sessions_stand_side_by_side_on_a_desktop_in_german(
    web_settings: Settings, web_database: Database, browser: Browser
) -> None:
    for name, role in (("ada", Role.ADMIN), ("a-name-without-any-break" * 3, Role.EDITOR)):
        add_user(web_database, name, role, PASSWORD)
    with (
        serving(web_settings, token=TOKEN) as address,
        open_page(browser, f"{address}/sign-in", screen=DESKTOP, locale="de") as page,
    ):
        page.fill("#name", "ada")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Einstellungen")).to_be_visible()
        for path in ("/admin/users", "/account"):
            page.goto(address + path)
            check(page)
            left, right = (part.bounding_box() for part in page.locator(".account > section").all())
            assert left
            assert right
            assert left["x"] + left["width"] < right["x"]


def test_a_wrong_token_and_a_missing_page_say_what_to_do(client_with_token: TestClient) -> None:
    form = {"token": "not-the-token-at-all"}
    refused = client_with_token.post("/sign-in", data=form, headers={"origin": LOCAL_URL})
    assert refused.status_code == 403
    assert "That is not a valid token" in refused.text
    program = {"authorization": f"Bearer {TOKEN}", "accept": "text/html"}
    missing = client_with_token.get("/no-such-page", headers=program)
    assert missing.status_code == 404
    assert re.search(r'href="/"[^>]*>\s*Go to the start page', missing.text)
