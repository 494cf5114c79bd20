"""The state of jobs as JSON, the same from the command line and the API."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tagger.database.connection import Database
from tagger.database.statements import current_time
from tagger.ledger import CLAIMABLE
from tagger.ledger.items import FailingPhoto, FailureDocument
from tagger.ledger.job_control import JobProgress
from tagger.ledger.workers import DeviceStatus, LastTick, WorkerStatus, by_device
from tagger.query.counts import LandmarkCount, landmark_counts
from tagger.roots import RootPaths, list_roots
from tagger.tags.models_in_use import names_in_use, problems_in_use
from tagger.texts import document_of
from tagger.things import count_things


@dataclass(frozen=True)
class StatusDocument:
    """Jobs, workers, also by device, queues, the last tick of beat, and the models in use.

    `model_problems`: why models cannot be loaded here. `waits_for`: why a worker starts no work now. A
    queue's depth is null if Redis does not respond. The oldest job of `waiting_photos` was made
    `oldest_waiting_s` ago.
    """

    jobs: Sequence[JobProgress]
    workers: Sequence[WorkerStatus]
    devices: Sequence[DeviceStatus]
    queues: Mapping[str, int | None]
    waiting_photos: int
    oldest_waiting_s: float | None
    last_tick: LastTick | None
    models: Sequence[str]
    model_problems: Sequence[str]


def status_document(
    database: Database,
    jobs: Sequence[JobProgress],
    workers: Sequence[WorkerStatus],
    queues: Mapping[str, int | None],
    last_tick: LastTick | None,
) -> StatusDocument:
    with database.read() as connection:
        waiting = waiting_photos(jobs, current_time(connection))
    return StatusDocument(
        *(jobs, workers, by_device(workers), queues, *waiting, last_tick),
        models=names_in_use(database),
        model_problems=[*problems_in_use(database)],
    )


def waiting_photos(
    jobs: Sequence[JobProgress], now: datetime
) -> tuple[int, float | None]:
    """The photos that wait for workers, and the seconds since the oldest job of them was made.

    Those of jobs that are paused or wait for a folder do not count: more workers would not help.
    """
    waiting = [
        job
        for job in jobs
        if not job.is_local and job.state in CLAIMABLE and job.queued
    ]
    oldest = min((job.created_at for job in waiting), default=None)
    seconds = (
        None if oldest is None else max(0.0, round((now - oldest).total_seconds(), 1))
    )
    return sum(job.queued for job in waiting), seconds


@dataclass(frozen=True)
class FoundThing:
    thing: str
    name: str
    photos: int


@dataclass(frozen=True)
class JobFindings:
    """The landmarks that a job found, and the things, most frequent first; how many photos have a suggested
    landmark, and numbers of photos with facts that cannot be read.
    """

    landmarks: Sequence[LandmarkCount]
    things: Sequence[FoundThing]
    suggested: int
    unread_facts: Mapping[str, int]


def job_findings(database: Database, job: int) -> JobFindings:
    from tagger.jobs.enqueue.photo_rows import (
        unread_photos,
    )  # most commands start without these
    from tagger.teaching.lessons import count_suggested_photos

    with database.read() as connection:
        unread = unread_photos(connection, job)
    counts = sorted(count_things(database, job), key=lambda count: -count.photos)
    return JobFindings(
        landmarks=landmark_counts(database, job=job),
        things=[FoundThing(each.thing.slug, each.name, each.photos) for each in counts],
        suggested=count_suggested_photos(database, job),
        unread_facts={str(problem): len(paths) for problem, paths in unread.items()},
    )


def failure_documents(
    database: Database, failing: Iterable[FailingPhoto], root_paths: RootPaths
) -> Iterator[FailureDocument]:
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, root_paths)}
    for photo in failing:
        path = roots[photo.root_id].path_of(photo.path, photo.path_bytes)
        yield document_of(FailureDocument, photo, path=str(path))
