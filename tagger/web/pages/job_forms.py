"""The page that starts jobs: a folder that is tagged now, and one that is looked into every night."""

import os
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field

from tagger.errors import PathNotFound, TaggerError
from tagger.jobs.enqueue.backfill import BackfillScope
from tagger.jobs.enqueue.scan import Selection, select_paths
from tagger.jobs.enqueue.schedules import local_zone
from tagger.jobs.enqueue.submission import Tagging
from tagger.system.addresses import is_loopback
from tagger.system.text_format import N_, gettext
from tagger.web.api.folders import (
    FolderEntry,
    FolderRefused,
    allowed_folders,
    list_subfolders,
    path_of_key,
)
from tagger.web.api.job_requests import FolderKey, Key, WriteMode, WriteRequest, write_modes
from tagger.web.api.job_starter import Starter
from tagger.web.api.schedules import ScheduleRequest, add_schedule
from tagger.web.http.auth import AccessPolicy
from tagger.web.http.error_texts import page_text
from tagger.web.http.query_params import RequestModel
from tagger.web.http.templates import render
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

AT_NIGHT = "03:00"
MAX_NAME_LENGTH = 100
WRITE_TEXTS = {
    WriteMode.NONE: N_("No"),
    WriteMode.SIDECAR: N_("Into XMP sidecar files"),
    WriteMode.EMBED: N_("Into the photos"),
}


class FolderForm(WriteRequest):
    """A job over one folder, or over an address in a bucket. `path`: the first folder, which the page may read only with `consent`."""

    folder: Key = ""
    address: Key = ""
    path: Key = ""
    consent: bool = False
    again: bool = False


class NightlyForm(RequestModel):
    """A schedule that tags the new photos of a folder every day at a time of the server's zone."""

    scan: Key
    time: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = AT_NIGHT
    write: WriteMode = WriteMode.NONE

    def schedule(self, folder: str) -> ScheduleRequest:
        """The request that adds it. It is named after the folder."""
        hour, minute = map(int, self.time.split(":"))
        name = "".join(filter(str.isprintable, Path(folder).name or folder))
        return ScheduleRequest(
            name=" ".join(gettext("New photos in %(folder)s", folder=name[:MAX_NAME_LENGTH]).split()),
            cron=f"{minute} {hour} * * *",
            zone=None,
            until=None,
            what=BackfillScope.UNTAGGED,
            scan=[FolderKey(key=self.scan)],
            write=self.write,
        )


@router.get("/jobs/new")
def show_new(request: Request, state: State, folder: Annotated[str, Query(max_length=8192)] = "") -> Response:
    """Show the folder browser and the form of a schedule."""
    return _render(request, state, folder)


@router.post("/jobs/new")
def start_folder(
    request: Request, state: State, starter: Starter, form: Annotated[FolderForm, Form()]
) -> Response:
    """Start a job over the folder."""
    try:
        if form.path:
            selection = _first_folder(request, state, form)
        else:
            folder = form.address.strip() or path_of_key(form.folder)
            selection = allowed_folders(state.settings, state.database).selection([folder])
        tagging = Tagging(selection, form.again, form.metadata_options(state.settings))
        job = starter.start(tagging, form.priority)
    except TaggerError as error:
        chosen = form.model_dump()
        return _render(request, state, "", page_text(error), HTTPStatus.CONFLICT, chosen=chosen)
    return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)


def may_allow_folder(request: Request, state: AppState) -> bool:
    """Whether the page may be given its first folder: by somebody on this computer, while no setting and no root names one."""
    policy: AccessPolicy = request.app.state.policy
    is_here = policy.token is None and is_loopback(policy.host) and not policy.trusted_proxies
    return (
        is_here
        and state.settings.web_folders is None
        and not allowed_folders(state.settings, state.database).folders
    )


def _first_folder(request: Request, state: AppState, form: FolderForm) -> Selection:
    """Return the folder for which somebody consents. Its job records it as a root, in which the page may start jobs then.

    Raises:
        FolderRefused: nobody consents, the page may not be given a folder, or the path is none.
        PathNotFound: the folder does not exist.
    """
    path = Path(os.path.expanduser(form.path.strip()))  # noqa: PTH111 - a user who does not exist is no error
    if not (form.consent and may_allow_folder(request, state) and path.is_absolute()):
        raise FolderRefused
    if not path.is_dir():
        raise PathNotFound(path=path)
    return select_paths([path])


@router.post("/jobs/nightly")
def add_nightly(request: Request, state: State, form: Annotated[NightlyForm, Form()]) -> Response:
    """Add a schedule that tags new photos."""
    try:
        add_schedule(state, form.schedule(path_of_key(form.scan)))
    except TaggerError as error:
        return _render(request, state, "", page_text(error), HTTPStatus.CONFLICT, chosen=form.model_dump())
    return RedirectResponse("/jobs#schedules", HTTPStatus.SEE_OTHER)


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
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - a container's user may have none
    pictures = home / "Pictures"  # where a person's photos usually are
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
        may_allow=may_allow_folder(request, state),
        suggested=pictures if pictures.is_dir() else home if home.is_absolute() else Path("/"),
        zone=local_zone(),
    )
