"""View models of jobs and their failures, for pages and live events, so that both show the same text.

A failure has a thumbnail, its reason, and whether a retry can help.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

from tagger.database.actors import author_text
from tagger.database.connection import Database
from tagger.database.enums import METADATA_KINDS, JobKind, JobState
from tagger.errors import FailureKind
from tagger.jobs.enqueue.backfill import Backfill, backfill_from_options
from tagger.jobs.enqueue.job_options import UNDO_JOB
from tagger.ledger.failures import (
    FailingPhoto,
    FailureFilter,
    count_failures,
)
from tagger.ledger.progress import JobProgress
from tagger.ledger.workers import LastTick, WorkerStatus
from tagger.photos.paths import printable_path
from tagger.query.filter_words import conditions_text
from tagger.texts.text_format import (
    N_,
    NN_,
    gettext,
    moment_text,
    ngettext,
    number_text,
    percent,
    reader_zone,
    rounded_duration,
    share,
)
from tagger.web.api.jobs import OverviewDocument, failures_page, waiting_reason
from tagger.web.http.error_texts import FAILURES, note_text
from tagger.web.pages.overview import LibraryOverview
from tagger.web.state import AppState

MAX_FOLDERS = 2
KIND_TEXTS = {
    JobKind.TAG: N_("Tag %(folders)s"),
    JobKind.RETRY: N_("Retry failed photos"),
    JobKind.BACKFILL: N_("Tag photos again"),
    JobKind.COMPARE: N_("Compare with taught landmarks"),
    JobKind.WRITE: N_("Write tags into metadata"),
    JobKind.UNDO: N_("Undo metadata changes"),
}
STATE_COLOURS = {
    JobState.RUNNING: "sure",
    JobState.SCANNING: "sure",
    JobState.WAITING: "open",
    JobState.PAUSED: "open",
}
SCOPE_TEXTS = {
    "untagged": N_("Photos that are not processed"),
    "outdated": N_("Photos tagged by another model"),
    "failed": N_("Photos that fail now"),
    "all": N_("All photos"),
    "taught": N_("Photos not compared with what was taught"),
}

COUNT_TEXTS = {
    "tagged": NN_("%(count)s tagged", "%(count)s tagged"),
    "unknown": NN_("%(count)s unknown", "%(count)s unknown"),
    "written": NN_("%(count)s written", "%(count)s written"),
    "undone": NN_("%(count)s undone", "%(count)s undone"),
    "unchanged": NN_("%(count)s unchanged", "%(count)s unchanged"),
    "refused": NN_("%(count)s refused", "%(count)s refused"),
    "skipped": NN_("%(count)s skipped", "%(count)s skipped"),
    "failed": NN_("%(count)s failed", "%(count)s failed"),
    "cancelled": NN_("%(count)s cancelled", "%(count)s cancelled"),
}


@dataclass(frozen=True)
class LiveFields:
    """The texts of a job that change while it runs, and the length of its progress bar."""

    state: str
    done: str
    percent: str
    share: str
    rate: str
    remaining: str
    counts: str
    note: str


@dataclass(frozen=True)
class JobView(JobProgress):
    """A job on a page. `about`: its folders or backfill. `time`: when it finished or was created.

    `took`: how long it took if it is over: `12 min`. `author_text`: who started it; empty if nobody knows.
    """

    title: str
    about: str
    time: datetime
    time_text: str
    took: str
    colour: str
    is_writing: bool
    author_text: str
    live: LiveFields


def job_view(job: JobProgress, options: Mapping[str, Any]) -> JobView:
    """Present a job and its options."""
    return JobView(
        **vars(job),
        title=_title(job),
        about=_about(job, options),
        time=job.finished_at or job.created_at,
        time_text=time_text(job.finished_at)
        if job.finished_at
        else gettext("since %(time)s", time=time_text(job.created_at)),
        took=""
        if job.finished_at is None
        else rounded_duration((job.finished_at - (job.started_at or job.created_at)).total_seconds()),
        colour=STATE_COLOURS.get(job.state, ""),
        is_writing=job.kind in METADATA_KINDS,
        author_text=author_text(job.author),
        live=_live_fields(job),
    )


def state_text(job: JobProgress) -> str:
    """Return the state; of a job that is being paused, with the photos that are still being processed."""
    if job.state == JobState.PAUSED and job.running:
        return ngettext(
            "pausing, %(count)s photo in progress", "pausing, %(count)s photos in progress", job.running
        )
    return gettext(job.state)


def page_version(state: AppState, status: OverviewDocument) -> str:
    """Return a digest that changes when a page has to be rendered again."""
    parts = (
        [(job.job, job.state, job.write_job, bool(job.failed)) for job in status.jobs],
        [worker.name for worker in status.workers],
        status.last_tick and status.last_tick.is_late,
        status.problem,
        waiting_reason(state, status),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def live_document(state: AppState, overview: LibraryOverview, status: OverviewDocument) -> dict[str, Any]:
    """Return an event's document: the JSON of /api/status, with what else pages show."""
    jobs = [vars(job) | {"shown": _live_fields(job)} for job in status.jobs]
    # What changes all the time, like the seconds since the last heartbeat or tick, is left out.
    workers = [
        {name: value for name, value in vars(worker).items() if name != "seen_seconds_ago"}
        | {"shown": worker_text(worker)}
        for worker in status.workers
    ]
    tick = None if status.last_tick is None else {"shown": last_tick_text(status.last_tick)}
    changes = {"jobs": jobs, "workers": workers, "last_tick": tick, "version": page_version(state, status)}
    beside = {"waits": waiting_reason(state, status), "to_review": overview.to_review()}
    return vars(status) | changes | beside


