"""Runs a local job in several processes, which claim its chunks from SQL, as workers do.

This process coordinates: it keeps the job's lease, prints, replaces processes that died or do not answer, and
loads no model.
`job_process` is the program of the others.
"""

from __future__ import annotations

import json
import os
import selectors
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from tagger.cli.output import console
from tagger.database.engine import with_retry
from tagger.database.enums import CLASSIFICATION_KINDS, JobState
from tagger.errors import JobProcessesFailed, error_of
from tagger.jobs.processing.chunk_runner import MAX_DEATHS, SHARED_ATTEMPTS
from tagger.jobs.processing.local_jobs import STOP_S, own_job
from tagger.ledger.job_control import count_open_chunks, find_job
from tagger.ledger.jobs import finish_job, process_space
from tagger.ledger.workers import has_lease, release_chunks_of
from tagger.model.devices import process_count, thread_share
from tagger.processes.lifeline import LifelineProcess, end_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tagger.cli.output.photo_lines import StoredPrinter
    from tagger.database.connection import Database
    from tagger.ledger.job_control import JobProgress
    from tagger.settings import Settings

# With fewer photos for each, starting a process takes longer than it saves.
PHOTOS_PER_PROCESS = 500
# How often the process with one number may die without a stored photo of the job: as often as a
# photo that kills processes takes to fail.
MOST_DEATHS = SHARED_ATTEMPTS + MAX_DEATHS
POLL_S = 0.2
# How long processes have to stop. The whole command has two seconds (see processes.interruption).
PROCESS_STOP_S = STOP_S + 0.3
# How long processes have to end after their job, without writing anything: one may be stopped.
END_S = 10.0
_READ_BYTES = 2**16


