"""What is done with chosen photos: tags are written to their metadata, or undone, and files downloaded.

A preview of each file comes before the job that writes. The jobs and their undo records are those of `tagger
metadata write` and `tagger metadata undo`.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from itertools import chain
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.concurrency import iterate_in_threadpool
from starlette.exceptions import HTTPException

from tagger.database.enums import Priority, Target
from tagger.jobs.enqueue.metadata_jobs import (
    Undo,
    Write,
    of_photos,
    options_of_last_sidecar,
    was_embedded,
)
from tagger.jobs.enqueue.submission import DESCRIPTION, KEYWORDS, PLACE, POSITION, MetadataOptions
from tagger.jobs.processing.metadata_preview import changed_fields, preview_photos
from tagger.metadata.plans import FilePlan
from tagger.photos.files import OpenFile
from tagger.query.facets import count_photos
from tagger.query.find import find_tagged
from tagger.query.tagged_photos import StoredPhoto
from tagger.texts.text_format import N_, gettext, ngettext
from tagger.web.api import photo_images
from tagger.web.api.job_starter import (
    Starter,
    WriteMode,
    check_mode,
    check_photos,
    check_write,
    write_modes,
)
from tagger.web.api.photos import Params
from tagger.web.http.access import Role, requires
from tagger.web.http.routes import PhotoNumbers, QueryParams, RequestModel, stream_blocks, stream_download
from tagger.web.http.templates import MOST_FILES, render
from tagger.web.photo_files import Archive, PhotoUnavailable, archive_parts, archived_photos
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

# Photos of an archive: of each, a line is kept until its end.
MOST_ARCHIVED = 10_000
# Photos whose files are read for the preview; the number of the others is shown.
PREVIEWS = 20
TARGET_TEXTS = {
    WriteMode.SIDECAR: N_("Into XMP sidecar files beside the photos, which do not change"),
    WriteMode.EMBED: N_("Into the photos themselves"),
}


class MetadataForm(RequestModel):
    """The chosen photos, and what to do. `is_confirmed`: the preview was shown."""

    photo: PhotoNumbers
    action: Literal["write", "undo"] = "write"
    to: WriteMode = WriteMode.SIDECAR
    gps: bool = False
    description: bool = False
    is_confirmed: bool = False


@router.post("/photos/metadata")
@requires(Role.EDITOR)
def change_metadata(
    request: Request, state: State, starter: Starter, form: Annotated[MetadataForm, Form()]
) -> Response:
    """Show what would be written or undone; once that is confirmed, start the job."""
    photo_ids = sorted(set(form.photo))
    check_photos(state.settings, state.database, [of_photos(photo_ids)])
    options: MetadataOptions | None = None
    if form.action == "undo":
        written = Undo(photo_ids=photo_ids).photo_id_pages(state.database, state.settings.roots)
        photo_ids = list(chain.from_iterable(written))
        is_embedded = was_embedded(state.database, photo_ids)
        check_mode(state.settings, WriteMode.EMBED if is_embedded else WriteMode.SIDECAR)
    else:
        target = Target.EMBED if form.to is WriteMode.EMBED else Target.SIDECAR
        options = MetadataOptions(target, form.gps, form.description, state.settings.language)
        check_write(state.settings, options)
    if form.is_confirmed and photo_ids:
        chosen = Undo(photo_ids=photo_ids) if options is None else Write(options, photo_ids=photo_ids)
        job = starter.start(chosen, Priority.INTERACTIVE)
        return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)
    previews = list(preview_photos(state.database, state.settings, photo_ids[:PREVIEWS], options))
    return render(
        request,
        "metadata.html",
        form=form,
        photo_ids=photo_ids,
        previews=previews,
        changes_in_words=changes_in_words,
        more=len(photo_ids) - len(previews),
        targets={
            mode: gettext(text) for mode, text in TARGET_TEXTS.items() if mode in write_modes(state.settings)
        },
    )


@dataclass
class ValueChange:
    """Values of one kind that are added (`+`) or removed (`-`), and the metadata fields that hold them."""

    sign: str
    words: str
    values: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)


# Of the kinds of values, what the names of their metadata fields contain.
FIELDS: Mapping[str, re.Pattern[str]] = {
    KEYWORDS: re.compile("dc:subject|hierarchicalSubject|TagsList|LastKeywordXMP|CatalogSets|Keywords"),
    PLACE: re.compile("LocationShown"),
    POSITION: re.compile("GPS"),
    DESCRIPTION: re.compile("[dD]escription"),
}
PARTS_OF_PLACE = re.compile(r"(?:^|; )(?:LocationName|Sublocation|City|ProvinceState|CountryName)=([^;]*)")


def changes_in_words(plan: FilePlan) -> Sequence[ValueChange]:
    """Return what a plan changes in a file, by the kind of value."""
    changes: dict[tuple[str, str], ValueChange] = {}
    for sign, name, value in changed_fields(plan):
        kind = next((each for each, pattern in FIELDS.items() if pattern.search(name)), "")
        change = changes.setdefault((sign, kind or name), ValueChange(sign, gettext(kind) if kind else name))
        change.values += [each for each in _shown_values(kind, name, value) if each not in change.values]
        change.fields += [name] if name not in change.fields else []
    return list(changes.values())


def _shown_values(kind: str, name: str, value: str) -> Sequence[str]:
    """A value as people read it: fields of the same kind have different separators, and parts with names."""
    if kind == KEYWORDS:
        return value.split(";") if name.startswith("EXIF:") else [value.replace("|", "/")]
    if kind == PLACE:
        return [", ".join(PARTS_OF_PLACE.findall(value)) or value]
    is_shown = kind != POSITION or "Latitude" in name or "Longitude" in name
    return [value] if is_shown else ()


def outdated_sidecar(state: AppState, photo_id: int) -> MetadataOptions | None:
    """Return the options of a photo's sidecar if they would write something else now; None if not."""
    options = options_of_last_sidecar(state.database, photo_id)
    if options is None or options.to is not Target.SIDECAR:
        return None
    for preview in preview_photos(state.database, state.settings, [photo_id], options):
        if preview.plan is not None and any(file.changes for file in preview.plan.files):
            return options
    return None


