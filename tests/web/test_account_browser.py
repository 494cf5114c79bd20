"""People in a browser: signing in by name, the account, and the access of others, on a phone too."""

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import PHONE, axe_findings, colour_findings, open_page, serving
from support.page_server import TOKEN
from test_accessibility import OUTSIDE_THE_SCREEN

from tagger.database.connection import Database
from tagger.people.grants import Role
from tagger.people.users import add_user
from tagger.settings import Settings

PASSWORD, OTHER = "correct horse battery", "another long password"


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")


def check(page: Page) -> None:
    """The view has no accessibility violations in either theme, and nothing is outside of the window."""
    assert axe_findings(page) == []
    assert page.evaluate(OUTSIDE_THE_SCREEN) == []
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert colour_findings(page) == []
    page.emulate_media(color_scheme="light")


@pytest.mark.slow
def test_a_person_signs_in_and_changes_the_password(
    web_settings: Settings, web_database: Database, browser: Browser
) -> None:
    add_user(web_database, "ada", Role.EDITOR, PASSWORD)
    with (
        serving(web_settings, token=TOKEN) as address,
        open_page(browser, f"{address}/library", screen=PHONE) as page,
    ):
        expect(page.get_by_label("Name")).to_be_focused()
        check(page)
        sign_in(page, "Ada")
        page.wait_for_url(f"{address}/library")
        page.get_by_role("link", name="Account").click()
        expect(page.get_by_role("heading", name="ada", exact=True)).to_be_visible()
        expect(page.get_by_text("this browser")).to_be_visible()
        check(page)
        page.get_by_label("Current password").fill(PASSWORD)
        page.get_by_label("New password", exact=True).fill(OTHER)
        page.get_by_label("New password again").fill(OTHER)
        page.get_by_role("button", name="Change the password").click()
        expect(page.get_by_role("status").filter(has_text="Your password is changed")).to_be_visible()
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.wait_for_url(f"{address}/sign-in")
        sign_in(page, "ada", OTHER)
        page.wait_for_url(lambda url: not url.startswith(f"{address}/sign-in"))


@pytest.mark.slow
def test_the_pages_of_admins_are_accessible(
    web_settings: Settings, web_database: Database, browser: Browser
) -> None:
    add_user(web_database, "ada", Role.ADMIN, PASSWORD)
    with (
        serving(web_settings, token=TOKEN) as address,
        open_page(browser, f"{address}/admin/users", screen=PHONE) as page,
    ):
        sign_in(page, "ada")
        page.wait_for_url(f"{address}/admin/users")
        check(page)
        page.goto(f"{address}/admin/audit")
        check(page)
