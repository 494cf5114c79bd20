"""Signing in at a provider in a real browser, for which page and provider are two sites."""

from collections.abc import Callable

from playwright.sync_api import Browser, expect
from support.browser import PHONE, axe_findings, open_page
from support.oidc_provider import OidcProvider
from support.single_sign_on import Visitor
from test_accessibility import OUTSIDE_THE_SCREEN

Visit = Callable[..., Visitor]


def test_the_way_leads_to_the_requested_page_and_out_at_the_provider_too(
    visit: Visit, provider: OidcProvider, browser: Browser
) -> None:
    provider.asks = True
    address = str(visit(web_user_role="editor").client.base_url).rstrip("/")
    with open_page(browser, f"{address}/places?country=France", screen=PHONE) as page:
        assert page.evaluate(OUTSIDE_THE_SCREEN) == []
        page.get_by_role("link", name="Sign in with localhost").click()
        page.get_by_role("link", name="Continue").click()
        page.wait_for_url(f"{address}/places?country=France")
        page.get_by_role("button", name="Settings").click()
        page.get_by_role("link", name="Account").click()
        expect(page.get_by_role("heading", name="ada", exact=True)).to_be_visible()
        expect(page.get_by_text("Signed in as editor")).to_be_visible()
        assert axe_findings(page) == []
        provider.asks = False
        page.get_by_role("button", name="Sign out", exact=True).first.click()
        page.wait_for_url(f"{address}/sign-in")
    assert provider.person is None
