"""Jobs as pages: what is worked on, one job with its failures, schedules, and what a person does with them.

Every button is a form, so all of it works without script; scripts only keep the numbers fresh.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger import schedules as kept
from tagger.errors import FailureKind, TaggerError
from tagger.ledger import steering
from tagger.ledger.abandoned import settle_abandoned
from tagger.ledger.progress import JobProgress
from tagger.schedules import Schedule
from tagger.tables import WRITING_KINDS, Priority
from tagger.web.api.jobs import Here, RetryAsked, Start, retried, what_is_missing
from tagger.web.folders import allowed_folders
from tagger.web.pages.job_failures import failures_of
from tagger.web.pages.job_forms import choices
from tagger.web.pages.job_words import QUEUES, in_hand, in_words, moment, number, photos, shape_of, shown
from tagger.web.pages.rendering import render
from tagger.web.place import Place
from tagger.web.status import JOBS_SHOWN, one_job, options_of, status_of
from tagger.web.words import ONE_LINE

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
        in_hand=in_hand,
        has_redis=now.has_redis,
        queues=[(name, QUEUES[Priority(name)], depth) for name, depth in now.queues.items()],
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
    return render(
        request,
        "job.html",
        job=shown(progress, options_of(place.database, [job])[job]),
        times=_times(progress.created_at, progress.started_at, progress.finished_at),
        numbers=_numbers(progress),
        failures=failures_of(place.database, progress, FAILURES_SHOWN, after),
        after=after,
        missing=None if progress.is_over else what_is_missing(now.has_redis, bool(now.workers)),
        shape=shape_of(now),
        number=number,
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
    request: Request, place: Here, starter: Start, change: Change, name: Annotated[str, Form(), ONE_LINE]
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
    return [(name, when.isoformat(), moment(when)) for name, when in named if when is not None]


def _numbers(job: JobProgress) -> Sequence[tuple[str, int]]:
    """What became of photos: of a job that is over the sum, what the kind of job is about, and what there may be of the rest."""
    about = ("written", "unchanged", "refused") if job.kind in WRITING_KINDS else ("tagged", "unknown")
    names = (*(("total",) if job.is_over else ()), *about, "failed", "skipped", "cancelled")
    return [(name, getattr(job, name)) for name in names]
