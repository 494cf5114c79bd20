"""Schedules of backfills, as `tagger schedule`."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from tagger.jobs.enqueue import schedules as service
from tagger.jobs.enqueue.schedule_runs import ScheduleRun, list_runs
from tagger.jobs.enqueue.schedules import ScheduleDocument
from tagger.web.api.job_requests import BackfillRequest, check_schedule
from tagger.web.api.job_starter import Starter
from tagger.web.api.routes import api_router
from tagger.web.http.query_params import ONE_LINE
from tagger.web.state import AppState, State

router = api_router("schedules", "/schedules")

# Any text is a name, also with slashes.
Name = Annotated[str, Path(min_length=1, max_length=200, description="The schedule's name."), ONE_LINE]


def _check_addressable(name: str) -> str:
    if {".", ".."} & set(name.split("/")):  # clients remove these from addresses
        raise PydanticCustomError("dots", "should not be . or .., nor have them between slashes")
    return name


class ScheduleRequest(BackfillRequest):
    """A backfill and its due times, as `tagger schedule add`."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$"),
        ONE_LINE,
        AfterValidator(_check_addressable),
    ]
    cron: Annotated[str, Field(max_length=200, description="Minute, hour, day, month, weekday.")]
    zone: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="A time zone such as Europe/Paris. Default: the server's."
    )
    until: Annotated[str, Field(max_length=5)] | None = Field(
        None, description="The time of day, such as 06:00, at which a run is paused until the next one."
    )


@router.get("")
def schedules(state: State) -> list[ScheduleDocument]:
    """List all schedules by name."""
    return service.list_schedules(state.database)


@router.post("", status_code=HTTPStatus.CREATED)
def add(state: State, body: ScheduleRequest) -> ScheduleDocument:
    """Add a schedule. Each of its runs uses the model that is in use at that time."""
    return add_schedule(state, body)


def add_schedule(state: AppState, body: ScheduleRequest) -> ScheduleDocument:
    """Raises:
    TaggerError, HTTPException: the schedule is not possible; the text says why.
    """
    backfill = body.backfill(state)
    backfill.check(state.database, state.settings.roots)
    return service.add_schedule(
        state.database,
        body.name,
        body.cron,
        backfill,
        body.priority,
        body.zone or None,
        until=body.until or None,
        follows_links=False,
    )


@router.get("/{name:path}/history")
def history(state: State, name: Name, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> list[ScheduleRun]:
    """List the latest runs of a schedule, newest first."""
    return list_runs(state.database, name, limit)


@router.post("/{name:path}/pause")
def pause(state: State, name: Name) -> ScheduleDocument:
    """Pause a schedule. Runs that become due meanwhile are skipped."""
    return _set_paused(state, name, paused=True)


@router.post("/{name:path}/resume")
def resume(state: State, name: Name) -> ScheduleDocument:
    """Resume a paused schedule, from its next due time."""
    return _set_paused(state, name, paused=False)


@router.post("/{name:path}/run-now")
def run_now(starter: Starter, name: Name) -> ScheduleRun:
    """Run a schedule now, in addition to its due times; `job` is null if an earlier run has not finished."""
    return starter.run_now(name)


@router.delete("/{name:path}", status_code=HTTPStatus.NO_CONTENT)
def remove(state: State, name: Name) -> None:
    """Remove a schedule. Its jobs remain."""
    service.remove_schedule(state.database, name)


def _set_paused(state: AppState, name: str, *, paused: bool) -> ScheduleDocument:
    pause_or_resume(state, name, paused=paused)
    return next(each for each in service.list_schedules(state.database) if each.name == name)


def pause_or_resume(state: AppState, name: str, *, paused: bool) -> None:
    """Raises:
    ScheduleNotFound: there is no such schedule.
    HTTPException: the page may not run it, so it may not resume it.
    """
    if not paused:
        check_schedule(state.settings, state.database, name)
    service.pause_schedule(state.database, name, paused=paused)
