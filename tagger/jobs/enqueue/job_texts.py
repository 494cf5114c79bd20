"""Jobs as people and programs read them: the document of a job, its title, counts, rates and times.

Commands, the page and the API say of a job what is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from tagger.database import JobKind, stored_note
from tagger.database.connection import Database
from tagger.database.statements import current_time
from tagger.ledger import CLAIMABLE
from tagger.ledger.items import FailingPhoto, FailureDocument
from tagger.ledger.job_control import JobProgress
from tagger.ledger.workers import DeviceStatus, LastTick, WorkerStatus, by_device
from tagger.photos.paths import printable_path
from tagger.query.counts import LandmarkCount, landmark_counts
from tagger.roots import RootPaths, list_roots
from tagger.tags.models_in_use import names_in_use, problems_in_use
from tagger.texts import document_of
from tagger.texts.text_format import (
    N_,
    NN_,
    gettext,
    moment_text,
    ngettext,
    number_text,
    reader_zone,
    rounded_duration,
)
from tagger.things import count_things

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tagger.jobs.enqueue.submission import Backfill
    from tagger.ledger.job_control import JobProgress
    from tagger.ledger.workers import WorkerStatus


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
        yield document_of(FailureDocument, photo, photo=photo.photo_id, path=str(path))


# By the names of `JobProgress.counts`.
COUNT_TEXTS = {
    "tagged": NN_("%(count)s tagged", "%(count)s tagged"),
    "unknown": NN_("%(count)s unknown", "%(count)s unknown"),
    "written": NN_("%(count)s written", "%(count)s written"),
    "undone": NN_("%(count)s undone", "%(count)s undone"),
    "unchanged": NN_("%(count)s unchanged", "%(count)s unchanged"),
    "refused": NN_("%(count)s refused", "%(count)s refused"),
    "skipped": NN_("%(count)s skipped", "%(count)s skipped"),
    "gone": NN_("%(count)s gone", "%(count)s gone"),
    "failed": NN_("%(count)s failed", "%(count)s failed"),
    "cancelled": NN_("%(count)s cancelled", "%(count)s cancelled"),
}

# What jobs do, and backfills of each scope.
KIND_TEXTS = {
    JobKind.TAG: N_("Tag %(folders)s"),
    JobKind.RETRY: N_("Retry failed photos"),
    JobKind.BACKFILL: N_("Tag photos again"),
    JobKind.COMPARE: N_("Compare with taught landmarks"),
    JobKind.WRITE: N_("Write tags into metadata"),
    JobKind.UNDO: N_("Undo metadata changes"),
}
BACKFILL_TEXTS = {
    "untagged": N_("Tag new photos"),
    "outdated": N_("Update tags and things"),
    "failed": N_("Retry failed photos"),
    "taught": N_("Compare with taught landmarks"),
}
SCOPE_TEXTS = {
    "untagged": N_("Photos that are not processed"),
    "outdated": N_("Photos tagged by another model"),
    "failed": N_("Photos that fail now"),
    "all": N_("All photos"),
    "taught": N_("Photos not compared with what was taught"),
}
MAX_FOLDERS = 2


def job_title(job: JobProgress, options: Mapping[str, Any]) -> str:
    """What a job does: `Tag Pictures`, `Tag new photos`. `options`: those that it records."""
    if job.kind != JobKind.TAG:
        return gettext(
            BACKFILL_TEXTS.get(options.get("what", ""), KIND_TEXTS[JobKind(job.kind)])
        )
    names = [PurePath(path).name or path for path in job.paths]
    folders, more = ", ".join(names[:MAX_FOLDERS]), len(names) - MAX_FOLDERS
    if more > 0:
        folders = ngettext(
            "%(names)s and %(count)s more",
            "%(names)s and %(count)s more",
            more,
            names=folders,
        )
    return gettext(KIND_TEXTS[JobKind.TAG], folders=folders or gettext("photos"))


def job_about(options: Mapping[str, Any]) -> str:
    """Which photos the job with these options is about, if its title does not say that."""
    from tagger.jobs.enqueue.submission import UNDO_JOB, backfill_from_options

    if UNDO_JOB in options:
        return gettext("what job %(number)s wrote", number=options[UNDO_JOB])
    if "what" not in options:
        return ""
    conditions = {name: value for name, value in options.items() if name != "what"}
    backfill = backfill_from_options(options["what"], conditions)
    if backfill.scope not in BACKFILL_TEXTS:
        return backfill_text(backfill)
    return ", ".join(_backfill_parts(backfill))


def backfill_text(backfill: Backfill) -> str:
    """`Photos that are not processed, after scanning Pictures`."""
    return ", ".join([gettext(SCOPE_TEXTS[backfill.scope]), *_backfill_parts(backfill)])


def _backfill_parts(backfill: Backfill) -> Iterator[str]:
    from tagger.query.filter_words import conditions_text

    if conditions := conditions_text(backfill.query):
        yield conditions
    for folder in backfill.scan:
        name = printable_path(folder.name or folder)
        yield gettext("after scanning %(folder)s", folder=name)
    if backfill.write:
        yield gettext("tags written into metadata")


def time_text(time: datetime) -> str:
    """A time in the reader's zone; without the date if it is today."""
    local = time.astimezone(reader_zone())
    is_today = local.date() == datetime.now(local.tzinfo).date()
    return f"{local:%H:%M}" if is_today else moment_text(time)


def counts_text(job: JobProgress, always: Collection[str] = ()) -> str:
    """`2 tagged, 1 failed`. `always`: the outcomes that are named although no photo has them."""
    counts = job.counts.items()
    shown = {name: count for name, count in counts if count or name in always}
    return ", ".join(
        ngettext(*COUNT_TEXTS[name], count) for name, count in shown.items()
    )


def rate_text(photos_per_second: float | None) -> str:
    """`12.3 photos/s`; empty without a rate."""
    if not photos_per_second:
        return ""
    return gettext("%(number)s photos/s", number=number_text(photos_per_second, 1))


def remaining_text(job: JobProgress) -> str:
    """What is left of an open job; empty: it is not known."""
    if job.settling:
        return gettext("locating its photos")
    if not job.eta_seconds:
        return ""
    return gettext(
        "about %(duration)s left", duration=rounded_duration(job.eta_seconds)
    )


def worker_text(worker: WorkerStatus) -> str:
    """What a worker does, how fast, and why it starts no work now."""
    progress = gettext("working") if worker.chunks else ""
    rate = rate_text(worker.photos_per_second) if worker.chunks else ""
    reason = note_text(worker.waits_for, worker.waits_for_message)
    waits = gettext("waits: %(reason)s", reason=reason) if reason else ""
    return ", ".join(filter(None, (progress, rate, waits))) or gettext("idle")


def idle_text(workers: Sequence[WorkerStatus]) -> str:
    """Why no worker starts work now, and what to do; empty if one does."""
    if not workers:
        return gettext(
            "No worker is running. Jobs are recorded and wait for one. Start it on the server with "
            "`tagger worker`, or start everything with `tagger up`."
        )
    reasons = dict.fromkeys(
        note_text(worker.waits_for, worker.waits_for_message) for worker in workers
    )
    if "" in reasons:
        return ""
    return gettext(
        "No worker starts work now: %(reasons)s.", reasons="; ".join(reasons)
    )


def note_text(note: str | None, message: Mapping[str, Any] | None) -> str:
    """A note in the reader's language; one without a message, such as an error, is English."""
    stored = stored_note(note, message)
    return (
        (note or "")
        if stored is None
        else gettext(stored.code.text).format(**stored.values)
    )
