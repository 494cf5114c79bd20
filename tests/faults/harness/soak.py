"""Faults that follow each other in random order while jobs are enqueued all the time."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from bench.photos import draw_photos
from bench.report import note, print_table
from tagger.ledger.job_control import list_jobs
from tests.faults.harness.system import (
    BATCH_SIZE,
    PHOTO_SIZE,
    Fault,
    FaultContext,
    System,
    enqueue_again,
    job_id,
)
from tests.rig.ledger_invariants import job_violations, library_violations

JOBS_TIMEOUT_S = 600.0
"""All jobs must be over this long after the last fault."""
INTERVAL_S = (5.0, 18.0)
"""The minimum and maximum time between two faults."""
MAX_OPEN_JOBS = 4
ENQUEUE_INTERVAL_S = 1.0
NEW_FOLDER_PROBABILITY = 0.25
MAX_UNSTORED = 2 * 32 + BATCH_SIZE
"""Photos that one worker may have classified but not stored: almost a transaction of each of its two chunks, and one batch."""


def soak(context: FaultContext, kinds: Mapping[str, Fault], minutes: float, photos: int) -> list[str]:
    """Inject faults for so many minutes, wait until all jobs are over, and print a report; return everything that is wrong.

    Ctrl-C stops the faults early; the checks still run.
    """
    system = context.system
    producer = JobProducer(system, photos, random.Random(context.rng.random()))
    counts, errors = Counter[str](), list[str]()
    with suppress(KeyboardInterrupt):
        _inject_faults(context, kinds, minutes, producer, counts, errors)
    with suppress(KeyboardInterrupt):
        note("no more faults; waiting until all jobs are over")
        deadline = time.monotonic() + JOBS_TIMEOUT_S
        while any(not job.is_over for job in list_jobs(system.database)) and time.monotonic() < deadline:
            time.sleep(1.0)
    print_table(("fault", "count"), [*sorted(counts.items()), ("**total**", counts.total())])
    return [*errors, *_violations(context, producer)]


class JobProducer:
    """Enqueues jobs: the same folders again, and sometimes a folder of new photos."""

    def __init__(self, system: System, photos: int, rng: random.Random) -> None:
        self._system = system
        self._rng = rng
        self.folders: dict[Path, int] = {}
        """The number of photos in each."""
        self.jobs: dict[int, Path] = {}
        """The folder of each job."""
        self.failures = 0
        """Failures of `enqueue`, which are expected while the database is unavailable or the model file is invalid."""
        self._create_folder(photos)

    def run(self, ended: threading.Event) -> None:
        while not ended.wait(ENQUEUE_INTERVAL_S):
            if self._open_jobs() < MAX_OPEN_JOBS:
                self._enqueue()

    @property
    def photo_count(self) -> int:
        return sum(self.folders.values())

    def _open_jobs(self) -> int:
        try:
            return sum(not job.is_over for job in list_jobs(self._system.database))
        except SQLAlchemyError:
            return MAX_OPEN_JOBS  # without the database, no job can be recorded

    def _enqueue(self) -> None:
        if self._rng.random() < NEW_FOLDER_PROBABILITY:
            folder = self._create_folder(self.photo_count // 4)
        else:
            folder = self._rng.choice(list(self.folders))
        with self._system.photos_lock:
            command = enqueue_again(self._system, folder)
        if command.code == 0:
            self.jobs[job_id(command)] = folder
        else:
            self.failures += 1

    def _create_folder(self, count: int) -> Path:
        folder = self._system.photos / f"{len(self.folders):02}"
        with self._system.photos_lock:
            draw_photos(folder, self.photo_count, count, PHOTO_SIZE)
        self.folders[folder] = count
        return folder


def _inject_faults(
    context: FaultContext,
    kinds: Mapping[str, Fault],
    minutes: float,
    producer: JobProducer,
    counts: Counter[str],
    errors: list[str],
) -> None:
    """Inject faults in rounds of random order, so that each kind occurs, while jobs are enqueued."""
    ended, start = threading.Event(), time.monotonic()

    def inject() -> None:
        while True:
            for name in context.rng.sample(sorted(kinds), len(kinds)):
                if ended.wait(context.rng.uniform(*INTERVAL_S)):
                    return
                kinds[name](context)
                counts[name] += 1
                note(f"{time.monotonic() - start:6.0f} s  {name}")

    def record_errors(run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as error:  # noqa: BLE001 - a soak whose own thread fails must not pass
            errors.append(f"the soak itself failed: {type(error).__name__}: {error}")

    targets = (inject, lambda: producer.run(ended))
    threads = [threading.Thread(target=record_errors, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    try:
        # Not join: Ctrl-C interrupts an event's wait at once.
        ended.wait(60 * minutes)
    finally:
        ended.set()
        for thread in threads:
            thread.join()  # a fault in progress is repaired first


def _violations(context: FaultContext, producer: JobProducer) -> Iterator[str]:
    """Check the ledger, and print what happened."""
    system = context.system
    jobs = {job.job: job for job in list_jobs(system.database)}
    repeated = system.inference_count() - sum(job.tagged + job.unknown for job in jobs.values())
    explained = (context.kills + context.freezes) * MAX_UNSTORED
    print(
        f"{len(jobs)} jobs, {producer.photo_count} photos, {sum(job.total for job in jobs.values())} items. {repeated} photos were "
        f"classified more than once; kills and freezes explain at most {explained}. `enqueue` failed {producer.failures} times, "
        f"while the database was unavailable or the model invalid.\n"
    )
    yield from library_violations(system.database)
    for number, job in jobs.items():
        yield from job_violations(system.database, number)
        if job.failed:
            yield f"job {number}: {job.failed} valid photos failed"
    for number, folder in producer.jobs.items():
        if number not in jobs or jobs[number].total != producer.folders[folder]:
            yield f"job {number} has not the {producer.folders[folder]} photos of its folder"
    if repeated > explained:
        yield f"{repeated} photos were classified more than once"
    stored = system.content_count()
    expected = sum(producer.folders[folder] for folder in set(producer.jobs.values()))
    if stored < expected:
        yield f"the database has {stored} contents, and {expected} were enqueued"
