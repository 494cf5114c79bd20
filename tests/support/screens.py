"""Commands in a terminal, as a person sees them."""

import os
import pty
import subprocess
import termios
import time
from select import select

from support.commands import BIN, Terminal

WAIT_S = 60.0


class Screen:
    """A command in a terminal of 80 columns and 24 lines, and what it wrote there."""

    def __init__(self, terminal: Terminal, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        self.process = subprocess.Popen(
            [str(BIN / "tagger"), *words],
            cwd=terminal.folder,
            env={**terminal.environment, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.written = b""
        self._found_to = 0

    def read_until(self, expected: bytes) -> None:
        """Until that has been written after what the last call waited for."""
        deadline = time.monotonic() + WAIT_S
        while (found := self.written.find(expected, self._found_to)) < 0:
            ready, _, _ = select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{expected!r} was not written: {self.written!r}"
            self.written += os.read(self._ours, 65536)
        self._found_to = found + len(expected)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
