"""Photos and their tags, as `tagger query` and `tagger show`; their numbers by position and filter; trips, as `tagger trips`.

Photos are named by number, never by path. Those of a trip are `/api/photos?trip=…`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.responses import StreamingResponse

from tagger.library.query.details import PhotoDetailsDocument, photo_details_by_id
from tagger.library.query.documents import (
    PositionCellDocument,
    json_line_parts,
    photo_csv_parts,
    photo_feature_parts,
)
from tagger.library.query.facets import Facet
from tagger.library.query.find import (
    decode_cursor,
    encode_cursor,
    find_surrounding,
    find_tagged,
    find_tagged_page,
)
from tagger.library.query.option_values import parse_date
from tagger.library.query.position_clusters import FINEST_DEGREES, merge_cells, position_cells
from tagger.library.query.tagged_photos import PhotoDocument, TaggedPhoto, photo_document
from tagger.library.query.trip_summaries import TripDocument, trip_document, trip_summaries, trip_summary
from tagger.system.documents import document_of
from tagger.web.api.routes import api_router
from tagger.web.http.attempt_limiter import COUNTING
from tagger.web.http.query_params import QueryParams, query_params
from tagger.web.http.responses import CSV, GEOJSON, NDJSON, stream_download
from tagger.web.state import AppState, State

router = api_router("photos")

Params = Annotated[QueryParams, Depends(query_params)]
PhotoNumber = Annotated[int, Path(ge=1, lt=2**63, description="A photo's number, from a list of photos.")]


@dataclass(frozen=True)
class PhotoPage:
    """A page of photos; `next` is null on the last page."""

    photos: Sequence[PhotoDocument]
    next: str | None


@dataclass(frozen=True)
class PhotoNeighbours:
    """The photos before and after one in a list, the nearest first."""

    previous: Sequence[PhotoDocument]
    next: Sequence[PhotoDocument]


@router.get("/photos")
def photos(
    state: State,
    params: Params,
    limit: Annotated[int, Query(ge=1, le=1000, description="The page size.")] = 100,
    after: Annotated[str | None, Query(description="`next` of the previous page.")] = None,
) -> PhotoPage:
    """List photos with their tags, page by page: pass `next` as `after` until it is null. A page may have fewer photos than the limit."""
    start = decode_cursor(after, params.query) if after else None
    with params.model_checked():
        page = find_tagged_page(state.database, params.query, state.settings.roots, start, limit)
    cursor = None if page.next is None else encode_cursor(page.next, params.query)
    return PhotoPage([photo_document(each) for each in page.photos], cursor)


@router.get("/photos.ndjson", response_class=StreamingResponse)
def photos_ndjson(request: Request, state: State, params: Params) -> StreamingResponse:
    """List all photos, a JSON document per line."""
    documents = (photo_document(photo) for photo in _find_all(state, params))
    return stream_download(request, json_line_parts(documents), NDJSON, "photos.ndjson")


@router.get("/photos.csv", response_class=StreamingResponse)
def photos_csv(request: Request, state: State, params: Params) -> StreamingResponse:
    """List all photos as CSV, a row per tag."""
    return stream_download(request, photo_csv_parts(_find_all(state, params)), CSV, "photos.csv")


@router.get("/photos.geojson", response_class=StreamingResponse)
def photos_geojson(request: Request, state: State, params: Params) -> StreamingResponse:
    """List all photos as GeoJSON, each at its position, else at the coordinates of its first landmark that has some."""
    return stream_download(request, photo_feature_parts(_find_all(state, params)), GEOJSON, "photos.geojson")


@router.get("/photos/{photo_id}")
def photo(state: State, photo_id: PhotoNumber) -> PhotoDetailsDocument:
    """Return everything the database has about a photo."""
    return photo_details_by_id(state.database, photo_id, state.settings.roots).document()


@router.get("/photos/{photo_id}/neighbours")
def neighbours(
    state: State,
    params: Params,
    photo_id: PhotoNumber,
    previous: Annotated[int, Query(ge=0, le=100, description="How many photos before it.")] = 1,
    following: Annotated[int, Query(alias="next", ge=0, le=100, description="How many photos after it.")] = 1,
) -> PhotoNeighbours:
    """List the photos before and after one in the list of the query, the nearest first."""
    roots = state.settings.roots
    with params.model_checked():
        found = find_surrounding(
            state.database, params.query, roots, photo_id, before=previous, after=following
        )
    sides = (found.previous, found.following)
    return PhotoNeighbours(*([photo_document(each) for each in side] for side in sides))


def _find_all(state: AppState, params: QueryParams) -> Iterator[TaggedPhoto]:
    with params.model_checked():
        return find_tagged(state.database, params.query, state.settings.roots)


Degrees = Annotated[
    float,
    Query(
        ge=FINEST_DEGREES,
        le=90,
        description="The least size of a cell. Cells have 0.25 degrees, or two, four, … times as much.",
    ),
]


@router.get("/positions", dependencies=[COUNTING])
def positions(state: State, degrees: Degrees = 1.0) -> list[PositionCellDocument]:
    """Count photos by where they were taken, and by where their positions come from."""
    cells = merge_cells(position_cells(state.database), degrees)
    return [document_of(PositionCellDocument, cell) for cell in cells]


@router.get("/facets", dependencies=[COUNTING])
def facets(state: State, params: Params) -> Sequence[Facet]:
    """Count the photos of each choice of a filter, together with all other filters of the query.

    If a query reads very many photos, only the newest are counted: `exact` is false, and a choice has at least as many.
    """
    with params.model_checked():
        return state.facet_counts.get(params.query)


trips_router = api_router("trips")

Date = Annotated[str | None, Query(max_length=100)]
TripId = Annotated[str, Path(max_length=500, description="A trip's id, from the list of trips.")]


@trips_router.get("/trips")
def trips(state: State, taken_after: Date = None, taken_before: Date = None) -> list[TripDocument]:
    """List trips with photos of this time, newest first."""
    after = parse_date(taken_after or None, "taken_after")
    before = parse_date(taken_before or None, "taken_before")
    return [trip_document(summary) for summary in trip_summaries(state.database, after, before)]


@trips_router.get("/trips/{trip}")
def trip(state: State, trip: TripId) -> TripDocument:
    """Return one trip."""
    return trip_document(trip_summary(state.database, trip))
