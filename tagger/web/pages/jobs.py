"""The pages of jobs: the list with schedules and workers, and one job with its failures.

Every button is a form and works without JavaScript; a script only updates the numbers.
"""

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.database.enums import Priority
from tagger.errors import FailureKind, TaggerError
from tagger.jobs.enqueue.metadata_jobs import Undo, has_job_writes
from tagger.jobs.enqueue.schedules import (
    ScheduleDocument,
    explain_cron,
    list_schedules,
    pause_schedule,
    remove_schedule,
)
from tagger.jobs.processing.metadata_preview import preview_photos
from tagger.ledger import job_control
from tagger.ledger.failures import count_refusals_with_sidecar
from tagger.ledger.progress import JobProgress, find_job, job_options, list_older_jobs
from tagger.texts.text_format import gettext, list_text, moment_text, reader_language
from tagger.web.api.folders import allowed_folders
from tagger.web.api.job_requests import RetryRequest, WriteMode, check_schedule, write_modes
from tagger.web.api.job_starter import Starter
from tagger.web.api.jobs import (
    JOBS_SHOWN,
    JobNumber,
    plan_undo,
    read_status,
    redis_text,
    start_retry,
    waiting_reason,
)
from tagger.web.http.access import Role, requires
from tagger.web.http.auth import may_allow_folder
from tagger.web.http.error_texts import FAILURES, REFUSALS, note_text, page_text
from tagger.web.http.query_params import ONE_LINE
from tagger.web.http.templates import render
from tagger.web.pages.job_views import (
    JobView,
    backfill_text,
    failures_view,
    job_view,
    last_tick_text,
    page_version,
    time_text,
    worker_text,
)
from tagger.web.pages.selected_photos import PREVIEWS, changes_in_words
from tagger.web.pages.tiles import landmark_name
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

FAILURES_PER_PAGE = 48
OLDER_PER_PAGE = 50


@router.get("/jobs")
@requires(Role.VIEWER)
def show_jobs(request: Request, state: State) -> HTMLResponse:
    """Show open and recent jobs, schedules and workers."""
    return render_jobs(request, state)


def render_jobs(
    request: Request, state: AppState, problem: str = "", status_code: HTTPStatus = HTTPStatus.OK
) -> HTMLResponse:
    """Render the page of all jobs; `problem` is an action's error."""
    status = read_status(state.settings, state.database, JOBS_SHOWN)
    jobs = _job_views(state, status.jobs)
    return render(
        request,
        "jobs.html",
        status_code,
        open_jobs=[job for job in jobs if not job.is_over],
        recent_jobs=[job for job in jobs if job.is_over],
        older=status.older,
        workers=status.workers,
        worker_text=worker_text,
        waiting_reason=(status.problem and redis_text(status.problem)) or waiting_reason(state, status),
        has_own_worker=state.has_own_worker,
        version=page_version(state, status),
        last_tick=status.last_tick,
        last_tick_text=last_tick_text,
        schedules=[(each, _schedule_texts(state, each)) for each in list_schedules(state.database)],
        may_choose=bool(allowed_folders(state.settings, state.database).folders),
        may_allow=may_allow_folder(request),
        problem=problem,
    )


@router.get("/jobs/older")
@requires(Role.VIEWER)
def show_older_jobs(
    request: Request, state: State, before: Annotated[int, Query(ge=1, lt=2**63)]
) -> HTMLResponse:
    """Show a page of jobs that are over, with numbers below `before`."""
    older = list_older_jobs(state.database, before, OLDER_PER_PAGE + 1)
    jobs = _job_views(state, older[:OLDER_PER_PAGE])
    return render(request, "jobs_older.html", jobs=jobs, more=len(older) > OLDER_PER_PAGE)


@router.get("/jobs/{job}")
@requires(Role.VIEWER)
def show_job(
    request: Request, state: State, job: JobNumber, after: Annotated[int, Query(ge=-1, lt=2**63)] = -1
) -> HTMLResponse:
    """Show one job's progress and its failures."""
    progress = find_job(state.database, job)
    (view,) = _job_views(state, [progress])
    status = read_status(state.settings, state.database, JOBS_SHOWN)
    reason = None if progress.is_over else waiting_reason(state, status)
    return render(
        request,
        "job.html",
        job=view,
        time_text=time_text,
        lists_photos=(progress.is_over or progress.tagged + progress.unknown > 0)
        and progress.total > 0
        and not progress.items_removed,
        refused_with_sidecar=count_refusals_with_sidecar(state.database, job) if progress.refused else 0,
        failures=failures_view(state.database, progress, FAILURES_PER_PAGE, after),
        after=after,
        waiting_reason=reason,
        version=page_version(state, status),
        kind_words=REFUSALS if view.is_writing else FAILURES,
        may_undo=progress.is_over
        and WriteMode.SIDECAR in write_modes(state.settings)
        and has_job_writes(state.database, job),
    )


