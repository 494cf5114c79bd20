"""The page that starts jobs: a folder browser, and the form of a backfill."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from tagger.database.enums import Priority
from tagger.errors import QueryOptionInvalid, TaggerError
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope, backfill_job, count_photos
from tagger.library.query.option_values import parse_date
from tagger.photos.paths import ObjectPath
from tagger.web.api.folders import (
    AllowedFolders,
    allowed_folders,
    folder_key,
    list_subfolders,
    path_of_key,
)
from tagger.web.api.job_requests import BackfillRequest, Key, WriteMode, write_modes
from tagger.web.api.job_starter import Starter, TaggingOptions
from tagger.web.http.error_responses import page_text
from tagger.web.http.query_params import ONE_LINE
from tagger.web.http.templates import render
from tagger.web.pages.job_views import SCOPE_TEXTS
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

NOTHING_FOUND = (
    "No photo in the library is like this, so no job was started. Photos that fail or are not classified have no landmark of the "
    "model; new photos are found by a scan."
)
Text = Annotated[str, Field(max_length=1000), ONE_LINE]
WRITE_TEXTS = {
    WriteMode.NONE: "No",
    WriteMode.SIDECAR: "Into XMP sidecar files",
    WriteMode.EMBED: "Into the photos",
}


@dataclass(frozen=True)
class FolderChoice:
    """A folder or a prefix of a bucket with its key, a short name and its whole path."""

    key: str
    name: str
    path: str
    is_bucket: bool


class FolderForm(BaseModel):
    """A job over one folder, or over an address in a bucket."""

    model_config = ConfigDict(extra="forbid")

    folder: Key = ""
    address: Key = ""
    again: bool = False
    write: WriteMode = WriteMode.NONE
    priority: Priority = Priority.BULK


class BackfillForm(BaseModel):
    """A job over photos in the database. An empty field is an empty text."""

    model_config = ConfigDict(extra="forbid")

    what: BackfillScope
    landmark: Text = ""
    taken_after: Text = ""
    taken_before: Text = ""
    scan: Key = ""
    write: WriteMode = WriteMode.NONE
    priority: Priority = Priority.BULK

    def request_values(self) -> dict[str, Any]:
        """Return the fields of `BackfillRequest`.

        Raises:
            QueryOptionInvalid: a date is invalid.
        """
        return {
            "what": self.what,
            "landmark": self.landmark.strip() or None,
            "taken_after": parse_date(self.taken_after.strip() or None, "taken_after"),
            "taken_before": parse_date(self.taken_before.strip() or None, "taken_before"),
            "scan": [{"key": self.scan}] if self.scan else [],
            "write": self.write,
            "priority": self.priority,
        }


@router.get("/jobs/new")
def show_new(request: Request, state: State, folder: Annotated[str, Query(max_length=8192)] = "") -> Response:
    """Show the folder browser and the form of a backfill."""
    return _render(request, state, folder)


@router.post("/jobs/new")
def start_folder(
    request: Request, state: State, starter: Starter, form: Annotated[FolderForm, Form()]
) -> Response:
    """Start a job over the folder."""
    try:
        folder = form.address.strip() or path_of_key(form.folder)
        selection = allowed_folders(state.settings, state.database).selection([folder])
        body = BackfillRequest(what=BackfillScope.ALL, write=form.write)
        options = TaggingOptions(form.priority, form.again, body.metadata_options(state.settings))
        job = starter.tag(selection, options)
    except TaggerError as error:
        chosen = form.model_dump()
        return _render(request, state, "", page_text(error), HTTPStatus.CONFLICT, chosen=chosen)
    return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)


@router.post("/jobs/backfill")
def start_backfill(
    request: Request, state: State, starter: Starter, form: Annotated[BackfillForm, Form()]
) -> Response:
    """Start a backfill."""
    try:
        body = validate(BackfillRequest, form.request_values())
        backfill = body.backfill(state)
        if not _may_have_photos(state, backfill, body.priority):
            return _render(request, state, "", NOTHING_FOUND, HTTPStatus.CONFLICT, form.model_dump())
        job = starter.backfill(backfill, body.priority)
    except QueryOptionInvalid as error:
        return _render(
            request, state, "", page_text(error), HTTPStatus.UNPROCESSABLE_ENTITY, form.model_dump()
        )
    except TaggerError as error:
        return _render(request, state, "", page_text(error), HTTPStatus.CONFLICT, form.model_dump())
    return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)


def _may_have_photos(state: AppState, backfill: Backfill, priority: Priority) -> bool:
    """Return whether a backfill finds photos now, or may find some by a scan or by learning.

    Raises:
        TaggerError: the backfill is not possible.
    """
    if backfill.scan or backfill.scope is BackfillScope.TAUGHT:
        return True
    new = backfill_job(state.database, state.settings, backfill, priority)
    return bool(count_photos(state.database, backfill, new.model_id, state.settings.roots))


def folder_choices(allowed: AllowedFolders) -> Sequence[FolderChoice]:
    """Return the outermost allowed folders."""
    return [_choice(folder, is_whole=True) for folder in allowed.folders]


def write_choices(state: AppState) -> dict[WriteMode, str]:
    """Return the write modes that the server allows, with their texts."""
    return {mode: WRITE_TEXTS[mode] for mode in write_modes(state.settings)}


Model = TypeVar("Model", bound=BaseModel)


def validate(kind: type[Model], values: dict[str, Any]) -> Model:
    """Return the model of these values.

    Raises:
        HTTPException: a value is invalid; the text lists the errors.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:10])
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"{text}.") from None


def _render(
    request: Request,
    state: AppState,
    key: str,
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
    typed: dict[str, Any] | None = None,
    chosen: dict[str, Any] | None = None,
) -> HTMLResponse:
    """Render the page. `typed` are the fields of the backfill, `chosen` those of the job over a folder, if one was refused."""
    allowed = allowed_folders(state.settings, state.database)
    folder = allowed.check(path_of_key(key)) if key else None
    if folder is None and len(allowed.folders) == 1 and not problem:
        try:
            folder = allowed.check(allowed.folders[0])
        except TaggerError as error:
            problem = page_text(error)
    subfolders, more = list_subfolders(folder) if folder else (allowed.folders, 0)
    breadcrumbs = allowed.breadcrumbs(folder) if folder else ()
    return render(
        request,
        "jobs_new.html",
        status,
        selected=_choice(folder) if folder else None,
        breadcrumbs=[_choice(path, is_whole=index == 0) for index, path in enumerate(breadcrumbs)],
        folders=[_choice(path, is_whole=folder is None) for path in subfolders],
        more=more,
        choices=folder_choices(allowed),
        has_several=len(allowed.folders) > 1,
        scopes=SCOPE_TEXTS,
        writes=write_choices(state),
        problem=problem,
        typed=typed or {},
        chosen=chosen or {},
    )


def _choice(folder: Path, *, is_whole: bool = False) -> FolderChoice:
    name = str(folder) if is_whole else folder.name
    return FolderChoice(folder_key(folder), name, str(folder), isinstance(folder, ObjectPath))
