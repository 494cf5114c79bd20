"""`trainer` commands in this process, and in a real terminal with Ctrl-C."""

import os
import signal
import subprocess
import sys

from support.command_line import CommandOutput, run_command

from trainer.cli.main import main

NO_NETWORK = {"https_proxy": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
"""Downloads fail: nothing listens on that port."""


def run_trainer(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `trainer` with these arguments and additional environment variables."""
    output = run_command(main, *arguments, environment=os.environ | environment)
    return subprocess.CompletedProcess(["trainer", *arguments], output.code, output.text, output.err)


def interrupt_at(text: str, *arguments: object) -> CommandOutput:
    """Run `trainer data` in a pseudo-terminal and press Ctrl-C once the terminal shows `text`."""
    parent, child = os.openpty()
    command = [
        sys.executable,
        "-c",
        "from trainer.cli.main import main; main()",
        "data",
        *map(str, arguments),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=child, start_new_session=True)
    os.close(child)
    screen = b""
    try:
        while part := _read(parent):
            if text.encode() not in screen and text.encode() in screen + part:
                process.send_signal(signal.SIGINT)
            screen += part
    finally:
        os.close(parent)
        code = process.wait(timeout=60)
    return CommandOutput(code, b"", screen.decode(errors="replace"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the process has closed the terminal
        return b""
