"""Firefox, through Marionette: each installed Firefox has it, Playwright drives only a Firefox of its own.

A message is its length, a colon, and JSON: a list of its type, its number, the command and the parameters; answers have an error
and a result instead. Source: https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html
"""

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("firefox", "firefox-esr")
START_S, ANSWER_S = 60.0, 900.0
SIZE = {"width": 1440, "height": 900}
_PREFERENCES = """user_pref("marionette.port", 0);
user_pref("app.update.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
"""
_CALL = """const done = arguments[arguments.length - 1];
Promise.resolve(({function})({argument})).then(
    (value) => done(JSON.stringify({{ value }})), (error) => done(JSON.stringify({{ error: String(error) }})));"""


class Firefox:
    """A running Firefox with one window, which is emptied for each page."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._number = 0
        self._read()  # what it offers
        session = self._send("WebDriver:NewSession", {})
        self._send("WebDriver:SetTimeouts", {"script": int(1000 * ANSWER_S)})
        self.version = str(session["capabilities"]["browserVersion"])
        self._resize()

    @contextmanager
    def window(self, url: str) -> Iterator["Firefox"]:
        """Open a page with an empty cache and wait until it is loaded."""
        self._send("WebDriver:Navigate", {"url": "about:blank"})
        self._send("Marionette:SetContext", {"value": "chrome"})
        self._send("WebDriver:ExecuteScript", {"script": "Services.cache2.clear()", "args": []})
        self._send("Marionette:SetContext", {"value": "content"})
        self._send("WebDriver:Navigate", {"url": url})
        yield self

    def evaluate(self, function: str, argument: object = None) -> Any:
        """Call a JavaScript function, also an async one, in the page. Returns its result as JSON has it."""
        script = _CALL.format(function=function, argument=json.dumps(argument))
        answer = self._send("WebDriver:ExecuteAsyncScript", {"script": script, "args": [], "sandbox": None})
        result = json.loads(answer["value"])
        if "error" in result:
            raise SystemExit(f"Firefox: {result['error']}")
        return result.get("value")

    def _resize(self) -> None:
        """Give the page, not the window around it, the size."""
        self._send("WebDriver:SetWindowRect", SIZE)
        width, height = self.evaluate("() => [innerWidth, innerHeight]")
        outer = {"width": 2 * SIZE["width"] - width, "height": 2 * SIZE["height"] - height}
        self._send("WebDriver:SetWindowRect", outer)

    def _send(self, command: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, command, parameters]).encode()
        self._connection.sendall(b"%d:%b" % (len(message), message))
        _, _, error, result = self._read()
        if error is not None:
            raise SystemExit(f"Firefox refused {command}: {error['message']}")
        return result

    def _read(self) -> Any:
        digits = b""
        while (byte := self._stream.read(1)) != b":":
            if not byte:
                raise SystemExit("Firefox ended")
            digits += byte
        return json.loads(self._stream.read(int(digits)))


@contextmanager
def open_browser() -> Iterator[Firefox | None]:
    """Start Firefox with a new profile; None if it is not installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tagger-firefox-", ignore_cleanup_errors=True) as name:
        profile = Path(name)
        (profile / "user.js").write_text(_PREFERENCES)
        command = [
            program,
            "--headless",
            "--marionette",
            "--remote-allow-system-access",
            "--no-remote",
            "--profile",
            name,
        ]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            with closing(socket.create_connection(("127.0.0.1", _port(profile)), ANSWER_S)) as connection:
                yield Firefox(connection)
        finally:
            process.kill()
            process.wait()


def _port(profile: Path) -> int:
    file, until = profile / "MarionetteActivePort", time.monotonic() + START_S
    while time.monotonic() < until:
        if file.exists() and (text := file.read_text()):
            return int(text)
        time.sleep(0.1)
    raise SystemExit("Firefox did not start")
