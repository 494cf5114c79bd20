"""Jobs as pages: what is worked on, one job with its failures, schedules, and what a person does with them.

Every button is a form, so all of it works without script; scripts only keep the numbers fresh.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from pathlib import PurePath
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger import schedules as kept
from tagger.errors import FailureKind, TaggerError
from tagger.ledger import steering
from tagger.ledger.abandoned import settle_abandoned
from tagger.ledger.progress import Failing, FailingPhoto
from tagger.ledger.retrying import count_failing
from tagger.schedules import Schedule
from tagger.tables import WRITING_KINDS
from tagger.web.api.jobs import Here, RetryAsked, Start, failures_page, retried, what_is_missing
from tagger.web.folders import allowed_folders
from tagger.web.pages.job_forms import choices
from tagger.web.pages.job_words import in_words, photos, shape_of, shown
from tagger.web.pages.rendering import render
from tagger.web.pages.tiles import thumbnail
from tagger.web.place import Place
from tagger.web.status import JOBS_SHOWN, one_job, options_of, status_of

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

FAILURES_SHOWN = 48
Number = Annotated[int, Path(ge=1, lt=2**63)]


class Steer(StrEnum):
    """What is done with a job on its way."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


class Change(StrEnum):
    """What is done with a schedule."""

    PAUSE = "pause"
    RESUME = "resume"
    RUN = "run"
    REMOVE = "remove"


@dataclass(frozen=True)
class Failed:
    """A photo that failed, with its picture or what stands for it."""

    photo: int
    name: str
    kind: str
    text: str
    attempts: int
    picture: str


@dataclass(frozen=True)
class Scheduled:
    """A schedule in words."""

    name: str
    what: str
    when: str
    due: str
    due_at: str
    paused: bool


@router.get("/jobs")
def show_jobs(request: Request, place: Here) -> HTMLResponse:
    """What is worked on, what was lately, and what will be."""
    return jobs_page(request, place)


def jobs_page(
    request: Request,
    place: Place,
    problem: str = "",
    status_code: HTTPStatus = HTTPStatus.OK,
) -> HTMLResponse:
    """The page of all jobs; `problem`: what could not be done, and why."""
    settle_abandoned(place.database)
    now = status_of(place.settings, place.database, JOBS_SHOWN)
    options = options_of(place.database, [job.job for job in now.jobs])
    jobs = [shown(job, options[job.job]) for job in now.jobs]
    return render(
        request,
        "jobs.html",
        status_code,
        open_jobs=[job for job in jobs if not job.is_over],
        recent=[job for job in jobs if job.is_over],
        older=now.older,
        workers=now.workers,
        queues=now.queues,
        has_redis=now.has_redis,
        missing=now.problem or what_is_missing(now.has_redis, bool(now.workers)),
        shape=shape_of(now),
        schedules=[_scheduled(each) for each in kept.list_schedules(place.database)],
        choices=choices(allowed_folders(place.settings, place.database)),
        problem=problem,
    )


@router.get("/jobs/{job}")
def show_job(
    request: Request, place: Here, job: Number, after: Annotated[int, Query(ge=-1, lt=2**63)] = -1
) -> HTMLResponse:
    """One job: how far it is, and which photos it failed on."""
    progress = one_job(place.database, job)
    now = status_of(place.settings, place.database, JOBS_SHOWN)
    found, following = failures_page(place, job, FAILURES_SHOWN, after)
    kinds = {} if progress.kind in WRITING_KINDS else count_failing(place.database, Failing(job))
    return render(
        request,
        "job.html",
        job=shown(progress, options_of(place.database, [job])[job]),
        times=_times(progress.created_at, progress.started_at, progress.finished_at),
        numbers=_numbers(vars(progress)),
        failures=[_failed(each) for each in found],
        kinds=kinds,
        failing=sum(kinds.values()),
        after=after,
        following=following,
        missing=None if progress.is_over else what_is_missing(now.has_redis, bool(now.workers)),
        shape=shape_of(now),
        photos=photos,
    )


@router.post("/jobs/{job}/retry")
def retry(
    place: Here, starter: Start, job: Number, kind: Annotated[FailureKind | None, Form()] = None
) -> Response:
    """Look again at what fails of a job, or at one kind of it."""
    number = retried(place, starter, job, RetryAsked(kind=[kind] if kind else []))
    return _to(f"/jobs/{number or job}")


@router.post("/jobs/schedules/{change}")
def change_schedule(
    request: Request, place: Here, starter: Start, change: Change, name: Annotated[str, Form()]
) -> Response:
    """Pause, resume, run or remove a schedule."""
    match change:
        case Change.REMOVE:
            kept.remove_schedule(place.database, name)
        case Change.RUN:
            run = starter.run_now(name)
            if run.job is None:
                return jobs_page(request, place, f"{name} was not run: {run.note}.", HTTPStatus.CONFLICT)
            return _to(f"/jobs/{run.job}")
        case _:
            kept.pause_schedule(place.database, name, paused=change is Change.PAUSE)
    return _to("/jobs#schedules")


@router.post("/jobs/{job}/{steer}")
def steer(
    request: Request,
    place: Here,
    starter: Start,
    job: Number,
    steer: Steer,
    back: Annotated[str, Form()] = "",
) -> Response:
    """Pause, resume or cancel a job, and go back to where that was asked for."""
    try:
        match steer:
            case Steer.PAUSE:
                steering.pause(place.database, job)
            case Steer.CANCEL:
                steering.cancel(place.database, job)
            case Steer.RESUME:
                if steering.resume(place.database, job):
                    starter.send(job)
    except TaggerError as error:
        one_job(place.database, job)
        return jobs_page(request, place, str(error), HTTPStatus.CONFLICT)
    return _to("/jobs" if back == "jobs" else f"/jobs/{job}")


def _to(address: str) -> RedirectResponse:
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


def _failed(photo: FailingPhoto) -> Failed:
    return Failed(
        photo=photo.photo_id,
        name=PurePath(photo.path).name,
        kind=photo.kind,
        text=photo.text,
        attempts=photo.attempts,
        picture=thumbnail(photo.photo_id, None, 256),
    )


def _scheduled(schedule: Schedule) -> Scheduled:
    return Scheduled(
        name=schedule.name,
        what=in_words(schedule.backfill),
        when=f"{kept.explain(schedule.cron)} ({schedule.zone})",
        due=f"{schedule.next_due.astimezone(ZoneInfo(schedule.zone)):%Y-%m-%d %H:%M}",
        due_at=schedule.next_due.isoformat(),
        paused=schedule.paused,
    )


def _times(
    created: datetime, started: datetime | None, finished: datetime | None
) -> Sequence[tuple[str, str, str]]:
    named = (("Recorded", created), ("Begun", started), ("Ended", finished))
    return [(name, when.isoformat(), _local(when)) for name, when in named if when is not None]


NUMBERS = ("total", "tagged", "unknown", "written", "unchanged", "refused", "skipped", "failed", "cancelled")


def _numbers(values: dict[str, Any]) -> Sequence[tuple[str, int]]:
    """What became of photos: the sum, what the kind of job is about, and what there is of the rest."""
    about = ("written", "unchanged", "refused") if values["kind"] in WRITING_KINDS else ("tagged", "unknown")
    return [(name, values[name]) for name in NUMBERS if name in ("total", "failed", *about) or values[name]]


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
