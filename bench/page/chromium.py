"""Chromium, through Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import playwright.sync_api as playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
WINDOW: Any = {"width": 1440, "height": 900}


class Chromium:
    """A running Chromium."""

    def __init__(self, browser: "playwright.Browser") -> None:
        self._browser = browser
        self.version = browser.version

    @contextmanager
    def window(self, url: str) -> Iterator["playwright.Page"]:
        """Open a page with an empty cache and wait until it is loaded."""
        context = self._browser.new_context(viewport=WINDOW)
        try:
            page = context.new_page()
            page.goto(url)
            yield page
        finally:
            context.close()


@contextmanager
def open_browser() -> Iterator[Chromium | None]:
    """Start Chromium; None if it is not installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(OPTIONS))
        try:
            yield Chromium(browser)
        finally:
            browser.close()
