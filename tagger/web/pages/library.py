"""The library: landmarks with covers, photos of any query, the map, what is unknown, search by name.

Every view has an address that says all of it, and links to the same query for programs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import exists, select

from tagger.database import Database
from tagger.errors import (
    CountryNotFound,
    CursorInvalid,
    LandmarkAmbiguous,
    LandmarkNotFound,
    QueryInvalid,
)
from tagger.landmarks import Landmark, all_landmarks, find_landmark, folded
from tagger.query import LandmarkCount, find_tagged_page
from tagger.query.cursors import cursor_of, position_of
from tagger.roots import list_roots
from tagger.tables import photos as photos_table
from tagger.web.asked import Asked
from tagger.web.overview import Cover
from tagger.web.pages.atlas import by_country, dots, part_named, parts_of
from tagger.web.pages.filters import WHICH, as_typed, asked_or_mistaken, check_options, chosen, scores_with
from tagger.web.pages.rendering import render
from tagger.web.pages.tiles import Card, Link, Tile, card, tile
from tagger.web.place import Place, place_of
from tagger.web.world import VIEW_BOX, project

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

FIRST_PHOTOS = 60
"""What stands in the page itself; scripts fetch the rest, the link at the end works without."""
FORMATS = (("JSON", ""), ("CSV", ".csv"), ("GeoJSON", ".geojson"), ("NDJSON", ".ndjson"))

Here = Annotated[Place, Depends(place_of)]
Words = Annotated[str, Query(max_length=200)]
After = Annotated[str | None, Query(max_length=20_000)]


@dataclass(frozen=True)
class Grid:
    """A page of photos: `source` is where scripts ask for more, `following` the page after this one."""

    tiles: tuple[Tile, ...]
    source: str
    cursor: str | None
    following: str | None
    begin: str | None
    downloads: tuple[Link, ...]


@router.get("/library")
def library(request: Request, place: Here, country: Words = "", q: Words = "") -> HTMLResponse:
    """Landmarks as cards, to be narrowed by country and by name."""
    counts = place.overview.counts()
    known = counts if counts is not None else _uncounted(place.database)
    covers = place.overview.covers()
    with_photos = [
        each for each in known if each.photos or (counts is None and each.landmark in (covers or {}))
    ]
    shown = _fitting(with_photos, country, q)
    return render(
        request,
        "library.html",
        cards=_cards(shown, covers or {}, counted=counts is not None),
        countries=_countries(with_photos, country, q),
        country=country,
        typed=q,
        missing=_missing(counts, covers),
        is_empty=not with_photos and counts is not None,
        has_photos=_has_photos(place.database),
        downloads=_links(Asked.of(country=country or None), "/api/landmarks"),
    )


@router.get("/search")
def search(request: Request, place: Here, q: Words = "") -> HTMLResponse:
    """Landmarks and countries by a part of their names."""
    counts = place.overview.counts()
    known = counts if counts is not None else _uncounted(place.database)
    fitting = _fitting(known, "", q) if q.strip() else []
    covers = place.overview.covers() or {}
    return render(
        request,
        "search.html",
        typed=q,
        cards=_cards(
            [each for each in fitting if each.photos or counts is None], covers, counted=counts is not None
        ),
        without=[each for each in fitting if not each.photos and counts is not None],
        countries=[
            link for link in _countries(known, "", "") if q.strip() and folded(q) in folded(link.name)
        ],
    )


@router.get("/landmarks/{slug}")
def landmark(
    request: Request, place: Here, slug: Annotated[str, Path(max_length=500)], after: After = None
) -> HTMLResponse:
    """A landmark: where it is, how many photos show it, and those photos."""
    with place.database.read() as connection:
        found = find_landmark(connection, slug)
    wanted = Asked.of(landmark=found.slug)
    counts = place.overview.counts()
    return render(
        request,
        "landmark.html",
        landmark=found,
        photos=None if counts is None else _count_of(counts, found.slug),
        spot=_spot(found),
        view_box=VIEW_BOX,
        country=None if found.country is None else Link(found.country, _country_address(found.country)),
        grid=_grid(place, wanted, after, request.url.path),
    )


@router.get("/photos")
def photos(
    request: Request,
    place: Here,
    asked: Annotated[Asked | QueryInvalid, Depends(asked_or_mistaken)],
    after: After = None,
    which: Annotated[str | None, Query(max_length=20)] = None,
) -> Response:
    """The photos of any query, and the form that asks it. The form's `which` is one of three options in an address."""
    wanted = as_typed(request) if isinstance(asked, QueryInvalid) else asked
    if which is not None:
        return RedirectResponse(wanted.address("/photos", **({which: 1} if which in WHICH else {})), 303)

    def find() -> Grid:
        check_options(request)
        if isinstance(asked, QueryInvalid):
            raise asked
        return _grid(place, wanted, after, "/photos")

    grid, trouble, status = _or_trouble(find)
    with place.database.read() as connection:
        known = all_landmarks(connection)
        folders = [str(root.folder) for root in list_roots(connection, place.settings.roots)]
    return render(
        request,
        "grid.html",
        status,
        grid=grid,
        trouble=trouble,
        options=wanted.options,
        chosen=chosen(wanted, known),
        landmarks=sorted(known, key=lambda each: folded(each.name)),
        country_names=sorted({each.country for each in known if each.country}),
        folders=folders,
        which=WHICH,
        scores=scores_with(wanted.options.get("min_score")),
        has_photos=_has_photos(place.database),
    )


