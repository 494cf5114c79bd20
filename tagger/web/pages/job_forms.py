"""The page that starts jobs: over a folder now, which may be a new one, and over one every night."""

import os
import time
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from tagger.database.enums import Priority
from tagger.errors import PathNotFound, TaggerError
from tagger.jobs.enqueue.scan import Selection, select_paths
from tagger.jobs.enqueue.schedules import add_schedule, local_zone
from tagger.jobs.enqueue.submission import BackfillScope, Tagging
from tagger.texts.text_format import N_, gettext, reader_zone
from tagger.web.api.job_starter import (
    BackfillRequest,
    FolderEntry,
    FolderKey,
    FolderRefused,
    Key,
    Starter,
    WriteMode,
    WriteRequest,
    allowed_folders,
    list_subfolders,
    path_of_key,
    write_modes,
)
from tagger.web.api.jobs import read_status, waiting_reason
from tagger.web.http.access import Role, may_allow_folder, requires
from tagger.web.http.errors import page_text
from tagger.web.http.routes import RequestModel
from tagger.web.http.templates import render
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

AT_NIGHT = "03:00"
MAX_NAME_LENGTH = 100
# These come first.
PHOTO_FOLDERS = {"Pictures", "Photos", "DCIM", "Bilder", "Images", "photos"}
MOST_USUAL = 12
WRITE_TEXTS = {
    WriteMode.NONE: N_("No"),
    WriteMode.SIDECAR: N_("Into XMP sidecar files"),
    WriteMode.EMBED: N_("Into the photos"),
}


class FolderForm(WriteRequest):
    """A job over a folder, or an address in a bucket. `path`, `usual`: another one, which needs `consent`."""

    folder: Key = ""
    address: Key = ""
    path: Key = ""
    usual: Key = ""
    consent: bool = False
    again: bool = False


class NightlyForm(RequestModel):
    """A schedule that tags the new photos of a folder every day at a time of the reader's zone."""

    scan: Key
    time: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = AT_NIGHT
    write: WriteMode = WriteMode.NONE


@router.get("/jobs/new")
@requires(Role.EDITOR)
def show_new(
    request: Request, state: State, folder: Annotated[str, Query(max_length=8192)] = ""
) -> Response:
    """Show the folder browser and the form of a schedule."""
    return _render(request, state, folder)


@router.post("/jobs/new")
@requires(Role.EDITOR)
def start_folder(
    request: Request, state: State, starter: Starter, form: Annotated[FolderForm, Form()]
) -> Response:
    """Start a job over the folder."""
    try:
        if form.path or form.usual:
            selection = _other_folder(request, form)
        else:
            folder = form.address.strip() or path_of_key(form.folder)
            selection = allowed_folders(state.settings, state.database).selection([folder])
        tagging = Tagging(selection, form.again, form.metadata_options(state.settings))
        job = starter.start(tagging, form.priority)
    except (TaggerError, HTTPException) as error:
        return _refuse(request, state, form.folder, error, form)
    return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)


def _other_folder(request: Request, form: FolderForm) -> Selection:
    """Return the folder for which somebody consents. Its job records it as a root, which is allowed then.

    Raises:
        FolderRefused: nobody consents, or the page may not be given a folder.
        HTTPException: the path depends on the working directory of the server.
        PathNotFound: the folder does not exist.
    """
    # A user who does not exist is no error.
    path = Path(os.path.expanduser(form.path.strip() or form.usual))  # noqa: PTH111
    if not (form.consent and may_allow_folder(request)):
        raise FolderRefused
    if not path.is_absolute():
        text = gettext(
            "%(path)s does not say where the folder is. Write the whole path, like %(like)s."
        )
        raise HTTPException(
            HTTPStatus.CONFLICT, text % {"path": path, "like": "/home/ada/Pictures"}
        )
    if not path.is_dir():
        raise PathNotFound(path=path)
    return select_paths([path])


@router.post("/jobs/nightly")
@requires(Role.EDITOR)
def add_nightly(request: Request, state: State, form: Annotated[NightlyForm, Form()]) -> Response:
    """Add a schedule that tags new photos."""
    try:
        _add_nightly(state, form)
    except (TaggerError, HTTPException) as error:
        return _refuse(request, state, "", error, form)
    return RedirectResponse("/jobs#schedules", HTTPStatus.SEE_OTHER)


def _add_nightly(state: AppState, form: NightlyForm) -> None:
    """Add the schedule, named after the folder.

    Raises:
        TaggerError, HTTPException: it is not possible; the text says why.
    """
    request = BackfillRequest(
        what=BackfillScope.UNTAGGED, scan=[FolderKey(key=form.scan)], write=form.write
    )
    backfill = request.backfill(state)
    backfill.check(state.database, state.settings.roots)
    folder = path_of_key(form.scan)
    name = "".join(filter(str.isprintable, Path(folder).name or folder))
    title = " ".join(gettext("New photos in %(folder)s", folder=name[:MAX_NAME_LENGTH]).split())
    hour, minute = map(int, form.time.split(":"))
    cron = f"{minute} {hour} * * *"
    zone = reader_zone()
    zone_name = None if zone is None else zone.key
    add_schedule(
        state.database, title, cron, backfill, Priority.BULK, zone_name, follows_links=False
    )


def _refuse(
    request: Request,
    state: AppState,
    key: str,
    error: TaggerError | HTTPException,
    form: RequestModel,
) -> HTMLResponse:
    """Render the page with the reason, and with what was chosen; without the folder if that is refused."""
    if isinstance(error, HTTPException):
        status, problem = HTTPStatus(error.status_code), error.detail
    else:
        status, problem = HTTPStatus.CONFLICT, page_text(error)
    chosen = form.model_dump()
    try:
        return _render(request, state, key, problem, status, chosen)
    except (TaggerError, FolderRefused):
        return _render(request, state, "", problem, status, chosen)


def _render(
    request: Request,
    state: AppState,
    key: str,
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
    chosen: dict[str, Any] | None = None,
) -> HTMLResponse:
    """Render the page. `chosen` are the fields of a form that was refused."""
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
        selected=FolderEntry.of(folder) if folder else None,
        breadcrumbs=[FolderEntry.of(path) for path in breadcrumbs],
        folders=[FolderEntry.of(path) for path in subfolders],
        more=more,
        choices=[FolderEntry.of(path) for path in allowed.folders],
        has_several=len(allowed.folders) > 1,
        writes={mode: gettext(WRITE_TEXTS[mode]) for mode in write_modes(state.settings)},
        problem=problem,
        chosen=chosen or {},
        at_night=AT_NIGHT,
        may_allow=may_allow_folder(request),
        usual=_usual_folders(),
        uploads=state.upload_folder.folder,
        waiting_reason=waiting_reason(state, read_status(state.settings, state.database, 0)),
        zone=reader_zone() or local_zone() or time.tzname[0],
    )


def _usual_folders() -> list[Path]:
    """The folders in which people have photos: of their home, of disks, and below /mnt those named so."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - a container's user may have none
    folders: list[Path] = []
    for outer, pattern in (
        (home, "[!.]*"),
        (Path("/media"), "*/*"),
        (Path("/Volumes"), "*"),
        (Path("/mnt"), "*"),
        (Path("/mnt"), "*/*"),
    ):
        with suppress(OSError):
            found = sorted(each for each in outer.glob(pattern) if each.is_dir())
            folders += [
                each for each in found if each.name in PHOTO_FOLDERS or outer != Path("/mnt")
            ]
    folders.sort(key=lambda each: each.name not in PHOTO_FOLDERS)
    return folders[:MOST_USUAL]
