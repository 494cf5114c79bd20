"""A photo at its own address, over the grid of a query, with its details; and what is done with chosen ones.

Tags are written to the metadata of chosen photos, or undone, and their files downloaded. A preview of each
file comes before the job that writes. The jobs and their undo records are those of `tagger metadata write`
and `tagger metadata undo`.

*Try a photo*: a person sends one, and sees what the model finds on it. Nothing is stored.
"""

import math
import re
from collections.abc import (
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from io import BytesIO
from itertools import chain
from pathlib import PurePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.concurrency import iterate_in_threadpool
from starlette.exceptions import HTTPException

from tagger.database import Priority, TagState, Target
from tagger.errors import (
    PhotoFailed,
    PhotoFailure,
)
from tagger.geo import distance_km
from tagger.jobs.enqueue.metadata_jobs import (
    Undo,
    Write,
    of_photos,
    options_of_last_sidecar,
    was_embedded,
)
from tagger.jobs.enqueue.submission import (
    DESCRIPTION,
    KEYWORDS,
    PLACE,
    POSITION,
    MetadataOptions,
)
from tagger.jobs.processing.metadata_preview import changed_fields, preview_photos
from tagger.landmarks import all_landmarks
from tagger.ledger.items import open_jobs_of_photos
from tagger.metadata.camera import Exposure, read_exposure
from tagger.metadata.plans import FilePlan
from tagger.photos import RESULT_FACTS
from tagger.photos.files import OpenFile
from tagger.photos.paths import parse_path
from tagger.query.counts import (
    TripSummary,
    trips_of_photos,
)
from tagger.query.details import STATED_BY, PhotoDetails, photo_details_by_id
from tagger.query.facets import count_photos
from tagger.query.find import find_tagged
from tagger.query.photo_json import NamedPrediction, is_guess, named_predictions
from tagger.query.tagged_photos import (
    DAMAGED,
    Position,
    StoredPhoto,
    TaggedPhoto,
    stored_photo,
)
from tagger.texts.names import city_name
from tagger.texts.text_format import (
    N_,
    day_text,
    gettext,
    ngettext,
)
from tagger.things import PREFIX, Thing, all_things
from tagger.verdicts import rejected_sights
from tagger.web.access import Role, requires
from tagger.web.api.job_starter import (
    WriteMode,
    check_mode,
    check_photos,
    check_write,
    start_job,
    write_modes,
)
from tagger.web.api.photos import (
    Params,
    PhotoNumber,
    download,
)
from tagger.web.api.uploads import classify
from tagger.web.pages.library import map_around
from tagger.web.pages.photos import (
    QUERY_ERRORS,
    Link,
    grid_at_photo,
    landmark_name,
    render_photos,
    trip_address,
)
from tagger.web.photo_files import (
    Archive,
    PhotoUnavailable,
    archive_parts,
    archived_photos,
    open_stored,
)
from tagger.web.routes import (
    PhotoNumbers,
    QueryParams,
    RequestModel,
    stream_blocks,
    stream_download,
)
from tagger.web.state import AppState, State
from tagger.web.templating import MOST_FILES, render

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

# Photos of an archive: of each, a line is kept until its end.
MOST_ARCHIVED = 10_000
# Photos whose files are read for the preview; the number of the others is shown.
PREVIEWS = 20
TARGET_TEXTS = {
    WriteMode.SIDECAR: N_(
        "Into XMP sidecar files beside the photos, which do not change"
    ),
    WriteMode.EMBED: N_("Into the photos themselves"),
}


class MetadataForm(RequestModel):
    photo: PhotoNumbers
    action: Literal["write", "undo"] = "write"
    to: WriteMode = WriteMode.SIDECAR
    gps: bool = False
    description: bool = False
    is_confirmed: bool = False


@router.post("/photos/metadata")
@requires(Role.EDITOR)
def change_metadata(
    request: Request, state: State, form: Annotated[MetadataForm, Form()]
) -> Response:
    photo_ids = sorted(set(form.photo))
    check_photos(state, [of_photos(photo_ids)])
    options: MetadataOptions | None = None
    if form.action == "undo":
        written = Undo(photo_ids=photo_ids).photo_id_pages(
            state.database, state.settings.roots
        )
        photo_ids = list(chain.from_iterable(written))
        is_embedded = was_embedded(state.database, photo_ids)
        check_mode(
            state.settings, WriteMode.EMBED if is_embedded else WriteMode.SIDECAR
        )
    else:
        target = Target.EMBED if form.to is WriteMode.EMBED else Target.SIDECAR
        options = MetadataOptions(
            target, form.gps, form.description, state.settings.language
        )
        check_write(state.settings, options)
    if form.is_confirmed and photo_ids:
        chosen = (
            Undo(photo_ids=photo_ids)
            if options is None
            else Write(options, photo_ids=photo_ids)
        )
        job = start_job(state, chosen, Priority.INTERACTIVE)
        return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)
    previews = list(
        preview_photos(state.database, state.settings, photo_ids[:PREVIEWS], options)
    )
    return render(
        request,
        "metadata.html",
        form=form,
        photo_ids=photo_ids,
        previews=previews,
        changes_in_words=changes_in_words,
        more=len(photo_ids) - len(previews),
        targets={
            mode: gettext(text)
            for mode, text in TARGET_TEXTS.items()
            if mode in write_modes(state.settings)
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
    KEYWORDS: re.compile(
        "dc:subject|hierarchicalSubject|TagsList|LastKeywordXMP|CatalogSets|Keywords"
    ),
    PLACE: re.compile("LocationShown"),
    POSITION: re.compile("GPS"),
    DESCRIPTION: re.compile("[dD]escription"),
}
PARTS_OF_PLACE = re.compile(
    r"(?:^|; )(?:LocationName|Sublocation|City|ProvinceState|CountryName)=([^;]*)"
)


def changes_in_words(plan: FilePlan) -> Sequence[ValueChange]:
    changes: dict[tuple[str, str], ValueChange] = {}
    for sign, name, value in changed_fields(plan):
        kinds = [kind for kind, pattern in FIELDS.items() if pattern.search(name)]
        kind = kinds[0] if kinds else ""
        change = changes.setdefault(
            (sign, kind or name), ValueChange(sign, gettext(kind) if kind else name)
        )
        change.values += [
            each
            for each in _shown_values(kind, name, value)
            if each not in change.values
        ]
        change.fields += [name] if name not in change.fields else []
    return list(changes.values())


def _shown_values(kind: str, name: str, value: str) -> Sequence[str]:
    # A value as people read it: fields of the same kind have different separators, and parts with names.
    if kind == KEYWORDS:
        return (
            value.split(";") if name.startswith("EXIF:") else [value.replace("|", "/")]
        )
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
        if preview.plan is not None and any(
            file.changes for file in preview.plan.files
        ):
            return options
    return None


class DownloadForm(RequestModel):
    photo: PhotoNumbers
    with_metadata: bool = False


@router.post("/photos/download")
@requires(Role.VIEWER)
def download_selected(
    state: State, form: Annotated[DownloadForm, Form()]
) -> StreamingResponse:
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
    return _archive(state, _found_photo_ids(state, params), with_metadata=False)


@router.get("/download/files.zip")
@requires(Role.VIEWER)
def download_files(state: State, params: Params) -> StreamingResponse:
    return _archive(state, _found_photo_ids(state, params), with_metadata=True)


def _found_photo_ids(state: AppState, params: QueryParams) -> Iterator[int]:
    # The photos of a query, in its order.
    #
    # Raises HTTPException: there are more than MOST_ARCHIVED.
    [(_, count)] = count_photos(state.database, [params.query], state.settings.roots)
    if count > MOST_ARCHIVED:
        text = gettext(
            "More than %(count)s photos cannot be downloaded at once.",
            count=MOST_ARCHIVED,
        )
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
    with params.model_checked():
        photos = find_tagged(state.database, params.query, state.settings.roots)
    return (photo.id for photo in photos)


def _archive(
    state: AppState, photo_ids: Iterable[int], *, with_metadata: bool
) -> StreamingResponse:
    photos = archived_photos(state.database, photo_ids, state.settings.roots)
    if with_metadata:
        return stream_download(archive_parts(photos), "application/zip", "photos.zip")
    return stream_blocks(
        _jpeg_archive_parts(state, photos), "application/zip", "photos.zip"
    )


async def _jpeg_archive_parts(
    state: AppState, photos: Iterator[StoredPhoto]
) -> AsyncIterator[bytes]:
    archive = Archive()
    async for photo in iterate_in_threadpool(photos):
        file: OpenFile | PhotoUnavailable
        try:
            jpeg = await download(state, photo)
            file = OpenFile(BytesIO(jpeg), len(jpeg), photo.mtime_ns)
        except PhotoUnavailable as error:
            file = error
        for part in archive.add(photo.id, f"{photo.path.stem}.jpg", file):
            yield part
    yield archive.end()


Within = Annotated[str, Query(max_length=10)]

# Photos around a photo are those within its error, and at least this radius.
MIN_RADIUS_KM = 1.0
# How much of a file is read for its EXIF.
EXIF_WITHIN_BYTES = 2**20
# Things that name a photo.
MOST_NAMED = 3
# Landmarks this near a photo are offered first when it is named.
NAMES_WITHIN_KM = 30.0


@router.get("/photos/{photo_id}")
@requires(Role.VIEWER)
def show_photo(
    request: Request,
    state: State,
    photo_id: PhotoNumber,
    params: Params,
    within: Within = "",
) -> HTMLResponse:
    everything = QueryParams.of(any_rank=True)
    shown = params if within or params.options else everything
    details = _details(state, photo_id)
    try:
        grid = grid_at_photo(state, shown, details["details"].photo)
    except QUERY_ERRORS:  # the photo can be shown all the same
        shown = everything
        grid = grid_at_photo(state, shown, details["details"].photo)
    return render_photos(request, state, shown, grid, opened=details)


@router.get("/photos/{photo_id}/details")
@requires(Role.VIEWER)
def show_details(request: Request, state: State, photo_id: PhotoNumber) -> HTMLResponse:
    return render(request, "photo_details.html", **_details(state, photo_id))


@router.get("/photos/{photo_id}/landmarks", response_class=JSONResponse)
@requires(Role.VIEWER)
def list_likely_landmarks(state: State, photo_id: PhotoNumber) -> dict[str, list[str]]:
    """Return slugs of landmarks that a photo may show: those nearby, nearest first, and those of its trip."""
    photo = photo_details_by_id(state.database, photo_id, state.settings.roots).photo
    trip = _trip_of(state, photo)
    return {
        "near": _landmarks_near(state, photo.position),
        "trip": [each.landmark for each in trip.landmarks] if trip else [],
    }


def _landmarks_near(state: AppState, position: Position | None) -> list[str]:
    if position is None:
        return []
    with state.database.read() as connection:
        every = all_landmarks(connection)
    distances = {
        each.slug: distance_km(
            position.latitude, position.longitude, each.latitude, each.longitude
        )
        for each in every
        if each.latitude is not None and each.longitude is not None
    }
    near = [slug for slug, distance in distances.items() if distance <= NAMES_WITHIN_KM]
    return sorted(near, key=distances.__getitem__)


def _details(state: AppState, photo_id: int) -> dict[str, Any]:
    details = photo_details_by_id(state.database, photo_id, state.settings.roots)
    rows = landmark_rows(details)
    with state.database.read() as connection:
        things = thing_rows(details, all_things(connection))
    position = details.position
    unavailable, exposure = None, Exposure()
    try:
        with open_stored(
            stored_photo(state.database, photo_id, state.settings.roots)
        ).file as file:
            exposure = read_exposure(file.read(EXIF_WITHIN_BYTES))
    except PhotoUnavailable as error:
        unavailable = error
    except OSError:  # its preview says so
        pass
    near_here = None
    if position is not None:
        radius_km = math.ceil(max(MIN_RADIUS_KM, position.error_m / 1000))
        near = f"{position.latitude:.4f},{position.longitude:.4f}"
        near_here = QueryParams.of(near=near, radius_km=radius_km).address("/photos")
    trip = _trip_of(state, details.photo)
    return {
        "id": photo_id,
        "details": details,
        "facts": RESULT_FACTS,
        "stated_by": STATED_BY,
        "file": PurePath(details.photo.path).name,
        "folder": str(parse_path(details.photo.path).parent),
        "headline": _headline(details.photo, things),
        "rows": rows,
        "things": things,
        "accepted": [row for row in rows if row.is_accepted],
        "position": position,
        "rejected_sights": rejected_sights(state.database, photo_id),
        "near_here": near_here,
        "trip": trip and Link(trip.title, trip_address(trip.trip.id)),
        "has_confirmed": any(row.state == "confirmed" for row in rows),
        "unavailable": unavailable,
        "exposure": exposure,
        "around": position
        and map_around(state.settings, position.latitude, position.longitude),
        "name_of": partial(landmark_name, state.database),
        "outdated": outdated_sidecar(state, photo_id) if details.metadata else None,
        "may_write": details.photo.digest
        and WriteMode.SIDECAR in write_modes(state.settings),
        "open_job": open_jobs_of_photos(state.database, [photo_id]).get(photo_id),
    }


STATE_TEXTS = {
    "confirmed": N_("confirmed"),
    "rejected": N_("rejected"),
    "accepted": "",
    "suggested": N_("suggested"),
    "predicted": "",
}


@dataclass(frozen=True)
class LandmarkRow:
    """A landmark of the photo. `state`: one of STATE_TEXTS; `is_taught`: the tag is of a taught place.

    `reason`: why it is accepted, or not, although its score says otherwise.
    """

    slug: str
    name: str
    score: float | None
    state: str
    model: str | None = None
    is_taught: bool = False
    reason: str | None = None
    by: str | None = None
    at: datetime | None = None

    @property
    def state_text(self) -> str:
        text = (
            N_("taught")
            if self.is_taught and self.state == "accepted"
            else STATE_TEXTS[self.state]
        )
        return self.reason or (text and gettext(text))

    @property
    def is_accepted(self) -> bool:
        return self.state in {"confirmed", "accepted"}


def landmark_rows(details: PhotoDetails) -> list[LandmarkRow]:
    photo = details.photo
    verdicts = {verdict.landmark: verdict for verdict in details.verdicts}
    rows = []
    for tag in photo.tags:
        if not (tag.state or tag.verdict):
            continue
        verdict = verdicts.pop(tag.landmark, None)
        is_shown = tag.accepted or tag.state is TagState.SUGGESTED
        row = LandmarkRow(
            slug=tag.landmark,
            name=tag.name,
            score=tag.score,
            state=str(tag.state) if is_shown else "predicted",
            model=tag.model,
            is_taught=tag.source == "taught",
            reason=tag.reason,
        )
        if verdict is not None:
            row = replace(
                row, state=verdict.verdict, by=verdict.given_by, at=verdict.given_at
            )
        rows.append(row)
    others = [
        LandmarkRow(
            each.landmark,
            each.name,
            None,
            each.verdict,
            by=each.given_by,
            at=each.given_at,
        )
        for each in verdicts.values()
    ]
    return rows + others


def thing_rows(details: PhotoDetails, every: Mapping[str, Thing]) -> list[LandmarkRow]:
    """Return the things that a photo shows, and those that were rejected, the surest first.

    What others are a kind of is behind them, such as an animal behind the dog: keys act on the first one.
    """
    kinds = set[str]()
    for each in details.photo.things:
        parent = every[each.thing].parent
        while parent is not None and parent not in kinds:
            kinds.add(parent)
            parent = every[parent].parent
    return [
        LandmarkRow(
            PREFIX + each.thing, each.name, each.score, each.verdict or "accepted"
        )
        for each in sorted(details.photo.things, key=lambda each: each.thing in kinds)
    ]


def _headline(photo: TaggedPhoto, things: Sequence[LandmarkRow]) -> str:
    # What a photo without a landmark is called by: where it was taken, what it shows, or when it was taken.
    position = photo.position
    if position is not None and position.sight_name:
        return position.sight_name
    shown = [row.name for row in things if row.is_accepted]
    if shown:
        return ", ".join(shown[:MOST_NAMED])
    city = ""
    if position is not None and position.city:
        city = city_name(position.city, position.country)
    day = day_text(photo.taken_at) if photo.taken_at else ""
    return ", ".join(filter(None, (city, day))) or PurePath(photo.path).name


def _trip_of(state: AppState, photo: TaggedPhoto) -> TripSummary | None:
    return trips_of_photos(state.database, [photo]).get(photo.id)


# A top-k with all scores that are not nearly 0.
ALL_LABELS = 10_000


@dataclass(frozen=True)
class UploadResult:
    """The best landmarks of a photo and the chance of `none_of_them`, or why it was not classified.

    `is_damaged`: a part of the image is missing, so that no landmark is accepted.
    """

    predictions: Sequence[NamedPrediction] = ()
    none_of_them: float = 1.0
    is_damaged: bool = False
    failure: PhotoFailure | None = None

    @property
    def accepted(self) -> NamedPrediction | None:
        accepted = [each for each in self.predictions if each.accepted]
        return accepted[0] if accepted else None

    @property
    def guess(self) -> NamedPrediction | None:
        is_open = self.accepted is None and is_guess(
            [each.score for each in self.predictions]
        )
        return self.predictions[0] if is_open else None

    @property
    def headline(self) -> str:
        if self.is_damaged:
            return gettext(DAMAGED).capitalize()
        if self.accepted:
            return self.accepted.landmark.display_name
        if self.guess:
            return gettext("Perhaps %(name)s", name=self.guess.landmark.display_name)
        return gettext("No landmark")


@router.get("/try")
@requires(Role.VIEWER)
def show_form(request: Request, state: State) -> HTMLResponse:
    return render(request, "try.html", max_bytes=_max_upload_bytes(state))


@router.post("/try")
@requires(Role.VIEWER)
async def try_photo(request: Request, state: State) -> HTMLResponse:
    async with state.uploads.read(request, _max_upload_bytes(state)) as photo:
        try:
            # The chance of none of the landmarks is 1 minus the sum of all scores.
            classification = await classify(state, photo.data, top_k=ALL_LABELS)
        except PhotoFailed as error:
            return render(
                request, "try_result.html", result=UploadResult(failure=error.failure)
            )
    best = named_predictions(state.database, classification.found, state.settings.top_k)
    # No landmark: what the surest model says.
    none_of_them = min(each.none_of_them for each in classification.found)
    result = UploadResult(best, none_of_them, classification.is_damaged)
    return render(request, "try_result.html", result=result)


def _max_upload_bytes(state: AppState) -> int:
    return min(state.settings.web_upload_bytes, state.settings.max_bytes)
