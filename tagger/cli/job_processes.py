"""Runs a local job in several processes, which claim its chunks from SQL, as workers do.

The process of the command coordinates: it keeps the job's lease, prints what is stored, replaces processes
that died, and loads no model. The others run `tagger worker --job`.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING

from tagger.cli.output import console
from tagger.cli.pools import child_environment
from tagger.cli.session import open_session
from tagger.database.engine import with_retry
from tagger.database.enums import CLASSIFICATION_KINDS, JobState
from tagger.errors import JobProcessesFailed, ProcessFailed, Unavailable
from tagger.jobs.processing.local_jobs import STOP_S, JobThreads, own_job
from tagger.jobs.processing.model_cache import share_memory
from tagger.ledger.job_control import count_open_chunks, find_job
from tagger.ledger.jobs import finish_job, process_space
from tagger.ledger.workers import release_chunks_of
from tagger.model.devices import process_count
from tagger.processes.pool import ERROR, Child, Pool
from tagger.processes.process import resume_collection
from tagger.processes.stall import watch

if TYPE_CHECKING:
    from tagger.cli.output.photo_lines import StoredPrinter
    from tagger.database.connection import Database
    from tagger.ledger.job_control import JobProgress
    from tagger.settings import Settings

# With fewer photos for each, starting a process takes longer than it saves.
PHOTOS_PER_PROCESS = 500
# How long processes have to stop. The whole command has two seconds (see processes.interruption).
JOB_STOP_S = STOP_S + 0.3
# How long processes have to end after their job. One that is stopped, as by a debugger, is killed then: it
# has renewed no lease, so that others have taken its photos.
JOB_END_S = 10.0
JOB_POLL_S = 0.2
# What the names of their stall reports begin with.
JOB_STALL_NAME = "job"


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
    """Run a local job in `count` processes, as `run_job` does in this one, which loads no model.

    Raises:
        JobProcessesFailed: they keep dying. And what a process says of the error that has ended it.
    """
    processes = _JobProcesses(database, settings, job, count, printer)
    with own_job(database, job), processes:
        try:
            processes.run()
        except ProcessFailed as error:
            end = str(error.values["reason"]).removeprefix("it ").removesuffix(".")
            raise JobProcessesFailed(end=end) from error


class _JobProcesses(Pool):
    """The processes of one job: `tagger worker --job`."""

    def __init__(
        self, database: Database, settings: Settings, job: int, count: int, printer: StoredPrinter
    ) -> None:
        super().__init__(settings.data_folder, self._warn, JOB_STOP_S)
        self._database = database
        self._job = job
        self._printer = printer
        # Several processes have the same reason for a warning.
        self._messages: set[str] = set()
        for number in range(1, count + 1):
            child = Child(
                f"{console.command}.{number}",
                ["worker", "--job", str(job), "--process", str(number)],
                stall_name=f"{JOB_STALL_NAME}.{number}",
                on_line=self._show,
                environment=child_environment(settings, count, number),
            )
            self.children.append(child)

    def run(self) -> None:
        """Run until the job ends or waits for an unavailable root, and print what is stored.

        Raises:
            ProcessFailed: processes keep dying. Unavailable: an error has ended one.
        """
        done, over_at = 0, math.inf
        while self.children and time.monotonic() < over_at + JOB_END_S:
            time.sleep(JOB_POLL_S)
            self._printer.update()
            self.check()
            progress = with_retry(partial(find_job, self._database, self._job))
            if progress.done > done:
                done = progress.done
                for child in self.children:
                    child.early_exits = 0
            if not _is_running(progress):
                over_at = min(over_at, time.monotonic())

    def is_needed(self, child: Child) -> bool:
        """Release what an ended process held. It is started again if its job needs it.

        Raises:
            Unavailable: an error has ended it.
        """
        last_line = child.last_line()
        if last_line.startswith(ERROR):
            raise Unavailable(reason=last_line.removeprefix(ERROR))
        # The worker of its chunks (see ledger.jobs.process_name).
        worker = f"{process_space()}/{child.pid}"
        with_retry(partial(release_chunks_of, self._database, self._job, worker))
        # It may have died between its last chunk and this.
        with_retry(partial(finish_job, self._database, self._job))
        is_running = _is_running(with_retry(partial(find_job, self._database, self._job)))
        return is_running and (child.exit_code != 0 or len(self.children) == 1)

    def _show(self, line: str) -> None:
        if line not in self._messages:
            self._messages.add(line)
            self._printer.show_message(line)

    def _warn(self, text: str) -> None:
        self._printer.show_message(f"warning: {text}")


def _is_running(progress: JobProgress) -> bool:
    return not progress.is_over and progress.state != JobState.WAITING


def process_job(settings: Settings, job: int, number: int) -> None:
    """Process chunks of a local job, of which this is a process, until none is left."""
    watch(f"{JOB_STALL_NAME}.{number}", settings.data_folder, settings.stall_timeout_s)
    database = open_session(settings, waits=True).database
    share_memory(settings, settings.processes or 1)
    resume_collection()
    with JobThreads(database, settings, job, is_shared=True) as threads:
        threads.run()
