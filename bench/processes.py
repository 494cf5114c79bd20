"""Programs run and measured as their operating system counts them: wall time, CPU time, peak memory.

Imports nothing heavy: a process starts with its parent's peak memory, so this one stays small.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TAGGER = (sys.executable, "-m", "tagger")
_TICKS = os.sysconf("SC_CLK_TCK")


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

    def checked(self, *good: int) -> "Finished":
        """Itself, if it ended with one of the good exit codes (0 unless others are named).

        Raises:
            SystemExit: it did not; with what it said.
        """
        if self.code not in (good or (0,)):
            raise SystemExit(f"a command ended with code {self.code}:\n{self.err[-2000:]}")
        return self


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> Finished:
    """Run to the end; its output goes to files, so that nobody has to read while it is measured."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        usage = Usage(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * _maxrss_unit() / 2**20)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="surrogateescape"))
    return Finished(usage, process.returncode, *texts)


def tagger_environment(data_folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a person who has never used tagger, but for the settings named here."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TAGGER_")}
    given = {f"TAGGER_{name.upper()}": value for name, value in settings.items()}
    return inherited | {"TAGGER_DATA_FOLDER": str(data_folder)} | given


def cpu_seconds(pid: int) -> float:
    """CPU time of a running process so far, all its threads, not its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_mib(pid: int) -> float:
    """The largest resident set of a running process so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def resident_mib(pid: int) -> float:
    """The resident set of a running process now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _maxrss_unit() -> int:
    return 1 if sys.platform == "darwin" else 1024
