"""Real browsers without a screen: Chromium, and Firefox."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from bench.page import chromium, firefox

OPENERS = {"Chromium": chromium.open_browser, "Firefox": firefox.open_browser}
_QUIET_S = 0.5
_IS_QUIET = """async (quietMs) => {
    const count = () => performance.getEntriesByType("resource").length;
    for (let before = -1; before !== count();) {
        before = count();
        await new Promise((resolve) => setTimeout(resolve, quietMs));
    }
}"""


class Window(Protocol):
    """A page in a new window, with an empty cache."""

    def evaluate(self, function: str, argument: object = None) -> Any:
        """Call a JavaScript function, also an async one, in the page. Returns its result as JSON has it."""


class Browser(Protocol):
    """A running browser."""

    @property
    def version(self) -> str: ...

    def window(self, url: str) -> AbstractContextManager[Window]:
        """Open a page and wait until it is loaded."""


@contextmanager
def open_browsers() -> Iterator[dict[str, Browser]]:
    """The browsers that are installed, by name."""
    with ExitStack() as stack:
        browsers: dict[str, Browser] = {}
        for name, opener in OPENERS.items():
            if (browser := stack.enter_context(opener())) is not None:
                browsers[name] = browser
        yield browsers


def wait_until_quiet(window: Window) -> None:
    """Wait until the page has loaded nothing for half a second."""
    window.evaluate(_IS_QUIET, 1000 * _QUIET_S)
