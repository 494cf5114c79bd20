"""The real application behind a real server, in Chromium.

`serving` starts the application, `open_browser` a Chromium. Without Chromium, tests that need it are skipped.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from support.page_server import served

from tagger.database.connection import open_database
from tagger.settings import Settings

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
UNUSED_FEATURES = (
    # Two pages of the address bar's suggestions, which every new window would load: a second of time.
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    # Those that Playwright switches off: this list replaces its own.
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
)
QUIET = (
    f"--disable-features={','.join(UNUSED_FEATURES)}",
    "--no-sandbox",
    "--renderer-process-limit=1",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
)


@dataclass(frozen=True)
class Screen:
    """The size of a window, and whether its device has a touch screen."""

    width: int
    height: int
    touch: bool = False


PHONE = Screen(390, 844, touch=True)
DESKTOP = Screen(1440, 900)
# The smallest window with the layout of desktops: Chromium spends much of its time on drawing.
WINDOW = Screen(1040, 650)
MOVES = """() => document.getAnimations().some(
  (each) => each.playState === "running" && each.effect.getTiming().iterations !== Infinity)"""
# Options of axe: it describes only violations, which takes far less time.
VIOLATIONS_ONLY = {"resultTypes": ["violations"]}


# What a page is to show is awaited so long: on a machine with other work, five seconds are not enough
# for a page, its events and a transaction behind a job's.
expect.set_options(timeout=60_000)


@contextmanager
def serving(settings: Settings, *, token: str | None = None, port: int = 0) -> Iterator[str]:
    """Run the application on the database of these settings, by default at a free port; yield its address."""
    database = open_database(settings.effective_database_url)
    try:
        with served(settings, database, token, port) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        database.close()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium; skip the test if it is not installed."""
    program = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if program is None:
        pytest.skip("Chromium is not installed")
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
    screen: Screen = WINDOW,
    dark: bool = False,
    script: bool = True,
    base: str | None = None,
    locale: str | None = None,
) -> Iterator[Page]:
    """Open a page in a new window. Fails at the end if the browser logged errors, as of a script."""
    context = browser.new_context(
        viewport={"width": screen.width, "height": screen.height},
        has_touch=screen.touch,
        is_mobile=screen.touch,
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        base_url=base,
        locale=locale,
    )
    errors: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    try:
        page.goto(address)
        yield page
    finally:
        with suppress(Exception):
            context.close()
    assert not errors, errors


def verdicts_of(page: Page, address: str, photo: int) -> dict[str, str]:
    """The verdicts on a photo by their landmarks, as the server has them."""
    document = page.request.get(f"{address}/api/photos/{photo}").json()
    return {each["landmark"]: each["verdict"] for each in document["verdicts"]}


def axe_findings(page: Page) -> list[str]:
    """The accessibility violations that axe finds once nothing fades or moves any more, one line each."""
    finish_animations(page)
    return _lines(Axe().run(page, options=VIOLATIONS_ONLY).response["violations"])


def colour_findings(page: Page) -> list[str]:
    """The same for contrast only, after `axe_findings` has loaded axe: another theme differs in colours."""
    finish_animations(page)
    options = {**VIOLATIONS_ONLY, "runOnly": ["color-contrast"]}
    return _lines(page.evaluate("(options) => axe.run(document, options)", options)["violations"])


def finish_animations(page: Page) -> None:
    """Wait for fading elements to reach their final contrast."""
    page.wait_for_function(f"() => !({MOVES})()")


def _lines(violations: Any) -> list[str]:
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]}" for rule in violations for node in rule["nodes"]
    ]
