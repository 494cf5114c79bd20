"""Writing tags to the metadata of chosen photos, and undoing it: a preview of each file, then the job that does it.

The jobs and their undo records are those of `tagger metadata write` and `tagger metadata undo`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict

from tagger.database.enums import Priority, Runner, Target
from tagger.jobs.enqueue.job_options import MetadataOptions
from tagger.jobs.enqueue.metadata_jobs import (
    has_photos_outside,
    options_of_last_sidecar,
    record_undo_job_of_photos,
    record_write_job_of_photos,
    undo_job,
    was_embedded,
    write_job,
    written_photos,
)
from tagger.jobs.processing.metadata_preview import MetadataPreview, changed_fields, preview_photos
from tagger.system.text_format import N_, gettext
from tagger.web.api.folders import FolderRefused, allowed_folders
from tagger.web.api.job_requests import WriteMode, WriteNotAllowed, check_open_jobs, check_write, write_modes
from tagger.web.api.job_starter import Starter
from tagger.web.http.query_params import PhotoNumbers
from tagger.web.http.templates import render
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

PREVIEWS = 20
"""Photos whose files are read for the preview; the number of the others is shown."""
TARGET_TEXTS = {
    WriteMode.SIDECAR: N_("Into XMP sidecar files beside the photos, which do not change"),
    WriteMode.EMBED: N_("Into the photos themselves"),
}


class MetadataAction(StrEnum):
    """What to do with the metadata of the chosen photos."""

    WRITE = "write"
    UNDO = "undo"


class MetadataForm(BaseModel):
    """The chosen photos, and what to do. `is_confirmed`: the preview was shown."""

    model_config = ConfigDict(extra="forbid")

    photo: PhotoNumbers
    action: MetadataAction = MetadataAction.WRITE
    to: WriteMode = WriteMode.SIDECAR
    gps: bool = False
    description: bool = False
    is_confirmed: bool = False


@dataclass(frozen=True)
class FileChange:
    """A file that would change: its name, whether it is new or removed, and sign, field and value of each change."""

    name: str
    state: str
    fields: Sequence[tuple[str, str, str]]
    notes: Sequence[str]


@dataclass(frozen=True)
class PhotoChanges:
    """What would change for a photo. `problem`: why nothing would be, or why it gets a sidecar instead."""

    name: str
    folder: str
    files: Sequence[FileChange]
    problem: str


@router.post("/photos/metadata")
def change_metadata(
    request: Request, state: State, starter: Starter, form: Annotated[MetadataForm, Form()]
) -> Response:
    """Show what would be written or undone; once that is confirmed, start the job."""
    photo_ids = sorted(set(form.photo))
    _check_folders(state, photo_ids)
    options = None if form.action is MetadataAction.UNDO else _options(state, form)
    if options is None:
        photo_ids = written_photos(state.database, photo_ids, state.settings.roots)
        _check_undo(state, photo_ids)
    if form.is_confirmed and photo_ids:
        return RedirectResponse(f"/jobs/{_start(state, starter, photo_ids, options)}", HTTPStatus.SEE_OTHER)
    previews = list(preview_photos(state.database, state.settings, photo_ids[:PREVIEWS], options))
    return render(
        request,
        "metadata.html",
        form=form,
        photo_ids=photo_ids,
        changes=[_changes(preview) for preview in previews],
        more=len(photo_ids) - len(previews),
        targets={
            mode: gettext(text) for mode, text in TARGET_TEXTS.items() if mode in write_modes(state.settings)
        },
    )


def outdated_sidecar(state: AppState, photo_id: int) -> MetadataOptions | None:
    """Return the options of a photo's sidecar if the same options would write something else now; None if not."""
    options = options_of_last_sidecar(state.database, photo_id)
    if options is None or options.to is not Target.SIDECAR:
        return None
    for preview in preview_photos(state.database, state.settings, [photo_id], options):
        if preview.plan is not None and any(file.changes for file in preview.plan.files):
            return options
    return None


def metadata_actions(state: AppState, is_classified: bool) -> Sequence[MetadataAction]:
    """Return what the page may do with a photo's metadata."""
    return tuple(MetadataAction) if is_classified and WriteMode.SIDECAR in write_modes(state.settings) else ()


def _options(state: AppState, form: MetadataForm) -> MetadataOptions:
    """Raises:
    WriteNotAllowed: the server does not allow the page to write there.
    """
    target = Target.EMBED if form.to is WriteMode.EMBED else Target.SIDECAR
    options = MetadataOptions(target, form.gps, form.description, state.settings.language)
    check_write(state.settings, options)
    return options


def _check_folders(state: AppState, photo_ids: Sequence[int]) -> None:
    """Raises:
    FolderRefused: `TAGGER_WEB_FOLDERS` is set, and one of the photos is outside.
    """
    allowed = allowed_folders(state.settings, state.database)
    if allowed.is_set and has_photos_outside(
        state.database, photo_ids, allowed.folders, state.settings.roots
    ):
        raise FolderRefused


def _check_undo(state: AppState, photo_ids: Sequence[int]) -> None:
    """Raises:
    WriteNotAllowed: an undo would change photos, and the server does not allow the page to write into them.
    """
    modes = write_modes(state.settings)
    if WriteMode.SIDECAR not in modes:
        raise WriteNotAllowed(WriteMode.SIDECAR)
    if WriteMode.EMBED not in modes and was_embedded(state.database, photo_ids):
        raise WriteNotAllowed(WriteMode.EMBED)


def _start(
    state: AppState, starter: Starter, photo_ids: Sequence[int], options: MetadataOptions | None
) -> int:
    check_open_jobs(state.database)
    database, settings = state.database, state.settings
    if options is None:
        new = undo_job(database, settings, None, Runner.WORKERS, Priority.INTERACTIVE)
        job = record_undo_job_of_photos(database, new, photo_ids)
    else:
        new = write_job(database, settings, options, Runner.WORKERS, Priority.INTERACTIVE)
        job = record_write_job_of_photos(database, new, photo_ids)
    starter.wake_workers()
    return job


def _changes(preview: MetadataPreview) -> PhotoChanges:
    path, plan = preview.path, preview.plan
    problem = str(preview.problem or "")
    if plan is not None and plan.refusal:
        problem = gettext("It gets a sidecar file instead: %(reason)s", reason=plan.refusal.text)
    files = [
        FileChange(
            PurePath(str(file.original.path)).name,
            gettext(
                N_("removed")
                if file.data is None
                else N_("new")
                if file.original.data is None
                else N_("changed")
            ),
            changed_fields(file),
            file.notes,
        )
        for file in (plan.files if plan else ())
        if file.changes
    ]
    return PhotoChanges(path.name, str(path.parent), files, problem)
