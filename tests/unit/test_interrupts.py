"""Tests that interrupt processes work in the background of a script too."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = "import os, signal; os.kill(os.getpid(), signal.{name})"
PARENT = "import subprocess, sys; sys.exit(-subprocess.call([sys.executable, '-c', {child!r}], stderr=-3))"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_children_of_a_background_job_can_be_interrupted(number: signal.Signals) -> None:
    parent = PARENT.format(child=CHILD.format(name=number.name))
    accept = f"from support.interrupts import accept_interrupts; accept_interrupts(); {parent}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ignored = number.name.removeprefix("SIG")
    codes = [
        subprocess.run(
            ["sh", "-c", f'trap "" {ignored}; exec "$0" -c "$1"', sys.executable, program],
            env=environment,
            check=False,
        ).returncode
        for program in (parent, accept)
    ]
    assert codes == [0, number]
