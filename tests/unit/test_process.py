"""What a program sets for its process before it imports engines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from {name}.cli.main import main
sys.argv = ["{name}", "--version"]
try:
    main()
except SystemExit:
    pass
before = set(os.listdir("/proc/self/task"))
import numpy
print(len(os.listdir("/proc/self/task")) - len(before), os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize("name", ["tagger", "trainer"])
def test_numpy_starts_no_threads_that_spin(name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENBLAS", "OMP"))}
    command = [sys.executable, "-c", PROGRAM.format(name=name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 PASSIVE"
