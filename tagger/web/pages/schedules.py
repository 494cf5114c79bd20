"""Schedules: the form that adds one, and the buttons of each."""

from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field

from tagger.errors import TaggerError
from tagger.jobs.enqueue import schedules as service
from tagger.jobs.enqueue.schedules import explain_cron, local_zone, next_due
from tagger.web.api.folders import allowed_folders
from tagger.web.api.job_starter import Starter
from tagger.web.api.schedules import ScheduleRequest, add_schedule
from tagger.web.http.error_responses import page_text
from tagger.web.http.query_params import ONE_LINE
from tagger.web.http.templates import render
from tagger.web.pages.job_forms import BackfillForm, folder_choices, validate, write_choices
from tagger.web.pages.job_views import SCOPE_TEXTS
from tagger.web.pages.jobs import render_jobs
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

EVERY_NIGHT = "0 3 * * *"
COMMON_TIMES = {
    EVERY_NIGHT: "Every night at 3:00",
    "0 * * * *": "Every hour",
    "0 3 * * 1": "Every Monday at 3:00",
    "0 3 1 * *": "On the 1st of the month at 3:00",
}
"""Texts of common schedules by cron expression."""


class ScheduleAction(StrEnum):
    """A button of a schedule."""

    PAUSE = "pause"
    RESUME = "resume"
    RUN = "run"
    REMOVE = "remove"


class ScheduleForm(BackfillForm):
    """A scheduled backfill."""

    name: Annotated[str, Field(max_length=200)]
    cron: Annotated[str, Field(max_length=200)]
    zone: Annotated[str, Field(max_length=100)] = ""
    until: Annotated[str, Field(max_length=5)] = ""


@router.get("/jobs/schedules/new")
def show_form(request: Request, state: State) -> HTMLResponse:
    """Show the form of a new schedule."""
    return _render_form(request, state)


@router.get("/jobs/schedules/due")
def show_due(
    request: Request,
    cron: Annotated[str, Query(max_length=200)],
    zone: Annotated[str, Query(max_length=100)] = "",
) -> HTMLResponse:
    """Show when a schedule would run next, as a fragment of the form."""
    due, problem = _due_text(cron.strip(), zone.strip())
    return render(request, "jobs_due.html", due=due, problem=problem)


@router.post("/jobs/schedules/new")
def add(request: Request, state: State, form: Annotated[ScheduleForm, Form()]) -> Response:
    """Add a schedule; if that fails, show the form again with the typed values."""
    typed = form.model_dump()
    if not form.name.strip():
        return _render_form(request, state, "Give the schedule a name.", typed)
    times = {
        "name": form.name.strip(),
        "cron": form.cron.strip(),
        "zone": form.zone.strip() or None,
        "until": form.until or None,
    }
    try:
        add_schedule(state, validate(ScheduleRequest, form.request_values() | times))
    except TaggerError as error:
        return _render_form(request, state, page_text(error), typed)
    return _redirect("/jobs#schedules")


@router.post("/jobs/schedules/{action}")
def change(
    request: Request,
    state: State,
    starter: Starter,
    action: ScheduleAction,
    name: Annotated[str, Form(), ONE_LINE],
) -> Response:
    """Pause, resume, run or remove a schedule."""
    match action:
        case ScheduleAction.REMOVE:
            service.remove_schedule(state.database, name)
        case ScheduleAction.RUN:
            run = starter.run_now(name)
            if run.job is None:
                return render_jobs(request, state, f"{name} did not run: {run.note}.", HTTPStatus.CONFLICT)
            return _redirect(f"/jobs/{run.job}")
        case _:
            service.pause_schedule(state.database, name, paused=action is ScheduleAction.PAUSE)
    return _redirect("/jobs#schedules")


def _redirect(address: str) -> RedirectResponse:
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


def _render_form(
    request: Request, state: AppState, problem: str = "", typed: dict[str, Any] | None = None
) -> HTMLResponse:
    folders = folder_choices(allowed_folders(state.settings, state.database))
    # A schedule usually is to find new photos too; with one folder, that is where they are.
    values = typed or {"scan": folders[0].key if len(folders) == 1 else ""}
    return render(
        request,
        "jobs_schedule.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        choices=folders,
        scopes=SCOPE_TEXTS,
        writes=write_choices(state),
        common_times=COMMON_TIMES,
        zone=local_zone(),
        problem=problem,
        typed=values,
        due=_due_text(values.get("cron") or EVERY_NIGHT, values.get("zone") or "")[0],
    )


def _due_text(cron: str, zone: str) -> tuple[str, str]:
    """Return the next due time as text; or an empty text and the error."""
    zone = zone or local_zone()
    try:
        due = next_due(cron, zone, datetime.now(UTC)).astimezone(ZoneInfo(zone))
    except TaggerError as error:
        return "", page_text(error)
    return f"{explain_cron(cron)}, next on {due:%A, %Y-%m-%d at %H:%M} ({zone}).", ""
