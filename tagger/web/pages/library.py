"""The library: landmarks as cards with covers, and the map.

The map has dots for landmarks and marks for photos, in views of the world and its parts, and a list by country.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from tagger.database.connection import Database
from tagger.ledger.progress import count_open_jobs
from tagger.library.catalog.landmarks import all_landmarks, normalize_name
from tagger.library.query.counts import Cover, LandmarkCount
from tagger.library.query.option_values import parse_box
from tagger.library.query.tagged_photos import has_photos
from tagger.system.text_format import N_, gettext
from tagger.web.http.query_params import QueryParams
from tagger.web.http.responses import policy_with_tiles
from tagger.web.http.templates import render
from tagger.web.pages.map_clusters import extent_of, legend, live_map
from tagger.web.pages.overview import Overview
from tagger.web.pages.tiles import LandmarkCard, landmark_card
from tagger.web.state import State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

Text = Annotated[str, Query(max_length=200)]


@router.get("/places")
@router.get("/library")  # its earlier address
def show_library(request: Request, state: State, overview: Overview) -> HTMLResponse:
    """Show landmarks as cards."""
    counts = overview.named_counts()
    covers = overview.covers()
    landmarks = counts if counts is not None else _uncounted(state.database)
    with_photos = [
        count for count in landmarks if count.photos or (counts is None and count.landmark in (covers or {}))
    ]
    is_empty = not with_photos and counts is not None
    cards = _cards(with_photos, covers or {}, is_counted=counts is not None)
    return render(
        request,
        "library.html",
        cards=cards,
        pending=_pending_text(counts, covers),
        is_empty=is_empty,
        is_working=is_empty and count_open_jobs(state.database) > 0,
        has_photos=has_photos(state.database),
    )


def country_address(country: str) -> str:
    """Return the address of the photos of a country."""
    return QueryParams.of(country=country).address("/photos")


def _pending_text(counts: object, covers: object) -> str:
    if counts is None:
        return gettext("Counting photos…")
    return gettext("Choosing covers…") if covers is None else ""


def _cards(
    counts: Sequence[LandmarkCount], covers: Mapping[str, Cover], *, is_counted: bool
) -> list[LandmarkCard]:
    return [landmark_card(count, covers.get(count.landmark), is_counted=is_counted) for count in counts]


def _uncounted(database: Database) -> list[LandmarkCount]:
    """Return all landmarks by name, for the time until their photos are counted."""
    with database.read() as connection:
        landmarks = all_landmarks(connection)
    by_name = sorted(landmarks, key=lambda landmark: normalize_name(landmark.display_name))
    return [LandmarkCount.of(landmark, 0) for landmark in by_name]


NO_COUNTRY = N_("Elsewhere")


@router.get("/map")
def show_map(request: Request, state: State, overview: Overview, box: Text = "") -> HTMLResponse:
    """Show photos on a map, or the part of it in a box, and landmarks as a list."""
    counts = overview.named_counts()
    cells = overview.position_cells()
    with_photos = [count for count in counts or () if count.photos]
    response = render(
        request,
        "map.html",
        legend=legend(cells or ()),
        by_country=group_by_country(with_photos),
        is_complete=counts is not None and cells is not None,
        live=live_map(state.settings, extent_of(cells), parse_box(box) if box else None) if cells else None,
        has_photos=has_photos(state.database),
    )
    if state.settings.web_map_tiles is not None:
        response.headers["content-security-policy"] = policy_with_tiles(state.settings.web_map_tiles)
    return response


def group_by_country(counts: Sequence[LandmarkCount]) -> list[tuple[str, list[LandmarkCount]]]:
    """Return countries with their landmarks, most photos first."""
    groups: dict[str, list[LandmarkCount]] = {}
    for count in counts:
        groups.setdefault(count.country or gettext(NO_COUNTRY), []).append(count)
    return sorted(
        groups.items(), key=lambda group: (-sum(count.photos for count in group[1]), normalize_name(group[0]))
    )