def photo_count(count: int) -> str:
    """`1 photo`, `12 photos`."""
    return ngettext("%(count)s photo", "%(count)s photos", count)


def worker_text(worker: WorkerStatus) -> str:
    """Return what a worker does, how fast, and why it starts no work now."""
    progress = gettext("working") if worker.chunks else ""
    rate = rate_text(worker.photos_per_second) if worker.chunks and worker.photos_per_second else ""
    reason = note_text(worker.waits_for, worker.waits_for_message)
    waits = gettext("waits: %(reason)s", reason=reason) if reason else ""
    return ", ".join(filter(None, (progress, rate, waits))) or gettext("idle")


def last_tick_text(last_tick: LastTick) -> str:
    """Return when schedules were checked last."""
    if last_tick.at is None:
        return gettext("Not checked yet")
    return gettext("Last checked: %(time)s", time=time_text(last_tick.at))


def time_text(time: datetime) -> str:
    """Return a time in the reader's zone; without the date if it is today."""
    local = time.astimezone(reader_zone())
    is_today = local.date() == datetime.now(local.tzinfo).date()
    return f"{local:%H:%M}" if is_today else moment_text(time)


def rate_text(photos_per_second: float) -> str:
    """`12.3 photos/s`."""
    return gettext("%(number)s photos/s", number=number_text(photos_per_second, 1))


def backfill_text(backfill: Backfill) -> str:
    """Describe a backfill."""
    parts = [gettext(SCOPE_TEXTS[backfill.scope])]
    parts += filter(None, [conditions_text(backfill.query)])
    parts += [gettext("after scanning %(folder)s", folder=printable_path(folder)) for folder in backfill.scan]
    parts += [gettext("tags written into metadata")] if backfill.write else []
    return ", ".join(parts)


def _title(job: JobProgress) -> str:
    kind = JobKind(job.kind)
    if kind != JobKind.TAG:
        return gettext(KIND_TEXTS[kind])
    names = (PurePath(path).name or path for path in job.paths)
    return gettext(KIND_TEXTS[kind], folders=_shortened(names) or gettext("photos"))


