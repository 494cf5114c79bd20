"""The forms that start jobs and keep schedules: a small browser of the folders that are allowed, and what is to be done in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from tagger import schedules as kept
from tagger.backfill import What
from tagger.errors import TaggerError
from tagger.tables import Priority
from tagger.web.api.jobs import BackfillAsked, Here, Key, Start
from tagger.web.api.schedules import ScheduleAsked, added
from tagger.web.folders import Allowed, allowed_folders, folder_of, folders_in, key_of
from tagger.web.pages.job_words import WHATS
from tagger.web.pages.rendering import render
from tagger.web.permitted import Write, writable
from tagger.web.place import Place
from tagger.web.starting import Asked
from tagger.web.words import ONE_LINE

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

Text = Annotated[str, Field(max_length=1000), ONE_LINE]
EVERY_NIGHT = "0 3 * * *"
OFTEN = {
    EVERY_NIGHT: "Every night at 3:00",
    "0 * * * *": "Every hour",
    "0 3 * * 1": "Every Monday at 3:00",
    "0 3 1 * *": "On the 1st of the month at 3:00",
}
"""What schedules mostly are, as cron writes it."""
WRITES = {
    Write.NONE: "No",
    Write.SIDECAR: "Into .xmp files beside",
    Write.EMBED: "Into the photos",
}


@dataclass(frozen=True)
class Choice:
    """A folder to choose: its name, its whole path, and the key that stands for it."""

    key: str
    name: str
    path: str


class FolderForm(BaseModel):
    """A job over one folder."""

    model_config = ConfigDict(extra="forbid")

    folder: Key
    again: bool = False
    write: Write = Write.NONE
    priority: Priority = Priority.BULK


class BackfillForm(BaseModel):
    """A job over photos in the database. Fields that were left empty come as empty text."""

    model_config = ConfigDict(extra="forbid")

    what: What
    landmark: Text = ""
    taken_after: Text = ""
    taken_before: Text = ""
    scan: Key = ""
    write: Write = Write.NONE
    priority: Priority = Priority.BULK

    def values(self) -> dict[str, Any]:
        """As the API takes them.

        Raises:
            HTTPException: a date is none, a folder is not allowed.
        """
        return {
            "what": self.what,
            "landmark": self.landmark.strip() or None,
            "taken_after": _date(self.taken_after),
            "taken_before": _date(self.taken_before),
            "scan": [{"key": self.scan}] if self.scan else [],
            "write": self.write,
            "priority": self.priority,
        }


class ScheduleForm(BackfillForm):
    """A backfill by the clock."""

    name: Annotated[str, Field(max_length=200)]
    cron: Annotated[str, Field(max_length=200)]
    zone: Annotated[str, Field(max_length=100)] = ""


def choices(allowed: Allowed) -> Sequence[Choice]:
    """The outermost folders."""
    return [Choice(key_of(folder), str(folder), str(folder)) for folder in allowed.folders]


@router.get("/jobs/new")
def show_new(request: Request, place: Here, folder: Annotated[str, Query(max_length=8192)] = "") -> Response:
    """What to start: a folder, chosen step by step, or a backfill."""
    return _new(request, place, folder)


@router.post("/jobs/new")
def start_folder(
    request: Request, place: Here, starter: Start, form: Annotated[FolderForm, Form()]
) -> Response:
    """Begin a job over the folder."""
    try:
        selection = allowed_folders(place.settings, place.database).selection([folder_of(form.folder)])
        asked = BackfillAsked(what=What.ALL, write=form.write)
        job = starter.tag(selection, Asked(form.priority, form.again, asked.asked(place.settings)))
    except TaggerError as error:
        return _new(request, place, "", str(error), HTTPStatus.CONFLICT)
    return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)


@router.post("/jobs/backfill")
def start_backfill(
    request: Request, place: Here, starter: Start, form: Annotated[BackfillForm, Form()]
) -> Response:
    """Begin a backfill."""
    try:
        asked = _valid(BackfillAsked, form.values())
        job = starter.backfill(asked.wanted(place), asked.priority)
    except TaggerError as error:
        return _new(request, place, "", str(error), HTTPStatus.CONFLICT, form.model_dump())
    return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)


@router.get("/jobs/schedules/new")
def show_new_schedule(request: Request, place: Here) -> HTMLResponse:
    """What a schedule is to do, and when."""
    return _new_schedule(request, place)


@router.get("/jobs/schedules/due")
def show_due(
    request: Request,
    cron: Annotated[str, Query(max_length=200)],
    zone: Annotated[str, Query(max_length=100)] = "",
) -> HTMLResponse:
    """When a schedule like that would run, as a piece of the form's page."""
    due, problem = _due(cron.strip(), zone.strip())
    return render(request, "jobs_due.html", due=due, problem=problem)


