"""Signing in at a provider in a real browser, for which page and provider are two sites."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect
from support.browser import PHONE, axe_findings, open_page
from support.oidc_provider import OidcProvider
from support.single_sign_on import Visitor
from test_accessibility import OUTSIDE_THE_SCREEN

Visit = Callable[..., Visitor]


def test_the_way_leads_to_the_requested_page(visit: Visit, provider: OidcProvider, browser: Browser) -> None:
    provider.asks = True
    address = str(visit(web_user_role="editor").client.base_url).rstrip("/")
    with open_page(browser, f"{address}/library?country=France", screen=PHONE) as page:
        assert page.evaluate(OUTSIDE_THE_SCREEN) == []
        page.get_by_role("link", name="Sign in with localhost").click()
        page.get_by_role("link", name="Continue").click()
        page.wait_for_url(f"{address}/library?country=France")
        page.get_by_role("link", name="Account").click()
        expect(page.get_by_role("heading", name="ada", exact=True)).to_be_visible()
        expect(page.get_by_text("Signed in as editor")).to_be_visible()


@pytest.mark.slow
def test_a_refusal_says_what_to_do(visit: Visit, provider: OidcProvider, browser: Browser) -> None:
    address = str(visit().client.base_url).rstrip("/")
    context = browser.new_context(viewport={"width": PHONE.width, "height": PHONE.height})
    page = context.new_page()
    page.goto(f"{address}/sign-in?next=/map")
    page.get_by_role("link", name="Sign in with localhost").click()
    expect(page.get_by_role("alert")).to_contain_text("They need your subject: 248289761001")
    assert axe_findings(page) == []
    assert page.evaluate(OUTSIDE_THE_SCREEN) == []
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("is completed already")
    page.get_by_role("link", name="Sign in again").click()
    page.wait_for_url(f"{address}/sign-in?next=/")
    context.close()
