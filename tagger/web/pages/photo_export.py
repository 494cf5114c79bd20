"""Downloads of selected photos: lists of them, and their files."""

from enum import StrEnum
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from tagger.library.query.documents import json_list_parts, photo_csv_parts
from tagger.library.query.tagged_photos import photo_document, photos_by_id
from tagger.system.text_format import ngettext
from tagger.web.http.query_params import PhotoNumbers
from tagger.web.http.responses import CSV, stream_download
from tagger.web.http.templates import MOST_FILES
from tagger.web.media.photo_files import archive_parts, archived_photos
from tagger.web.state import State

router = APIRouter(include_in_schema=False)


class ExportFormat(StrEnum):
    """What is downloaded: a list, or the photos themselves."""

    CSV = "csv"
    JSON = "json"
    ZIP = "zip"
    ZIP_ALL = "zip-all"
    """With RAW files and sidecars."""


class ExportForm(BaseModel):
    """The selected photos, in the order of the selection."""

    model_config = ConfigDict(extra="forbid")

    photo: PhotoNumbers
    format: ExportFormat


@router.post("/photos/export")
def export(request: Request, state: State, form: Annotated[ExportForm, Form()]) -> StreamingResponse:
    """Download the selected photos."""
    photo_ids = list(dict.fromkeys(form.photo))
    roots = state.settings.roots
    if form.format in (ExportFormat.ZIP, ExportFormat.ZIP_ALL):
        if len(photo_ids) > MOST_FILES:
            text = ngettext(
                "Select at most %(count)s photo to download it.",
                "Select at most %(count)s photos to download them at once.",
                MOST_FILES,
            )
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
        whole = form.format is ExportFormat.ZIP_ALL
        files = archived_photos(state.database, photo_ids, roots, whole=whole)
        return stream_download(request, archive_parts(files), "application/zip", "photos.zip")
    photos = photos_by_id(state.database, photo_ids, roots)
    if form.format is ExportFormat.CSV:
        return stream_download(request, photo_csv_parts(photos), CSV, "photos.csv")
    return stream_download(
        request, json_list_parts(map(photo_document, photos)), "application/json", "photos.json"
    )