@router.post("/jobs/schedules/new")
def add_schedule(request: Request, place: Here, form: Annotated[ScheduleForm, Form()]) -> Response:
    """Keep a schedule; what was typed stays in the form where it cannot be kept."""
    typed = form.model_dump()
    if not form.name.strip():
        return _new_schedule(request, place, "Give the schedule a name.", typed)
    more = {"name": form.name.strip(), "cron": form.cron.strip(), "zone": form.zone.strip() or None}
    try:
        added(place, _valid(ScheduleAsked, form.values() | more))
    except TaggerError as error:
        return _new_schedule(request, place, str(error), typed)
    return RedirectResponse("/jobs#schedules", HTTPStatus.SEE_OTHER)


def _new_schedule(
    request: Request, place: Place, problem: str = "", typed: dict[str, Any] | None = None
) -> HTMLResponse:
    folders = choices(allowed_folders(place.settings, place.database))
    # Who wants photos tagged by the clock wants new ones too, and where there is one folder they come there.
    given = typed or {"scan": folders[0].key if len(folders) == 1 else ""}
    return render(
        request,
        "jobs_schedule.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        choices=folders,
        whats=WHATS,
        writes=_writes(place),
        often=OFTEN,
        zone=kept.local_zone(),
        problem=problem,
        typed=given,
        due=_due(given.get("cron") or EVERY_NIGHT, given.get("zone") or "")[0],
    )


def _due(cron: str, zone: str) -> tuple[str, str]:
    """In words; or nothing, and why it never is."""
    zone = zone or kept.local_zone()
    try:
        due = kept.next_due(cron, zone, datetime.now(UTC)).astimezone(ZoneInfo(zone))
    except TaggerError as error:
        return "", str(error)
    return f"{kept.explain(cron)}, next on {due:%A, %Y-%m-%d at %H:%M} ({zone}).", ""


def _new(
    request: Request,
    place: Place,
    key: str,
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
    typed: dict[str, Any] | None = None,
) -> HTMLResponse:
    allowed = allowed_folders(place.settings, place.database)
    here = allowed.checked(folder_of(key)) if key else None
    if here is None and len(allowed.folders) == 1 and not problem:
        try:
            here = allowed.checked(allowed.folders[0])
        except TaggerError as error:
            problem = str(error)
    inside, more = folders_in(here) if here else (allowed.folders, 0)
    return render(
        request,
        "jobs_new.html",
        status,
        chosen=_choice(here) if here else None,
        crumbs=[_choice(each, whole=n == 0) for n, each in enumerate(allowed.crumbs(here))] if here else [],
        folders=[_choice(each, whole=here is None) for each in inside],
        more=more,
        choices=choices(allowed),
        has_several=len(allowed.folders) > 1,
        whats=WHATS,
        writes=_writes(place),
        problem=problem,
        typed=typed or {},
    )


def _writes(place: Place) -> dict[Write, str]:
    """In words, what may be chosen."""
    return {way: WRITES[way] for way in writable(place.settings)}


def _choice(folder: Path, *, whole: bool = False) -> Choice:
    return Choice(key_of(folder), str(folder) if whole else folder.name, str(folder))


Model = TypeVar("Model", bound=BaseModel)


def _valid(kind: type[Model], values: dict[str, Any]) -> Model:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:10])
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"{text}.") from None


def _date(given: str) -> datetime | None:
    try:
        return datetime.fromisoformat(given) if given.strip() else None
    except ValueError:
        text = f"{given[:50]!r} is no date; write it like 2024-06-01."
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text) from None
