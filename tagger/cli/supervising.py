"""Programs kept running on this machine, for `tagger up`: started again when they die, ended with grace."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

from tagger.cli import console

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from tagger.settings import Settings

RESTART_PAUSES_S = (1.0, 2.0, 5.0, 10.0)
QUICK_DEATH_S = 20.0
"""A program that dies sooner than this, several times in a row, will not come up by itself."""
STOP_GRACE_S = 60.0
REDIS_CHECK_S = 5.0


class Supervisor:
    """Keeps a worker, a clock, the page and our own Redis running; ends all but the last with grace."""

    def __init__(self, settings: Settings, page: socket.socket | None) -> None:
        """`page`: where the page is asked for. It stays open while who serves it is started again, so nobody is turned away."""
        self._embedded, self._data_folder = settings.redis_url is None, settings.data_folder
        self._checked = time.monotonic()
        self._listener = page
        self.worker = _Program("worker", self._data_folder)
        self._programs = [self.worker, _Program("beat", self._data_folder)]
        self._page = _Program("page", self._data_folder, page) if page else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        programs = [*self._programs, *([self._page] if self._page else ())]
        for program in programs:
            program.terminate()
        for program in programs:
            program.wait()

    def look_after(self) -> None:
        """Start again what has died. A page that cannot be served is given up; the work goes on without it.

        Raises:
            WorkerFailed: a program dies each time as soon as it is started.
        """
        from worker.embedded import start_embedded

        if self._embedded and time.monotonic() - self._checked > REDIS_CHECK_S:
            self._checked = time.monotonic()
            start_embedded(self._data_folder)
        for program in self._programs:
            program.look_after()
        self._look_after_page()

    def _look_after_page(self) -> None:
        from tagger.errors import WorkerFailed

        if self._page is None or self._listener is None:
            return
        try:
            self._page.look_after()
        except WorkerFailed as error:
            console.warn(f"{error} The page is no longer served; the rest goes on.")
            self._page = None
            self._listener.close()


class _Program:
    """One of our own commands as a process of its own."""

    def __init__(self, name: str, folder: Path, listener: socket.socket | None = None) -> None:
        self.log = folder / f"{name}.log"
        self._name = name
        self._inherited = () if listener is None else (listener.fileno(),)
        self._command = (name,) if listener is None else ("serve", "--fd", str(listener.fileno()))
        self._deaths = 0
        self._due: float | None = None
        self._start()

    def look_after(self) -> None:
        from tagger.errors import WorkerFailed

        if self._due is not None:
            if time.monotonic() >= self._due:
                self._start()
            return
        code = self._process.poll()
        if code is None:
            return
        lived = time.monotonic() - self._started
        self._deaths = self._deaths + 1 if lived < QUICK_DEATH_S else 1
        if self._deaths > len(RESTART_PAUSES_S):
            raise WorkerFailed(name=self._name, log=self.log, reason=_last_line(self.log))
        pause = RESTART_PAUSES_S[self._deaths - 1]
        console.warn(f"the {self._name} ended with code {code}; starting it again in {pause:.0f} s")
        self._due = time.monotonic() + pause

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> None:
        try:
            self._process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._started, self._due = time.monotonic(), None
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            # -P: nothing is imported from the folder this was started in.
            # A session of its own: Ctrl-C reaches the supervisor alone, which then ends the program with grace.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tagger", "-v", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=self._inherited,
                start_new_session=True,
            )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
