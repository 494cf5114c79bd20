"""`trainer` commands in this process."""

import os
import subprocess

from support.command_line import run_command

from trainer.cli.main import main

# Downloads fail: nothing listens on that port.
NO_NETWORK = {"https_proxy": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}


def run_trainer(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    output = run_command(main, *arguments, environment=os.environ | environment)
    return subprocess.CompletedProcess(["trainer", *arguments], output.code, output.text, output.err)
