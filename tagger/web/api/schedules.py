"""Schedules: backfills by the clock; the same JSON as `tagger schedule`."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from tagger import schedules as kept
from tagger.backfill import check
from tagger.job_documents import run_document, schedule_document
from tagger.schedules import Schedule
from tagger.web.api import shapes
from tagger.web.api.jobs import BackfillAsked, Here, Start
from tagger.web.api.routing import api_router
from tagger.web.place import Place
from tagger.web.words import ONE_LINE

router = api_router("schedules", "/schedules")

# A name is any text, slashes too.
Name = Annotated[
    str, Path(min_length=1, max_length=200, description="What the schedule is called."), ONE_LINE
]


def _addressable(name: str) -> str:
    if {".", ".."} & set(name.split("/")):  # clients leave these out of an address
        raise PydanticCustomError("dots", "should not be . or .., nor have them between slashes")
    return name


class ScheduleAsked(BackfillAsked):
    """A backfill and when it runs, as `tagger schedule add`."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$"),
        ONE_LINE,
        AfterValidator(_addressable),
    ]
    cron: Annotated[str, Field(max_length=200, description="Minute, hour, day, month, weekday.")]
    zone: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Like Europe/Paris; else the server's own."
    )


@router.get("", response_model=list[shapes.Schedule])
def schedules(place: Here) -> list[dict[str, Any]]:
    """All schedules, by name."""
    return [schedule_document(each) for each in kept.list_schedules(place.database)]


@router.post("", status_code=HTTPStatus.CREATED, response_model=shapes.Schedule)
def add(place: Here, asked: ScheduleAsked) -> dict[str, Any]:
    """Keep a backfill that runs by the clock, with the model in use at that time."""
    return schedule_document(added(place, asked))


def added(place: Place, asked: ScheduleAsked) -> Schedule:
    """The schedule that was asked for, kept.

    Raises:
        TaggerError, HTTPException: it cannot be kept; the text says why.
    """
    wanted = asked.wanted(place)
    check(place.database, wanted, place.settings.roots)
    return kept.add_schedule(
        place.database,
        asked.name,
        asked.cron,
        wanted,
        asked.priority,
        asked.zone or None,
        follows_links=False,
    )


@router.get("/{name:path}/history", response_model=list[shapes.Run])
def history(
    place: Here, name: Name, limit: Annotated[int, Query(ge=1, le=1000)] = 20
) -> list[dict[str, Any]]:
    """The latest runs of a schedule, newest first."""
    return [run_document(run) for run in kept.list_runs(place.database, name, limit)]


@router.post("/{name:path}/pause", response_model=shapes.Schedule)
def pause(place: Here, name: Name) -> dict[str, Any]:
    """Let a schedule rest; runs that fall due meanwhile are not made up for."""
    return _set_paused(place, name, paused=True)


@router.post("/{name:path}/resume", response_model=shapes.Schedule)
def resume(place: Here, name: Name) -> dict[str, Any]:
    """Let a paused schedule run again, from its next due time on."""
    return _set_paused(place, name, paused=False)


@router.post("/{name:path}/run-now", response_model=shapes.Run)
def run_now(starter: Start, name: Name) -> dict[str, Any]:
    """Begin a run of a schedule now, beside its due times; `job` is null where an earlier run is still at work."""
    return run_document(starter.run_now(name))


@router.delete("/{name:path}", status_code=HTTPStatus.NO_CONTENT)
def remove(place: Here, name: Name) -> None:
    """Remove a schedule; jobs it has made stay."""
    kept.remove_schedule(place.database, name)


def _set_paused(place: Place, name: str, *, paused: bool) -> dict[str, Any]:
    kept.pause_schedule(place.database, name, paused=paused)
    return next(schedule_document(each) for each in kept.list_schedules(place.database) if each.name == name)