@router.get("/map")
def world_map(request: Request, place: Here, part: Words = "") -> HTMLResponse:
    """A dot for each landmark with photos, of the world or a part of it, and the same as a list."""
    counts = place.overview.counts()
    seen = [each for each in counts or () if each.photos]
    shown = part_named(part)
    return render(
        request,
        "map.html",
        dots=dots(seen, shown),
        by_country=by_country(seen),
        nowhere=[each for each in seen if each.latitude is None],
        is_complete=counts is not None,
        part=shown,
        parts_of_world=parts_of(seen),
        has_photos=_has_photos(place.database),
        downloads=_links(Asked.of(), "/api/landmarks"),
    )


@router.get("/unknown")
def unknown(request: Request, place: Here, after: After = None) -> HTMLResponse:
    """Photos in which no landmark was recognised."""
    grid = _grid(place, Asked.of(unknown=True), after, "/unknown")
    return render(request, "unknown.html", grid=grid, has_photos=_has_photos(place.database))


def _grid(place: Place, wanted: Asked, after: str | None, path: str) -> Grid:
    begin = position_of(after, wanted.query) if after else None
    with wanted.understood():
        page = find_tagged_page(place.database, wanted.query, place.settings.roots, begin, FIRST_PHOTOS)
    cursor = None if page.next is None else cursor_of(page.next, wanted.query)
    here = wanted if path == "/photos" else Asked.of()
    return Grid(
        tiles=tuple(tile(photo, wanted) for photo in page.photos),
        source=wanted.address("/api/photos"),
        cursor=cursor,
        following=here.address(path, after=cursor) if cursor else None,
        begin=here.address(path) if after else None,
        downloads=_links(wanted, "/api/photos"),
    )


_MISTAKES = (CountryNotFound, CursorInvalid, LandmarkAmbiguous, LandmarkNotFound, QueryInvalid)


def _or_trouble(find: Callable[[], Grid]) -> tuple[Grid | None, str, int]:
    """What a person typed may be wrong; the form stays then, with what is wrong above it."""
    try:
        return find(), "", 200
    except _MISTAKES as error:
        return None, str(error), 400


def _missing(counts: object, covers: object) -> str:
    """What the cards are still without."""
    if counts is None:
        return "Photos are being counted…"
    return "Covers are being chosen…" if covers is None else ""


def _cards(counts: Sequence[LandmarkCount], covers: Mapping[str, Cover], *, counted: bool) -> list[Card]:
    return [card(each, covers.get(each.landmark), counted=counted) for each in counts]


def _uncounted(database: Database) -> list[LandmarkCount]:
    """All landmarks by name, while their photos are being counted."""
    with database.read() as connection:
        known = all_landmarks(connection)
    return [
        LandmarkCount(
            each.slug, each.name, each.country, each.region, each.city, each.latitude, each.longitude, 0
        )
        for each in sorted(known, key=lambda each: folded(each.name))
    ]


def _fitting(counts: Sequence[LandmarkCount], country: str, typed: str) -> list[LandmarkCount]:
    """Those of the country, with every word that was typed somewhere in name, city, region or country."""
    words = folded(typed).split()
    return [
        each
        for each in counts
        if (not country.strip() or (each.country and folded(each.country) == folded(country)))
        and all(word in _searched(each) for word in words)
    ]


def _searched(count: LandmarkCount) -> str:
    said = (count.name, count.landmark, count.city, count.region, count.country)
    return " ".join(folded(part) for part in said if part)


def _countries(counts: Sequence[LandmarkCount], chosen: str, typed: str) -> list[Link]:
    numbers: dict[str, int] = {}
    for each in counts:
        if each.country:
            numbers[each.country] = numbers.get(each.country, 0) + 1
    return [
        Link(name, _country_address(name, typed), numbers[name], folded(name) == folded(chosen))
        for name in sorted(numbers, key=folded)
    ]


def _country_address(country: str, typed: str = "") -> str:
    return Asked.of(country=country).address("/library", q=typed or None)


def _count_of(counts: Sequence[LandmarkCount], slug: str) -> int:
    return next((each.photos for each in counts if each.landmark == slug), 0)


def _spot(found: Landmark) -> tuple[float, float] | None:
    if found.latitude is None or found.longitude is None:
        return None
    return project(found.latitude, found.longitude)


def _links(wanted: Asked, path: str) -> tuple[Link, ...]:
    return tuple(Link(name, wanted.address(path + ending)) for name, ending in FORMATS)


def _has_photos(database: Database) -> bool:
    with database.read() as connection:
        return bool(connection.scalar(select(exists().where(photos_table.c.id > 0))))
