"""Landmarks with their numbers of photos: the same as `tagger landmarks`."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse

from tagger.documents import (
    LANDMARK_COLUMNS,
    csv_parts,
    json_line_parts,
    landmark_document,
    landmark_feature_parts,
)
from tagger.query import LandmarkCount, landmark_counts
from tagger.web.api.routing import api_router
from tagger.web.place import Place, place_of
from tagger.web.streaming import CSV, GEOJSON, NDJSON, streamed

router = api_router("landmarks")


def counted(
    place: Annotated[Place, Depends(place_of)],
    country: Annotated[
        str | None, Query(max_length=1000, description="Landmarks of this country, in any case.")
    ] = None,
    all_known: Annotated[
        bool, Query(alias="all", description="Also landmarks that the models know and no photo shows.")
    ] = False,
) -> Sequence[dict[str, Any]]:
    """Landmarks as documents, most photos first; for `Depends`."""
    counts = landmark_counts(place.database, (country or "").strip() or None, all_known=all_known)
    return [landmark_document(count) for count in counts]


Counted = Annotated[Sequence[dict[str, Any]], Depends(counted)]


@router.get("/landmarks", response_model=list[LandmarkCount])
def landmarks(found: Counted) -> Sequence[dict[str, Any]]:
    """Landmarks by number of photos, most first."""
    return found


@router.get("/landmarks.ndjson", response_class=StreamingResponse)
def landmarks_ndjson(found: Counted) -> StreamingResponse:
    """The same, a JSON document a line."""
    return streamed(json_line_parts(found), NDJSON, "landmarks.ndjson")


@router.get("/landmarks.csv", response_class=StreamingResponse)
def landmarks_csv(found: Counted) -> StreamingResponse:
    """The same as CSV."""
    rows = (list(document.values()) for document in found)
    return streamed(csv_parts(LANDMARK_COLUMNS, rows), CSV, "landmarks.csv")


@router.get("/landmarks.geojson", response_class=StreamingResponse)
def landmarks_geojson(found: Counted) -> StreamingResponse:
    """The same as GeoJSON, each where it is."""
    return streamed(landmark_feature_parts(found), GEOJSON, "landmarks.geojson")
