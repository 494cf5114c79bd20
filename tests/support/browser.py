"""The real application behind a real server, in Chromium.

`serving` starts what is to be looked at, `open_browser` what looks at it. Without Chromium, those tests skip and say so.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from support.page_server import served

from tagger.database.connection import open_database
from tagger.settings import Settings

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")


@dataclass(frozen=True)
class Screen:
    """A window's size, and whether fingers press what it shows."""

    width: int
    height: int
    touch: bool = False


PHONE = Screen(390, 844, touch=True)
DESKTOP = Screen(1440, 900)


@contextmanager
def serving(settings: Settings, *, token: str | None = None) -> Iterator[str]:
    """The application over the database of these settings, meanwhile; gives its address."""
    database = open_database(settings.effective_database_url)
    try:
        with served(settings, database, token) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        database.close()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A Chromium; where there is none, the test that wants it skips."""
    program = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(
    browser: Browser,
    address: str,
    *,
    screen: Screen = DESKTOP,
    dark: bool = False,
    script: bool = True,
    base: str | None = None,
) -> Iterator[Page]:
    """A page in a window of its own. Fails if the browser complains of anything: a refused style, a script's error."""
    context = browser.new_context(
        viewport={"width": screen.width, "height": screen.height},
        has_touch=screen.touch,
        is_mobile=screen.touch,
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        base_url=base,
    )
    complaints: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    try:
        page.goto(address)
        yield page
    finally:
        with suppress(Exception):
            context.close()
    assert not complaints, complaints


def axe_findings(page: Page) -> list[str]:
    """What axe has against the page as it is now, a line each."""
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {rule['help']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]
