"""Jobs in words and shares, as the pages show them and the live events renew them: made in one place, so that both agree."""

import hashlib
from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

from tagger.backfill import Backfill, backfill_of
from tagger.ledger.progress import JobProgress
from tagger.tables import WRITING_KINDS, JobKind, JobState, Priority, Runner
from tagger.web.pages.figures import percent, share
from tagger.web.status import Status

FOLDERS_SAID = 2
_THIN = "\u202f"
KINDS = {
    JobKind.TAG: "Tags",
    JobKind.RETRY: "Retries photos that failed",
    JobKind.BACKFILL: "Backfill",
    JobKind.WRITE: "Writes tags into metadata",
    JobKind.UNDO: "Takes metadata back",
}
PRIORITIES = {Priority.BULK: "when it is its turn", Priority.INTERACTIVE: "before others"}
QUEUES = {Priority.BULK: "Waiting for their turn", Priority.INTERACTIVE: "Waiting, before others"}
TONES = {
    JobState.RUNNING: "sure",
    JobState.SCANNING: "sure",
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
    """A job as a page has it. `about`: the folders it tags, or the photos it looks at again; `at`: since when, or when it ended."""

    number: int
    what: str
    about: str
    model: str
    priority: str
    at: datetime
    when: str
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


def shown(job: JobProgress, options: Mapping[str, Any]) -> JobShown:
    """The job in words; `options`: what it was asked to do."""
    return JobShown(
        number=job.job,
        what=_what(JobKind(job.kind), options),
        about=_about(options),
        model=job.model,
        priority=PRIORITIES[Priority(job.priority)],
        at=job.finished_at or job.created_at,
        when=moment(job.finished_at) if job.finished_at else f"since {moment(job.created_at)}",
        state=job.state,
        state_words=state_of(job),
        tone=TONES.get(job.state, ""),
        is_over=job.is_over,
        can_pause=not job.is_over and job.runner != Runner.LOCAL,
        is_writing=job.kind in WRITING_KINDS,
        parent=job.parent,
        write_job=job.write_job,
        failures=job.failed + job.refused,
        live=_live(job),
    )


def state_of(job: JobProgress) -> str:
    """Its state in words; of one that was just paused, what is still stored of it."""
    if job.state == JobState.PAUSED and job.running:
        return f"pausing, {photos(job.running)} in hand"
    return STATES[job.state]


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
        job["shown"] = {"state": state_of(progress), **asdict(_live(progress))}
    for worker in document["workers"]:
        del worker["seen_seconds_ago"]  # it changes while nothing does
        worker["shown"] = in_hand(worker["chunks"])
    return document | {"shape": shape_of(status)}


def number(count: int) -> str:
    """`12 345`."""
    return f"{count:,}".replace(",", _THIN)


def photos(count: int) -> str:
    """`1 photo`, `12 photos`."""
    return f"{number(count)} photo{'' if count == 1 else 's'}"


def in_hand(chunks: int) -> str:
    """What a worker is at."""
    return f"{chunks} chunk{'' if chunks == 1 else 's'} in hand" if chunks else "idle"


def moment(when: datetime) -> str:
    """By the server's clock; of today only the time."""
    local = when.astimezone()
    return (
        f"{local:%H:%M}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"
    )


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


def _what(kind: JobKind, options: Mapping[str, Any]) -> str:
    if kind != JobKind.TAG:
        return KINDS[kind]
    return (
        f"{KINDS[kind]} {_first(PurePath(folder).name or folder for folder in _folders(options)) or 'photos'}"
    )


def _about(options: Mapping[str, Any]) -> str:
    return in_words(_backfill(options)) if "what" in options else _first(_folders(options))


def _folders(options: Mapping[str, Any]) -> Sequence[str]:
    # They are kept as Python writes them in ASCII.
    return [_printed(literal_eval(folder)) for folder in options.get("paths", ())]


def _first(folders: Iterable[str]) -> str:
    names = tuple(folders)
    more = len(names) - FOLDERS_SAID
    return ", ".join(names[:FOLDERS_SAID]) + (f" and {more} more" if more > 0 else "")


def _backfill(options: Mapping[str, Any]) -> Backfill:
    return backfill_of(options["what"], {name: value for name, value in options.items() if name != "what"})


def _printed(folder: object) -> str:
    return str(folder).encode(errors="replace").decode()


def _live(job: JobProgress) -> Live:
    done = job.total - job.queued - job.running
    part = done / job.total if job.total else float(job.is_over)
    is_paused = job.state == JobState.PAUSED
    is_moving = not job.is_over and not is_paused
    return Live(
        done=f"{number(done)} of {photos(job.total)}" if not job.is_over else photos(job.total),
        percent=percent(part),
        share=share(part),
        rate=f"{job.photos_per_second:.1f} photos/s" if job.photos_per_second and not is_paused else "",
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
