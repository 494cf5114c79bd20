"""Landmarks with photo counts, changes of them, as `tagger landmark`, and the cities where they may be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Self

import numpy as np
from fastapi import Path, Query
from pydantic import Field, model_validator

from tagger.errors import QueryInvalid
from tagger.landmarks.edits import NewLandmark, add_landmark
from tagger.landmarks.removal import RemovedLandmarkDocument, remove_landmark
from tagger.model.artifact import Extent
from tagger.positions.cities import City, find_cities, nearest_cities
from tagger.query.counts import LandmarkCount, landmark_counts
from tagger.query.option_values import parse_position
from tagger.query.photo_json import LandmarkDocument, landmark_document
from tagger.texts.city_names import city_name
from tagger.texts.text_format import country_name, reader_language
from tagger.web.api.routes import api_router
from tagger.web.http.access import Role, requires
from tagger.web.http.query_params import RequestModel
from tagger.web.state import State

router = api_router("landmarks")

# What a text may hold is checked where it is stored.
Text = Annotated[str, Field(max_length=1000)]
Landmark = Annotated[str, Path(max_length=500, description="A landmark by slug or name, in any case.")]


class _Facts(RequestModel):
    country: Text | None = None
    region: Text | None = None
    city: Text | None = None
    latitude: Annotated[float | None, Field(ge=-90, le=90, allow_inf_nan=False)] = None
    longitude: Annotated[float | None, Field(ge=-180, le=180, allow_inf_nan=False)] = None
    extent: Extent | None = None

    @model_validator(mode="after")
    def check_position(self) -> Self:
        """Require a whole position."""
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude go together")
        return self

    @property
    def position(self) -> tuple[float, float] | None:
        """Latitude and longitude, in degrees."""
        if self.latitude is None or self.longitude is None:
            return None
        return self.latitude, self.longitude


class NewLandmarkRequest(_Facts):
    """A landmark that no model has to know."""

    name: Text
    slug: Annotated[Text | None, Field(description="Default: derived from the name.")] = None
    aliases: list[Text] = Field(default=[], max_length=100, description="Other names that find it.")

    def landmark(self) -> NewLandmark:
        """Return the landmark to add."""
        facts = (self.country, self.region, self.city, self.position, self.extent)
        return NewLandmark(self.name, self.slug, *facts, tuple(self.aliases))


@router.get("/landmarks")
@requires(Role.VIEWER)
def landmarks(
    state: State,
    country: Annotated[
        str | None, Query(max_length=1000, description="Landmarks of this country, in any case.")
    ] = None,
    include_all: Annotated[
        bool,
        Query(
            alias="all",
            description="Also landmarks that no photo shows: people's own, and those of the models.",
        ),
    ] = False,
) -> Sequence[LandmarkCount]:
    """List landmarks, most photos first."""
    counts = landmark_counts(state.database, (country or "").strip() or None, include_empty=include_all)
    if reader_language() is None:
        return counts
    return [
        replace(
            each,
            city=each.city and city_name(each.city, each.country),
            country=each.country and country_name(each.country),
        )
        for each in counts
    ]


@router.post("/landmarks", status_code=HTTPStatus.CREATED)
@requires(Role.EDITOR)
def add(state: State, body: NewLandmarkRequest) -> LandmarkDocument:
    """Add a landmark that the model does not know. It is confirmed and searched for as any other."""
    return landmark_document(add_landmark(state.database, body.landmark()), dry_run=False)


@router.delete("/landmarks/{landmark}")
@requires(Role.EDITOR)
def remove(state: State, landmark: Landmark) -> RemovedLandmarkDocument:
    """Remove a landmark that no registered model knows, and that has no verdicts."""
    return remove_landmark(state.database, landmark)


@dataclass(frozen=True)
class Place:
    """Where a landmark is. The coordinates are null if only the city is known, the city far from all."""

    city: str | None
    region: str | None
    country: str | None
    latitude: float | None
    longitude: float | None


@router.get("/cities")
@requires(Role.VIEWER)
def cities(
    q: Annotated[
        str,
        Query(
            min_length=1,
            max_length=200,
            description="The start of a city's name, its region or country after a comma; or LAT,LON.",
        ),
    ],
    limit: Annotated[int, Query(ge=1, le=100, description="Most cities.")] = 10,
) -> list[Place]:
    """List the cities with a name, the largest first, or the city of coordinates."""
    if not q.strip(" ,"):
        return []
    try:
        latitude, longitude = parse_position(q, "q")
    except QueryInvalid:
        return [_place(city, None, None) for city in find_cities(q, limit)]
    (city,) = nearest_cities(np.array([latitude]), np.array([longitude]))
    return [_place(city, latitude, longitude)]


def _place(city: City | None, latitude: float | None, longitude: float | None) -> Place:
    if city is None:
        return Place(None, None, None, latitude, longitude)
    return Place(city.name, city.region, city.country, latitude, longitude)