def _about(job: JobProgress, options: Mapping[str, Any]) -> str:
    if UNDO_JOB in options:
        return gettext("what job %(number)s wrote", number=options[UNDO_JOB])
    if "what" not in options:
        return _shortened(job.paths)
    others = {name: value for name, value in options.items() if name != "what"}
    return backfill_text(backfill_from_options(options["what"], others))


def _shortened(folders: Iterable[str]) -> str:
    names = tuple(folders)
    more = len(names) - MAX_FOLDERS
    shown = ", ".join(names[:MAX_FOLDERS])
    return (
        ngettext("%(names)s and %(count)s more", "%(names)s and %(count)s more", more, names=shown)
        if more > 0
        else shown
    )


def _live_fields(job: JobProgress) -> LiveFields:
    done = job.total - job.queued - job.running
    part = done / job.total if job.total else float(job.is_over)
    is_paused = job.state == JobState.PAUSED
    is_moving = not job.is_over and not is_paused
    return LiveFields(
        state=state_text(job),
        done=ngettext(
            "%(done)s of %(count)s photo", "%(done)s of %(count)s photos", job.total, done=number_text(done)
        )
        if not job.is_over
        else photo_count(job.total),
        percent=percent(part),
        share=share(part),
        rate=rate_text(job.photos_per_second) if job.photos_per_second and not is_paused else "",
        remaining=_remaining(job) if is_moving else "",
        counts=", ".join(_count_texts(job)),
        note=note_text(job.note, job.note_message),
    )


def _remaining(job: JobProgress) -> str:
    """Return how long a job still takes, or its last step."""
    if job.settling:
        return gettext("locating its photos")
    if not job.eta_seconds:
        return ""
    return gettext("about %(duration)s left", duration=rounded_duration(job.eta_seconds))


def _count_texts(job: JobProgress) -> list[str]:
    """Return the outcomes with at least one photo."""
    if job.kind in METADATA_KINDS:
        changed = "undone" if job.kind == JobKind.UNDO else "written"
        counts = {changed: job.written, "unchanged": job.unchanged, "refused": job.refused}
    else:
        counts = {"tagged": job.tagged, "unknown": job.unknown}
    counts |= {"skipped": job.skipped, "failed": job.failed, "cancelled": job.cancelled}
    return [ngettext(*COUNT_TEXTS[name], count) for name, count in counts.items() if count]


# Failures that may pass without a change of the file.
TRANSIENT_KINDS = frozenset(
    {
        FailureKind.GONE,
        FailureKind.UNREADABLE,
        FailureKind.UNREACHABLE,
        FailureKind.SETTLING,
        FailureKind.TIMED_OUT,
        FailureKind.INTERNAL,
    }
)


@dataclass(frozen=True)
class FailuresView:
    """A page of failures.

    `retriable`: kind, text and count of what a retry includes. `retry_helps`: some may pass by themselves.
    """

    photos: Sequence[FailingPhoto]
    next_after: int | None
    retriable: Sequence[tuple[str, str, int]]
    retry_helps: bool

    @property
    def retriable_count(self) -> int:
        return sum(count for _kind, _text, count in self.retriable)


def failures_view(database: Database, job: JobProgress, limit: int, after: int) -> FailuresView:
    """Return what failed in an open job; of a job that is over, all of its photos that fail now."""
    page = failures_page(database, job, limit, after, is_processed=not job.is_over)
    if job.kind in METADATA_KINDS:
        return FailuresView(*page, (), retry_helps=False)
    kinds = count_failures(database, FailureFilter(job.job)) if job.is_over else {}
    return FailuresView(
        *page,
        retriable=[(kind, gettext(FAILURES.get(kind, kind)), count) for kind, count in kinds.items()],
        retry_helps=any(kind in TRANSIENT_KINDS for kind in kinds),
    )
