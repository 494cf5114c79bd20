"""Programs kept running on this machine, for `tagger up`: started again when they die, ended with grace."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

from tagger.cli import console

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tagger.settings import Settings

RESTART_PAUSES_S = (1.0, 2.0, 5.0, 10.0)
QUICK_DEATH_S = 20.0
"""A program that dies sooner than this, several times in a row, will not come up by itself."""
STOP_GRACE_S = 60.0
REDIS_CHECK_S = 5.0


class Supervisor:
    """Keeps a worker, a clock and our own Redis running; ends the first two with grace."""

    def __init__(self, settings: Settings, worker_options: Sequence[str]) -> None:
        self._embedded, self._data_folder = settings.redis_url is None, settings.data_folder
        self._checked = time.monotonic()
        self.worker = _Program("worker", worker_options, settings.data_folder / "worker.log")
        self._programs = [self.worker, _Program("beat", (), settings.data_folder / "beat.log")]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        for program in self._programs:
            program.terminate()
        for program in self._programs:
            program.wait()

    def look_after(self) -> None:
        """Start again what has died.

        Raises:
            WorkerFailed: a program dies each time as soon as it is started.
        """
        from worker.embedded import start_embedded

        if self._embedded and time.monotonic() - self._checked > REDIS_CHECK_S:
            self._checked = time.monotonic()
            start_embedded(self._data_folder)
        for program in self._programs:
            program.look_after()


class _Program:
    """One of our own commands as a process of its own."""

    def __init__(self, name: str, options: Sequence[str], log: Path) -> None:
        self.log = log
        self._name = name
        self._options = options
        self._deaths = 0
        self._start()

    def look_after(self) -> None:
        from tagger.errors import WorkerFailed

        code = self._process.poll()
        if code is None:
            return
        lived = time.monotonic() - self._started
        self._deaths = self._deaths + 1 if lived < QUICK_DEATH_S else 1
        if self._deaths > len(RESTART_PAUSES_S):
            raise WorkerFailed(name=self._name, log=self.log, reason=_last_line(self.log))
        pause = RESTART_PAUSES_S[self._deaths - 1]
        console.warn(f"the {self._name} ended with code {code}; starting it again in {pause:.0f} s")
        time.sleep(pause)
        self._start()

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> None:
        try:
            self._process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._started = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            # -P: nothing is imported from the folder this was started in.
            # A session of its own: Ctrl-C reaches the supervisor alone, which then ends the program with grace.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tagger", "-v", self._name, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