@router.post("/jobs/{job}/undo")
@requires(Role.EDITOR)
def undo(
    request: Request,
    state: State,
    starter: Starter,
    job: JobNumber,
    is_confirmed: Annotated[bool, Form()] = False,
) -> Response:
    """Show what an undo of the job would undo; once that is confirmed, start it."""
    planned = plan_undo(state, job)
    if is_confirmed and planned.photos:
        number = starter.start(Undo(job), Priority.INTERACTIVE)
        return RedirectResponse(f"/jobs/{number}", HTTPStatus.SEE_OTHER)
    first = next(Undo(job).photo_id_pages(state.database, state.settings.roots), ())[:PREVIEWS]
    return render(
        request,
        "job_undo.html",
        job=job,
        planned=planned,
        fields=list_text(list(map(gettext, planned.fields))),
        previews=list(preview_photos(state.database, state.settings, first, None, job)),
        changes_in_words=changes_in_words,
    )


@router.post("/jobs/schedules/{action}")
@requires(Role.EDITOR)
def change_schedule(
    request: Request,
    state: State,
    starter: Starter,
    action: Literal["pause", "resume", "run", "remove"],
    name: Annotated[str, Form(), ONE_LINE],
) -> Response:
    """Pause, resume, run or remove a schedule."""
    match action:
        case "remove":
            remove_schedule(state.database, name)
        case "run":
            run = starter.run_now(name)
            if run.job is None:
                reason = note_text(run.note, run.note_message)
                problem = gettext("%(name)s did not run: %(reason)s.", name=name, reason=reason)
                return render_jobs(request, state, problem, HTTPStatus.CONFLICT)
            return RedirectResponse(f"/jobs/{run.job}", HTTPStatus.SEE_OTHER)
        case _:
            if action == "resume":  # the page must be allowed to run it
                check_schedule(state.settings, state.database, name)
            pause_schedule(state.database, name, paused=action == "pause")
    return RedirectResponse("/jobs#schedules", HTTPStatus.SEE_OTHER)


@router.post("/jobs/{job}/retry")
@requires(Role.EDITOR)
def retry(
    state: State, starter: Starter, job: JobNumber, kind: Annotated[FailureKind | None, Form()] = None
) -> Response:
    """Retry the failures of a job, or one kind of them."""
    number = start_retry(state, starter, job, RetryRequest(kind=[kind] if kind else []))
    return RedirectResponse(f"/jobs/{number or job}", HTTPStatus.SEE_OTHER)


@router.post("/jobs/{job}/{action}")
@requires(Role.EDITOR)
def control(
    request: Request,
    state: State,
    starter: Starter,
    job: JobNumber,
    action: Literal["pause", "resume", "cancel"],
    back: Annotated[str, Form()] = "",
) -> Response:
    """Pause, resume or cancel a job, and return to the page with the button."""
    try:
        match action:
            case "pause":
                job_control.pause(state.database, job)
            case "cancel":
                job_control.cancel(state.database, job)
            case "resume":
                starter.resume(job)
    except TaggerError as error:
        find_job(state.database, job)
        return render_jobs(request, state, page_text(error), HTTPStatus.CONFLICT)
    return RedirectResponse("/jobs" if back == "jobs" else f"/jobs/{job}", HTTPStatus.SEE_OTHER)


def _job_views(state: AppState, jobs: Sequence[JobProgress]) -> list[JobView]:
    """Present these jobs, with the name of a landmark in place of its slug."""
    shown = job_options(state.database, [job.job for job in jobs])
    for options in shown.values():
        if slugs := options.get("landmark"):
            slugs = [slugs] if isinstance(slugs, str) else slugs
            options["landmark"] = [landmark_name(state.database, each) for each in slugs]
    return [job_view(job, shown[job.job]) for job in jobs]


def _schedule_texts(state: AppState, schedule: ScheduleDocument) -> dict[str, object]:
    """What the page says of a schedule: `what` it tags, `when`, and when it is `due` next."""
    backfill = schedule.backfill
    names = tuple(landmark_name(state.database, each) for each in backfill.query.landmark)
    backfill = replace(backfill, query=replace(backfill.query, landmark=names))
    return {
        "what": backfill_text(backfill),
        "when": f"{_cron_text(schedule)} ({schedule.zone})",
        "due": moment_text(schedule.next_due),
    }


def _cron_text(schedule: ScheduleDocument) -> str:
    """When the schedule runs; a daily one in the reader's language, others in English or as written."""
    minute, hour, *others = schedule.cron.split()
    if not (others == ["*"] * 3 and minute.isdecimal() and hour.isdecimal()):
        if reader_language() is None:
            return explain_cron(schedule.cron, schedule.until)
        until = gettext("until %(time)s", time=schedule.until) if schedule.until else ""
        return ", ".join(filter(None, (schedule.cron, until)))
    start = f"{int(hour):02}:{int(minute):02}"
    if schedule.until:
        return gettext("every day at %(start)s, until %(end)s", start=start, end=schedule.until)
    return gettext("every day at %(start)s", start=start)
