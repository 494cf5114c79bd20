"""Ends a process that makes no progress, for its supervisor to restart, and tells of it at the next start.

One thread asks, every CHECK_S, registered checks. A native library may hold the interpreter's lock for good,
so each round renews a timer of `faulthandler`, whose thread in C ends the process with exit code 1 if no
other round comes. Both write into a report what each thread was doing. A process that was stopped for longer
than the limit, as by Ctrl-Z, ends when it continues.

Programs call `watch_start` before they import what could hold the lock, and `watch` once they know the
settings: until then, the report goes to stderr.
"""

import faulthandler
import logging
import math
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from tagger.processes.permissions import create_private_file, make_private_folder

log = logging.getLogger(__name__)

EXIT_CODE = os.EX_TEMPFAIL
CHECK_S = 5.0
# What the names of reports begin with.
STEM = "stalled-"
STDERR = 2
# The limit of a start, whose settings are not read yet: this variable, and its default.
START_VARIABLE, START_TIMEOUT_S = "TAGGER_STALL_TIMEOUT_S", 300.0

# What makes no progress for too long, if anything.
Check = Callable[[], str | None]
_checks: list[Check] = []


@contextmanager
def stall_check(check: Check) -> Iterator[None]:
    """Ask `check` while the context is open, if this process is watched."""
    _checks.append(check)
    try:
        yield
    finally:
        _checks.remove(check)


def watch_start() -> None:
    """Watch this process from its start, unless it is watched; `watch` follows with the settings."""
    global _watch  # noqa: PLW0603 - a process has one timer
    if _watch is None:
        _watch = _Watch(_start_timeout_s())


def watch(program: str, folder: Path, timeout_s: float) -> None:
    """Watch this process until `unwatch`, as its first `program`. `folder` gets the report."""
    global _watch  # noqa: PLW0603
    if _watch is None:
        _watch = _Watch(timeout_s)
    if _watch.program is None:
        _watch.program = program
        _watch.set_report(_opened(folder / f"{STEM}{program}.log"), timeout_s)


def unwatch() -> None:
    global _watch  # noqa: PLW0603
    if _watch is not None:
        _watch.close()
        _watch = None


def _start_timeout_s() -> float:
    # The limit in the environment. A wrong value is refused when the settings are read.
    try:
        timeout_s = float(os.environ[START_VARIABLE])
    except (KeyError, ValueError):
        return START_TIMEOUT_S
    return timeout_s if 2 * CHECK_S <= timeout_s < math.inf else START_TIMEOUT_S


def stalls(folder: Path, program: str = "*") -> dict[Path, str]:
    """The reports in a folder of processes that were ended, each with the sentence about it."""
    found = {}
    for file in sorted(folder.glob(f"{STEM}{program}.log")):
        with suppress(
            OSError
        ):  # another start renames it just now, or it is a link to nothing
            status = file.stat()
            if stat.S_ISREG(status.st_mode) and status.st_size:
                found[file] = _text(file, status.st_mtime)
    return found


def _text(report: Path, ended_at: float) -> str:
    program = report.stem.removeprefix(STEM).partition(".")[0]
    when = f"{datetime.fromtimestamp(ended_at).astimezone():%Y-%m-%d at %H:%M}"
    return (
        f"tagger {program} made no progress and was ended on {when}; no work is lost; {report} shows "
        f"what it was doing"
    )


class _Watch:
    # The thread that asks, and the timer of `faulthandler`, of which a process has one.
    def __init__(self, timeout_s: float) -> None:
        # Whose report it writes; None: the report goes to stderr.
        self.program: str | None = None
        self._closed = threading.Event()
        # Checks that have failed, which is logged once.
        self._failed: set[Check] = set()
        self._lock = threading.Lock()
        self._report, self._timeout_s = _stderr(), timeout_s
        self._renew()
        self._thread = threading.Thread(
            target=self._run, name="stall-watch", daemon=True
        )
        self._thread.start()

    def set_report(self, report: BinaryIO, timeout_s: float) -> None:
        # Write into this file from now on, after this time without progress.
        with self._lock:
            former_report, self._report = self._report, report
            self._timeout_s = timeout_s
            self._renew()
            former_report.close()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        self._report.close()

    def _run(self) -> None:
        renewed_at = time.monotonic()
        while not self._closed.wait(CHECK_S):
            # After the process was stopped, this thread may run before that of the timer.
            if time.monotonic() - renewed_at > self._timeout_s:
                self._end(f"Nothing ran for more than {self._timeout_s:.0f} s")
            with self._lock:
                self._renew()
            renewed_at = time.monotonic()
            for check in [*_checks]:
                try:
                    problem = check()
                except Exception:
                    if check not in self._failed:
                        log.exception("What makes no progress could not be checked")
                    self._failed.add(check)
                    continue
                if problem is not None:
                    self._end(problem)

    def _renew(self) -> None:
        faulthandler.dump_traceback_later(self._timeout_s, exit=True, file=self._report)

    def _end(self, problem: str) -> None:
        with suppress(OSError):  # a full disk
            self._report.write(f"{problem}\n".encode())
            self._report.flush()
            faulthandler.dump_traceback(self._report)
        log.critical(
            "%s, so this process ends; the next start names the file that shows what it was doing",
            problem,
        )
        logging.shutdown()
        sys.stderr.flush()
        os._exit(EXIT_CODE)  # hanging threads would block a normal exit


def _opened(report: Path) -> BinaryIO:
    # The file for the report; stderr on a full disk. Logs once that an earlier process was ended.
    try:
        make_private_folder(report.parent)
        # One, however often a supervisor restarts it.
        earlier = report.with_name(f"{report.stem}.earlier.log")
        if stalls(report.parent, report.stem.removeprefix(STEM)):
            with suppress(OSError):  # another start has just done it
                report.replace(earlier)
                log.warning("%s", _text(earlier, earlier.stat().st_mtime))
        create_private_file(report)
        return report.open("ab")
    except OSError:
        return _stderr()


def _stderr() -> BinaryIO:
    return os.fdopen(os.dup(STDERR), "wb")


_watch: _Watch | None = None
