"""Runs programs and measures their wall time and CPU time, all their processes included (Linux)."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

TAGGER = (sys.executable, "-m", "tagger")
# The model that the package ships.
SHIPPED = Path(__file__).parents[1] / "tagger" / "shipped" / "landmarks.pt"


@dataclass(frozen=True)
class Finished:
    """A process that has ended. `cpu_s` is that of all threads, and of children that it waited for.

    `memory_mib` is the most memory that it had.
    """

    wall_s: float
    cpu_s: float
    memory_mib: float
    code: int
    out: str
    err: str

    def checked(self, *allowed_codes: int) -> "Finished":
        """Return itself if the exit code is one of `allowed_codes` (0 by default).

        Raises:
            SystemExit: it has another exit code. The message ends with its error output.
        """
        if self.code not in (allowed_codes or (0,)):
            raise SystemExit(f"a command ended with code {self.code}:\n{self.err[-2000:]}")
        return self


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> Finished:
    """Run a command to its end. Its output goes to files, so that no reader disturbs the measurement."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        _, status, rusage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="surrogateescape"))
    cpu_s, memory_mib = rusage.ru_utime + rusage.ru_stime, rusage.ru_maxrss / 1024
    return Finished(wall_s, cpu_s, memory_mib, process.returncode, *texts)


def tagger_environment(data_folder: Path, **settings: str) -> dict[str, str]:
    """Return the environment of the tagger's first start with a data folder, with only these settings.

    Photos are read at once: those that a benchmark has just drawn or copied are complete.
    """
    variables = {f"TAGGER_{name.upper()}": value for name, value in settings.items()}
    defaults = {"TAGGER_DATA_FOLDER": str(data_folder), "TAGGER_SETTLE_S": "0"}
    return plain_environment() | defaults | variables


def plain_environment() -> dict[str, str]:
    """Return the environment of this process, without settings of the tagger.

    PYTHONDONTWRITEBYTECODE is removed too: where it is set, as in many containers, every start would compile
    torch and all other modules again, and the measurement would include that.
    """
    excluded = ("TAGGER_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(excluded)}


def cpu_seconds(pid: int) -> float:
    """Return the CPU time so far of a worker and its descendants, but not of its embedded Redis."""
    total, session = 0.0, os.getsid(pid)
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.Error, ProcessLookupError):  # it has ended since
            if os.getsid(process.pid) == session:
                total += sum(process.cpu_times()[:4])  # with the children that it waited for
    return total
