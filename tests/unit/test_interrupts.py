"""Tests that interrupt processes work in the background of a script too."""

import os
import signal
import subprocess
import sys
from pathlib import Path

CHILD = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
PARENT = f"import subprocess, sys; sys.exit(-subprocess.call([sys.executable, '-c', {CHILD!r}], stderr=-3))"


def test_children_of_a_background_job_can_be_interrupted() -> None:
    accept = f"from support.interrupts import accept_interrupts; accept_interrupts(); {PARENT}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    codes = [
        subprocess.run(
            ["sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, program],
            env=environment,
            check=False,
        ).returncode
        for program in (PARENT, accept)
    ]
    assert codes == [0, signal.SIGINT]
