"""Jobs in words and shares, as the pages show them and the live events renew them: made in one place, so that both agree."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from tagger.backfill import Backfill
from tagger.ledger.progress import JobProgress
from tagger.tables import WRITING_KINDS, JobKind, JobState, Runner
from tagger.web.pages.figures import percent, share
from tagger.web.status import Status

_THIN = "\u202f"
KINDS = {
    JobKind.TAG: "Tags a folder",
    JobKind.RETRY: "Retries photos that failed",
    JobKind.BACKFILL: "Backfill",
    JobKind.WRITE: "Writes tags into metadata",
    JobKind.UNDO: "Takes metadata back",
}
TONES = {
    JobState.RUNNING: "sure",
    JobState.SCANNING: "open",
    JobState.QUEUED: "open",
    JobState.WAITING: "open",
    JobState.PAUSED: "open",
}
STATES = {
    JobState.SCANNING: "looking for photos",
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.WAITING: "waiting",
    JobState.PAUSED: "paused",
    JobState.CANCELLED: "cancelled",
    JobState.FINISHED: "finished",
}


@dataclass(frozen=True)
class Live:
    """What of a job changes while it is worked on: texts, and how far its bar is."""

    done: str
    percent: str
    share: str
    rate: str
    left: str
    sums: str
    note: str


@dataclass(frozen=True)
class JobShown:
    """A job as a page has it."""

    number: int
    what: str
    model: str
    priority: str
    state: str
    state_words: str
    tone: str
    is_over: bool
    can_pause: bool
    is_writing: bool
    parent: int | None
    write_job: int | None
    failures: int
    live: Live


def shown(job: JobProgress) -> JobShown:
    """The job in words."""
    return JobShown(
        number=job.job,
        what=KINDS[JobKind(job.kind)],
        model=job.model,
        priority=job.priority,
        state=job.state,
        state_words=STATES[job.state],
        tone=TONES.get(job.state, ""),
        is_over=job.is_over,
        can_pause=not job.is_over and job.runner != Runner.LOCAL,
        is_writing=job.kind in WRITING_KINDS,
        parent=job.parent,
        write_job=job.write_job,
        failures=job.failed + job.refused,
        live=_live(job),
    )


def shape_of(status: Status) -> str:
    """Changes when a page has to be made anew: a job began, ended or changed its state, a worker came or went."""
    parts = (
        [(job.job, job.state, job.write_job, bool(job.failed)) for job in status.jobs],
        [worker.name for worker in status.workers],
        status.has_redis,
        status.problem,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def live_document(status: Status) -> dict[str, Any]:
    """What an event tells: the same JSON as /api/status, and for pages each job in words."""
    document = status.document()
    for job, progress in zip(document["jobs"], status.jobs, strict=True):
        job["shown"] = {"state": STATES[progress.state], **asdict(_live(progress))}
    for worker in document["workers"]:
        del worker["seen_seconds_ago"]  # it changes while nothing does
    return document | {"shape": shape_of(status)}


def number(count: int) -> str:
    """`12 345`."""
    return f"{count:,}".replace(",", _THIN)


def photos(count: int) -> str:
    """`1 photo`, `12 photos`."""
    return f"{number(count)} photo{'' if count == 1 else 's'}"


def time_left(seconds: float) -> str:
    """Roughly, as people say it: nobody needs the seconds of an hour."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))}{_THIN}s"
    if minutes < 90:
        return f"{minutes}{_THIN}min"
    hours = round(minutes / 60)
    return f"{hours}{_THIN}h" if hours < 48 else f"{round(hours / 24)} days"


def in_words(wanted: Backfill) -> str:
    """A backfill as a person would say it."""
    parts = [WHATS[wanted.what]]
    parts += [f"of {wanted.landmark}"] if wanted.landmark else []
    parts += [f"in {_printed(folder)}" for folder in wanted.under]
    parts += [f"taken from {wanted.taken_after:%Y-%m-%d} on"] if wanted.taken_after else []
    parts += [f"taken before {wanted.taken_before:%Y-%m-%d}"] if wanted.taken_before else []
    parts += [f"after a scan of {_printed(folder)}" for folder in wanted.scan]
    parts += [f"tags written to {wanted.write.to}"] if wanted.write else []
    return ", ".join(parts)


WHATS = {
    "untagged": "Photos no model has looked at",
    "outdated": "Photos another model looked at last",
    "failed": "Photos that fail now",
    "all": "All photos",
}


def _printed(folder: object) -> str:
    return str(folder).encode(errors="replace").decode()


def _live(job: JobProgress) -> Live:
    done = job.total - job.queued - job.running
    part = done / job.total if job.total else float(job.is_over)
    is_moving = not job.is_over and job.state != JobState.PAUSED
    return Live(
        done=f"{number(done)} of {photos(job.total)}" if not job.is_over else photos(job.total),
        percent=percent(part),
        share=share(part),
        rate=f"{job.photos_per_second:.1f} photos/s" if job.photos_per_second else "",
        left=f"about {time_left(job.eta_seconds)} left" if is_moving and job.eta_seconds else "",
        sums=", ".join(_sums(job)),
        note=job.note or "",
    )


def _sums(job: JobProgress) -> list[str]:
    """What became of photos; what there is none of is not said."""
    if job.kind in WRITING_KINDS:
        named = {"written": job.written, "unchanged": job.unchanged, "refused": job.refused}
    else:
        named = {"tagged": job.tagged, "unknown": job.unknown}
    named |= {"skipped": job.skipped, "failed": job.failed, "cancelled": job.cancelled}
    return [f"{number(count)} {name}" for name, count in named.items() if count]