class DownloadForm(RequestModel):
    """The selected photos, in the order of the selection."""

    photo: PhotoNumbers
    with_metadata: bool = False


@router.post("/photos/download")
@requires(Role.VIEWER)
def download_selected(state: State, form: Annotated[DownloadForm, Form()]) -> StreamingResponse:
    """Download the selected photos as a ZIP archive: their own files, or JPEGs without metadata."""
    photo_ids = list(dict.fromkeys(form.photo))
    if len(photo_ids) > MOST_FILES:
        text = ngettext(
            "Select at most %(count)s photo to download it.",
            "Select at most %(count)s photos to download them at once.",
            MOST_FILES,
        )
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
    return _archive(state, photo_ids, with_metadata=form.with_metadata)


@router.get("/download/photos.zip")
@requires(Role.VIEWER)
def download_photos(state: State, params: Params) -> StreamingResponse:
    """Download all photos of a query as JPEGs without metadata."""
    return _archive(state, _found_photo_ids(state, params), with_metadata=False)


@router.get("/download/files.zip")
@requires(Role.VIEWER)
def download_files(state: State, params: Params) -> StreamingResponse:
    """Download the files of all photos of a query."""
    return _archive(state, _found_photo_ids(state, params), with_metadata=True)


def _found_photo_ids(state: AppState, params: QueryParams) -> Iterator[int]:
    """The photos of a query, in its order.

    Raises:
        HTTPException: there are more than MOST_ARCHIVED.
    """
    [(_, count)] = count_photos(state.database, [params.query], state.settings.roots)
    if count > MOST_ARCHIVED:
        text = gettext("More than %(count)s photos cannot be downloaded at once.", count=MOST_ARCHIVED)
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
    with params.model_checked():
        photos = find_tagged(state.database, params.query, state.settings.roots)
    return (photo.id for photo in photos)


def _archive(state: AppState, photo_ids: Iterable[int], *, with_metadata: bool) -> StreamingResponse:
    photos = archived_photos(state.database, photo_ids, state.settings.roots)
    if with_metadata:
        return stream_download(archive_parts(photos), "application/zip", "photos.zip")
    return stream_blocks(_jpeg_archive_parts(state, photos), "application/zip", "photos.zip")


async def _jpeg_archive_parts(state: AppState, photos: Iterator[StoredPhoto]) -> AsyncIterator[bytes]:
    archive = Archive()
    async for photo in iterate_in_threadpool(photos):
        file: OpenFile | PhotoUnavailable
        try:
            jpeg = await photo_images.download(state, photo)
            file = OpenFile(BytesIO(jpeg), len(jpeg), photo.mtime_ns)
        except PhotoUnavailable as error:
            file = error
        for part in archive.add(photo.id, f"{photo.path.stem}.jpg", file):
            yield part
    yield archive.end()