def job_process_count(database: Database, settings: Settings, progress: JobProgress) -> int:
    """Return how many processes run a local job. A number in the settings is limited by its chunks alone."""
    if progress.kind not in CLASSIFICATION_KINDS or database.is_in_memory:
        return 1
    most = settings.processes or (progress.queued // PHOTOS_PER_PROCESS)
    if most < 2:
        return 1
    count = settings.processes or min(most, process_count(settings.threads))
    return max(1, min(count, count_open_chunks(database, progress.job)))


def run_in_processes(
    database: Database, settings: Settings, job: int, count: int, printer: StoredPrinter
) -> None:
    """Run a local job in `count` processes, as `run_job` does in this one.

    Raises:
        JobProcessesFailed: they keep dying. And any error that `run_job` raises.
    """
    processes = _JobProcesses(database, settings, job, count, printer)
    with own_job(database, job, processes.expired.update), processes:
        processes.run()


class _Lines:
    """Reads lines from a pipe without waiting. Its other end is `writer`, for the process that writes."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self._on_line = on_line
        self._rest = b""

    def read(self) -> bool:
        """Call `on_line` with the lines that are complete. False at the end of the pipe."""
        is_open, parts = True, [self._rest]
        with suppress(BlockingIOError):
            while part := os.read(self.reader, _READ_BYTES):
                parts.append(part)
            is_open = False
        *lines, self._rest = b"".join(parts).split(b"\n")
        for line in lines:
            self._on_line(line)
        return is_open


class _JobProcess:
    """The parent's side of one process."""

    def __init__(self, number: int, document: Mapping[str, object], output: _Lines, errors: _Lines) -> None:
        self.number = number
        self.pipes = (output, errors)
        # The error with which it has ended.
        self.error: Mapping[str, Any] | None = None
        # Whether it was killed because it renewed no lease.
        self.is_silent = False
        self.process = LifelineProcess(
            "tagger.cli.job_process", [], output=output.writer, errors=errors.writer
        )
        for pipe in self.pipes:
            os.close(pipe.writer)
        self.process.send(json.dumps(document).encode() + b"\n")
        # The worker of its chunks (see ledger.jobs.process_name).
        self.name = f"{process_space()}/{self.process.pid}"


class _JobProcesses:
    """The processes of one job."""

    def __init__(
        self, database: Database, settings: Settings, job: int, count: int, printer: StoredPrinter
    ) -> None:
        self._database = database
        self._settings = settings
        self._job = job
        self._count = count
        self._printer = printer
        # Workers whose leases have expired. Another thread adds them.
        self.expired: set[str] = set()
        self._running: list[_JobProcess] = []
        # How often the process of each number has died since a photo was stored.
        self._deaths = dict.fromkeys(range(1, count + 1), 0)
        # Messages: several processes have the same reason for a warning.
        self._printed: set[bytes] = set()
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop those that run: they store what is finished, and are killed if they do not end."""
        for each in self._running:
            each.process.stop()
        until = time.monotonic() + PROCESS_STOP_S
        try:
            while self._running and time.monotonic() < until:
                self._pass_on(POLL_S)
                self._remove_ended()
        finally:
            for each in self._running:
                each.process.kill()
            self._remove_ended()
            self._selector.close()

    def run(self) -> None:
        """Run until the job ends or waits for an unavailable root.

        Raises:
            JobProcessesFailed: processes keep dying. And the errors with which they end.
        """
        for number in self._deaths:
            self._start(number)
        is_open, quiet_rounds = True, 0
        while self._running and quiet_rounds * POLL_S < END_S:
            has_read = self._pass_on(POLL_S)
            quiet_rounds = 0 if is_open or has_read else quiet_rounds + 1
            self._kill_silent()
            for ended in self._remove_ended():
                if ended.error is not None:
                    raise error_of(ended.error)
                with_retry(partial(release_chunks_of, self._database, self._job, ended.name))
                is_open = self._is_open()
                is_dead = ended.process.exit_code != 0
                if (is_dead or not self._running) and is_open:
                    self._replace(ended)

    def _start(self, number: int) -> None:
        threads = thread_share(self._settings.threads, self._count, number)
        settings = self._settings.model_copy(update={"threads": threads})
        document = {
            "settings": settings.model_dump(mode="json"),
            "job": self._job,
            "number": number,
            "count": self._count,
            "command": console.command,
            "verbosity": console.verbosity,
            "hidden": sorted(self._printer.hidden) if self._printer.has_lines else None,
        }
        output, errors = _Lines(lambda line: self._on_result(process, line)), _Lines(self._on_message)
        process = _JobProcess(number, document, output, errors)
        for pipe in process.pipes:
            self._selector.register(pipe.reader, selectors.EVENT_READ, pipe)
        self._running.append(process)

    def _pass_on(self, timeout_s: float) -> bool:
        """Print what the processes write, waiting for it at most so long; returns whether they wrote."""
        ready = self._selector.select(timeout_s)
        for key, _ in ready:
            if not key.data.read():
                self._selector.unregister(key.fileobj)
        return bool(ready)

    def _kill_silent(self) -> None:
        """Kill processes that renew no lease: they are stopped, and others have taken their chunks."""
        for each in self._running:
            if each.name in self.expired:
                self.expired.discard(each.name)
                # Otherwise it is at work, and the answer to an earlier claim was lost with the connection.
                if not with_retry(partial(has_lease, self._database, self._job, each.name)):
                    each.is_silent = True
                    each.process.kill()

    def _on_result(self, process: _JobProcess, line: bytes) -> None:
        match json.loads(line):
            case {"lines": lines, "stored": count}:
                if count:
                    self._deaths = dict.fromkeys(self._deaths, 0)
                self._printer.show_lines(count, lines)
            case {"step": [text, done, total]}:
                self._printer.show_step(text, done, total)
            case {"error": document}:
                process.error = document

    def _on_message(self, line: bytes) -> None:
        if line not in self._printed:
            self._printed.add(line)
            self._printer.show_message(line.decode(errors="replace"))

    def _remove_ended(self) -> list[_JobProcess]:
        """The processes that have ended, after the last that they wrote."""
        ended = [each for each in self._running if each.process.exit_code is not None]
        for each in ended:
            self._running.remove(each)
            for pipe in each.pipes:
                pipe.read()
                with suppress(KeyError):  # its end was read before
                    self._selector.unregister(pipe.reader)
                os.close(pipe.reader)
            each.process.stop()
        return ended

    def _replace(self, ended: _JobProcess) -> None:
        """Start a process in place of one that has ended before the job."""
        number, code = ended.number, ended.process.exit_code or 0
        self._deaths[number] += 1
        if self._deaths[number] > MOST_DEATHS:
            raise JobProcessesFailed(end=end_text(code))
        if code:
            end = "did not answer and was ended" if ended.is_silent else end_text(code)
            text = f"process {number} of {self._count} {end}; the others continue, and a new one"
            self._printer.show_message(f"warning: {text} replaces it")
        self._start(number)

    def _is_open(self) -> bool:
        # A process may have died between its last chunk and this.
        with_retry(partial(finish_job, self._database, self._job))
        progress = with_retry(partial(find_job, self._database, self._job))
        return not progress.is_over and progress.state != JobState.WAITING
