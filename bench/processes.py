"""Runs programs and measures their wall time, CPU time and peak memory.

Imports nothing heavy: a process starts with its parent's peak memory, so this one stays small.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from bench.process_tree import peak_memory

TAGGER = (sys.executable, "-m", "tagger")


@dataclass(frozen=True)
class Usage:
    """`cpu_s` is user and system time of all threads; `peak_mib` the largest resident set."""

    wall_s: float
    cpu_s: float
    peak_mib: float


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    usage: Usage
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


def run(
    command: Sequence[str | Path], environment: Mapping[str, str], *, with_children: bool = False
) -> Finished:
    """Run a command to its end. Its output goes to files, so that no reader disturbs the measurement.

    CPU time includes the children that it waited for. Peak memory is that of the largest process or, with children,
    the sampled sum of all processes.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        with peak_memory(process.pid) if with_children else nullcontext() as sampled:
            _, status, rusage = os.wait4(process.pid, 0)
            wall_s = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        peak_mib = sampled.value if sampled else rusage.ru_maxrss / 1024
        usage = Usage(wall_s, rusage.ru_utime + rusage.ru_stime, peak_mib)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="surrogateescape"))
    return Finished(usage, process.returncode, *texts)


def tagger_environment(data_folder: Path, **settings: str) -> dict[str, str]:
    """Return the environment of the tagger's first start with a data folder, with only these settings.

    Photos are read at once: those that a benchmark has just drawn or copied are complete.
    """
    variables = {f"TAGGER_{name.upper()}": value for name, value in settings.items()}
    defaults = {"TAGGER_DATA_FOLDER": str(data_folder), "TAGGER_SETTLE_S": "0"}
    return plain_environment() | defaults | variables


def plain_environment() -> dict[str, str]:
    """Return the environment of this process, without settings of the tagger.

    PYTHONDONTWRITEBYTECODE is removed too: where it is set, as in many containers, every start would compile torch and
    all other modules again, and the measurement would include that.
    """
    excluded = ("TAGGER_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(excluded)}
