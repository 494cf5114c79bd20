"""`trainer data` at a terminal, where progress is shown, and somebody who presses Ctrl-C."""

import os
import signal
import subprocess
import sys

from said import Said


def interrupted_at(shown: str, *words: object) -> Said:
    """Type the words, wait until the terminal shows that text, and press Ctrl-C."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", "from trainer.cli.main import main; main()", "data", *map(str, words)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, start_new_session=True)
    os.close(theirs)
    seen = b""
    try:
        while part := _read(ours):
            if shown.encode() not in seen and shown.encode() in seen + part:
                running.send_signal(signal.SIGINT)
            seen += part
    finally:
        os.close(ours)
        code = running.wait(timeout=60)
    return Said(code, b"", seen.decode(errors="replace"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # nobody writes to it any more
        return b""
