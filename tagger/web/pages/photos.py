"""Grids of photos: those of a landmark, and of any query with its filter form; and tiles, the photos in them.

Each grid's address holds its whole query, and links to the same query in the API. Its active filters are
chips; an area of the map is named after a city. The grid of a landmark shows what is learned of it: from how
many photos, what was found, and what is to review.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time
from itertools import groupby
from math import cos, radians
from typing import Annotated
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.database.connection import Database
from tagger.errors import (
    CursorInvalid,
    LandmarkAmbiguous,
    LandmarkNotFound,
    NotFound,
    QueryInvalid,
)
from tagger.landmarks import Landmark, display_names, find_landmark
from tagger.positions.cities import nearest_cities
from tagger.query import BoundingBox
from tagger.query.counts import (
    count_images,
    summaries_of_trips,
)
from tagger.query.facets import count_photos
from tagger.query.filter_words import (
    WHICH,
    WITH_LANDMARK_CHIP,
    Options,
    active_filters,
    is_of_accepted_tags,
    options_without,
    selects_with_landmark,
)
from tagger.query.options import PhotoQuery
from tagger.query.sorted_scan import NO_MONTH
from tagger.query.tagged_photos import TaggedPhoto, has_photos
from tagger.query.timeline import Area, count_copies, section_parts
from tagger.search.names import Meaning, words_of_kind
from tagger.search.text_query import UnderstoodText
from tagger.teaching.learning import NamedOtherwise, taught_state
from tagger.teaching.lessons import COUNT_LIMIT, count_suggestions
from tagger.texts.names import city_name
from tagger.texts.text_format import (
    N_,
    day_text,
    gettext,
    heading_text,
    moment_text,
    ngettext,
    number_text,
    percent,
)
from tagger.things import all_things
from tagger.web.access import Role, requires
from tagger.web.api.landmarks import SearchText, suggestion_document
from tagger.web.api.photos import (
    TimelinePhoto,
    guess_text,
    photo_page,
    timeline_photo,
)
from tagger.web.errors import page_text
from tagger.web.photo_files import thumbnail_size
from tagger.web.routes import (
    ADDRESS_OPTIONS,
    QueryParams,
    address_of,
    params_or_problem,
)
from tagger.web.state import AppState, State
from tagger.web.templating import may_change, render, thumbnail_address

# Of photos whose size is unknown.
USUAL_SIZE = (4000, 3000)


@dataclass(frozen=True)
class Link:
    name: str
    address: str


@dataclass(frozen=True)
class PhotoTile(TimelinePhoto):
    """A photo in a grid, with its thumbnails. `facts`: the landmark, its score and the time in words.

    `sight`: where it was taken.
    """

    address: str
    small: str
    large: str
    small_px: tuple[int, int]
    large_px: tuple[int, int]
    alt: str
    file_text: str
    facts: str
    sight: str | None

    @property
    def day(self) -> date | None:
        return self.taken_at and self.taken_at.date()


def photo_tile(photo: TaggedPhoto, params: QueryParams, copies: int = 1) -> PhotoTile:
    brief = timeline_photo(photo, copies, guess_text(photo, params.query))
    score = "" if brief.score is None else percent(brief.score)
    taken = ""
    if photo.taken_at is not None:  # the time of a day alone is midnight
        is_day = photo.taken_at.time() == time()
        taken = day_text(photo.taken_at) if is_day else moment_text(photo.taken_at)
    files = (
        ngettext("%(count)s file", "%(count)s files", photo.files)
        if photo.files > 1
        else ""
    )
    file_text = ", ".join(filter(None, (brief.file, files)))
    size = (photo.width, photo.height) if photo.width and photo.height else USUAL_SIZE
    place, sight = None, None
    if photo.position is not None:
        place, sight = photo.position.whole_place, photo.position.sight_name
    return PhotoTile(
        **vars(brief),
        address=params.address(f"/photos/{photo.id}", within=1),
        small=thumbnail_address(photo.id, photo.digest, 256),
        large=thumbnail_address(photo.id, photo.digest, 512),
        small_px=thumbnail_size(*size, 256),
        large_px=thumbnail_size(*size, 512),
        alt=", ".join(filter(None, (brief.name or place, taken))) or file_text,
        file_text=file_text,
        facts=" · ".join(filter(None, (f"{brief.name or ''} {score}".strip(), taken))),
        sight=sight,
    )


def photo_tiles(
    database: Database, photos: Sequence[TaggedPhoto], params: QueryParams
) -> list[PhotoTile]:
    copies = count_copies(database, [photo.digest for photo in photos if photo.digest])
    return [
        photo_tile(photo, params, copies.get(photo.digest or "", 1)) for photo in photos
    ]


def trip_address(trip_id: str) -> str:
    return f"/trips/{quote(trip_id, safe='')}"


def landmark_name(database: Database, landmark: str) -> str:
    """Return the name of a landmark given by slug or name; the text itself if there is none now."""
    try:
        with database.read() as connection:
            return find_landmark(connection, landmark).display_name
    except (LandmarkNotFound, LandmarkAmbiguous):
        return landmark


def _learning(state: AppState, landmark: Landmark) -> dict[str, object]:
    # What is learned of the landmark now: from how many `examples`, how many are `tagged` and `to_review`.
    #
    # `doubtful` and `kept`: the other landmarks of its photos (see `TaughtState`).
    to_review = count_suggestions(state.database, landmark.id)
    more = "+" if to_review >= COUNT_LIMIT else ""
    learning: dict[str, object] = {
        "to_review": f"{min(to_review, COUNT_LIMIT - 1)}{more}" if to_review else ""
    }
    if state.compares_photos():
        taught = taught_state(state.database, state.embedding_model(), landmark)
        learning |= {
            "examples": taught.examples,
            "tagged": taught.tagged,
            "doubtful": _names_text(taught.doubtful),
            "kept": _names_text(taught.kept),
        }
    return learning


def _names_text(named: Sequence[NamedOtherwise]) -> str:
    # `Taj Mahal (3), Colosseum (1)`: landmarks with their numbers of photos.
    return ", ".join(f"{each.name} ({number_text(each.photos)})" for each in named)


_PAGE_OPTIONS = ("after", "which", "q")
_CHOICES = ("landmark", "country", "thing", "year", "camera", "under")
_DATES = ("taken_after", "taken_before")


FormParams = Annotated[QueryParams, Depends(params_or_problem)]


def valid_params(request: Request, params: QueryParams) -> QueryParams:
    """Return the query of a request.

    Raises:
        QueryInvalid: it is invalid, or the address has an option that neither queries nor the page have.
    """
    for name in request.query_params:
        if name not in (*ADDRESS_OPTIONS, *_PAGE_OPTIONS):
            raise QueryInvalid(
                reason=f"unknown option {name}; valid options: {', '.join(ADDRESS_OPTIONS)}"
            )
    if params.problem:
        raise params.problem
    return params


@dataclass(frozen=True)
class FilterChip:
    """An active filter, with the options of the `others`. `group`: its place in the filter panel, if any."""

    name: str
    others: Options
    group: str

    @property
    def address(self) -> str:
        return address_of("/photos", self.others)


def filter_chips(params: QueryParams, names: Mapping[str, str]) -> list[FilterChip]:
    return [
        FilterChip(
            text,
            options_without(params.options, removed),
            panel_group(next(iter(removed))),
        )
        for text, removed in active_filters(params.options, params.query, names)
    ]


def panel_group(option: str) -> str:
    """Return the group of the filter panel that has an option of a query; empty: none has it."""
    if option in _DATES:
        return "dates"
    if option in WHICH:
        return "which"
    return option if option in _CHOICES else ""


def _filters_to_drop(
    state: AppState, chips: Sequence[FilterChip]
) -> list[tuple[FilterChip, str]]:
    # Of filters that no photo matches together: each without which photos match, with their number.
    queries = [
        PhotoQuery.parse({**chip.others, "distinct": True})
        for chip in chips
        if len(chips) > 1
    ]
    counts = count_photos(state.database, queries, state.settings.roots)
    found = zip(chips, counts, strict=False)
    return [
        (chip, number_text(number) + ("" if exact else "+"))
        for chip, (exact, number) in found
        if number
    ]


router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

# The address of all classified photos.
ALL_PHOTOS = "/"
# Photos in the page itself. A script loads more; without it, there is a link to the next page.
PAGE_SIZE = 60
# Errors of a query, such as a landmark, country, camera, trip or job that does not exist.
QUERY_ERRORS = (CursorInvalid, LandmarkAmbiguous, NotFound, QueryInvalid)

After = Annotated[str | None, Query(max_length=20_000)]


@dataclass(frozen=True)
class PhotoSection:
    """Photos of a month, or of some days of it after `skip` others; without a name, all of a result.

    `key`: the month, or the day of the first photo.
    """

    month: str
    name: str
    tiles: tuple[PhotoTile, ...]
    key: str = ""
    skip: int = 0


@dataclass(frozen=True)
class PhotoGrid:
    """A page of photos. `source`: the address of the query in the API; `options`: those of its order, too.

    `download`: those of its downloads. `next_page` and `first_page` are links without script. `opened`: the
    photo over the grid.
    """

    sections: tuple[PhotoSection, ...]
    source: str
    options: str
    download: str
    next_page: str | None = None
    first_page: str | None = None
    opened: int | None = None

    @property
    def tiles(self) -> tuple[PhotoTile, ...]:
        return tuple(tile for section in self.sections for tile in section.tiles)


@router.get("/landmarks/{slug}")
@requires(Role.VIEWER)
def show_landmark(
    request: Request,
    state: State,
    slug: Annotated[str, Path(max_length=500)],
    after: After = None,
) -> HTMLResponse:
    with state.database.read() as connection:
        landmark = find_landmark(connection, slug)
        photos = count_images(connection, landmark.id)
    return render(
        request,
        "landmark.html",
        landmark=landmark,
        photos=photos,
        grid=photo_grid(
            state, QueryParams.of(landmark=landmark.slug), after, request.url.path
        ),
        learning={"examples": 0, "tagged": 0} | _learning(state, landmark),
    )


@router.get("/")
@requires(Role.VIEWER)
def show_all(request: Request, state: State) -> Response:
    if may_change(request) and not has_photos(state.database):
        return RedirectResponse("/jobs/new")
    params = QueryParams.of(any_rank=True)
    return render_photos(
        request, state, params, photo_grid(state, params, None, "/photos")
    )


@router.get("/photos")
@requires(Role.VIEWER)
def show_photos(
    request: Request,
    state: State,
    params: FormParams,
    after: After = None,
    which: Annotated[str | None, Query(max_length=20)] = None,
    q: SearchText = "",
) -> Response:
    """Show the photos of a query. `which` stands for an option of outcomes; `q`: the text of a search."""
    if which is not None:
        # All classified photos of a landmark or country are those of accepted tags, without an option.
        is_implied = which == "any_rank" and is_of_accepted_tags(params.options)
        chosen = {which: 1} if which in WHICH and not is_implied else {}
        return RedirectResponse(params.address("/photos", **chosen), 303)

    grid, problem = None, ""
    try:
        grid = photo_grid(state, valid_params(request, params), after, "/photos")
    except QUERY_ERRORS as error:
        problem = page_text(error)
    return render_photos(request, state, params, grid, problem, text=q)


def render_photos(
    request: Request,
    state: AppState,
    form: QueryParams,
    grid: PhotoGrid | None,
    problem: str = "",
    opened: Mapping[str, object] | None = None,
    text: str = "",
) -> HTMLResponse:
    is_recent = form.query.sort == "added"
    parts = list(form.query.parts)
    overview = state.overview
    understood = overview.understand(text)
    with state.database.read() as connection:
        names = display_names(
            connection, {slug for part in parts for slug in part.landmark}
        )
    trips = summaries_of_trips(
        state.database, {part.trip for part in parts if part.trip}
    )
    names |= {trip_id: trip.title for trip_id, trip in trips.items()}
    if any(part.thing for part in parts):
        with state.database.read() as connection:
            names |= {
                each.slug: each.display_name for each in all_things(connection).values()
            }
    if any(part.near or part.box for part in parts):
        names |= overview.area_names()
    if box := form.query.box:
        names.setdefault(
            str(form.options["box"]), area_name(box, overview.cities()) or ""
        )
    chips = filter_chips(form, names)
    kinds = [part.text for part in understood.parts if words_of_kind(part.text)]
    if len(kinds) == 1:  # of all churches, the names would be a long list
        name = kinds[0][:1].upper() + kinds[0][1:]
        of_kind = FilterChip(
            name, options_without(form.options, {"landmark": None}), "landmark"
        )
        chips = [of_kind, *(chip for chip in chips if chip.group != "landmark")]
    filters = form.options.keys() - {"sort"}
    to_drop = (
        _filters_to_drop(state, chips)
        if grid and not grid.tiles and not grid.first_page
        else ()
    )
    # Which list without other filters this is, for what to say if it is empty; "": there are others.
    views = {(): "landmark", ("any_rank",): "classified", ("favourite",): "favourite"}
    view = views.get(tuple(filters), "")
    heading = gettext("Photos")
    if selects_with_landmark(form.options):
        heading = gettext("Photos with a landmark")
    if "unknown" in form.options and may_change(request):
        # Review names this tab above the photos.
        chips = [chip for chip in chips if "unknown" in chip.others]
        heading = gettext("Unknown")
    return render(
        request,
        "photos.html",
        400 if problem else 200,
        heading=heading,
        grid=grid,
        problem=problem,
        title_filters=[
            chip.name for chip in chips if chip.name != gettext(WITH_LANDMARK_CHIP)
        ],
        chips=chips,
        to_drop=to_drop,
        search_text=text,
        search_note=f"{understood.note} {understood.hints}".strip()
        if understood.options
        else "",
        guesses=[
            (words, suggestion_document(state, meaning).label)
            for words, meaning in understood.guesses or _taken_guesses(understood)
        ],
        all_photos=ALL_PHOTOS,
        is_unknown="unknown" in form.options,
        view=view,
        thing_name=names.get(form.query.thing[0], "")
        if len(form.query.thing) == 1
        else "",
        unclassified=overview.unclassified.get_soon(),
        searches_classified=_searches_classified(form.query),
        recently_added="" if is_recent else form.address("/photos", sort="added"),
        filter_address=form.address("/photos/filter"),
        opened=opened,
        **(opened or {}),
    )


# The largest areas that are named after a city: some 40 and 220 km.
_CITY_DEGREES, _AROUND_CITY_DEGREES = 0.35, 2.0
# Larger areas are not around one city.
_MOST_DEGREES = 40.0


def area_name(box: BoundingBox, cities: Iterable[Meaning]) -> str | None:
    """Return the name of an area by its city; of a larger one, by the one in it with most photos.

    `cities`: most photos first.
    """
    width = (box.east - box.west) % 360
    size = max(box.north - box.south, width * cos(radians(box.north)))
    name = ""
    if size <= _AROUND_CITY_DEGREES:
        latitude = (box.south + box.north) / 2
        longitude = (box.west + width / 2 + 180) % 360 - 180
        (city,) = nearest_cities(np.array([latitude]), np.array([longitude]))
        if city is not None:
            name = city_name(city.name, city.region or city.country)
    elif size <= _MOST_DEGREES:
        for each in cities:
            latitude, longitude = map(float, str(each.options["near"]).split(","))
            is_inside = box.south <= latitude <= box.north
            if is_inside and (longitude - box.west) % 360 <= width:
                name = city_name(
                    each.label, each.detail.rpartition(", ")[2] or each.label
                )
                break
    text = N_("in %(city)s") if size <= _CITY_DEGREES else N_("around %(city)s")
    return gettext(text, city=name) if name else None


def _taken_guesses(understood: UnderstoodText) -> Iterator[tuple[str, Meaning]]:
    # Of a text that means nothing, the one name like it, whose photos are shown.
    if not understood.options:
        for part in understood.left_out:
            for meaning in part.others[:1]:
                yield part.text, meaning


def _searches_classified(query: PhotoQuery) -> bool:
    # Whether the query leaves out photos only because they are not classified.
    if query.untagged or query.failed or query.dismissed or query.favourite:
        return False
    is_of_tags = (
        bool(query.landmark)
        or query.min_score is not None
        or query.any_rank
        or query.unknown
    )
    selects_each = (
        query.trip or query.job is not None or query.verdict not in (None, "none")
    )
    return is_of_tags or not selects_each


def photo_grid(
    state: AppState, params: QueryParams, after: str | None, path: str
) -> PhotoGrid:
    shown = params.as_timeline()
    page, cursor = photo_page(state, shown, after, PAGE_SIZE)
    page_params = params if path == "/photos" else QueryParams({}, params.query)
    # Downloads are in the order of the page, with all copies.
    data_params = QueryParams(
        {**params.options, "sort": shown.options["sort"]}, params.query
    )
    return PhotoGrid(
        sections=_sections(state, params, page),
        source=params.address("/api/photos"),
        options=shown.address(""),
        next_page=page_params.address(path, after=cursor) if cursor else None,
        first_page=page_params.address(path) if after else None,
        download=data_params.address(""),
    )


def grid_at_photo(
    state: AppState, params: QueryParams, photo: TaggedPhoto
) -> PhotoGrid:
    # Reading a page of the query refuses names of landmarks and folders that are not there.
    grid = photo_grid(state, params, None, "/photos")
    return replace(
        grid,
        sections=_sections(state, params, [photo]),
        next_page=None,
        first_page=params.address("/photos"),
        opened=photo.id,
    )


def _sections(
    state: AppState, params: QueryParams, photos: Sequence[TaggedPhoto]
) -> tuple[PhotoSection, ...]:
    tiles = photo_tiles(state.database, photos, params)
    is_dated = params.as_timeline().query.sort in ("newest", "oldest")
    if is_dated:
        return tuple(photo_sections(tiles, by_day=params.query.trip is not None))
    return (PhotoSection("", "", tuple(tiles)),) if tiles else ()


def photo_sections(
    tiles: Iterable[PhotoTile], *, by_day: bool
) -> Iterator[PhotoSection]:
    """Group photos that are in order of time by days of each month (see `section_parts`)."""
    for month, some in groupby(
        tiles, key=lambda tile: tile.day and tile.day.replace(day=1)
    ):
        of_month = tuple(some)
        if month is None:
            yield PhotoSection(NO_MONTH, gettext("No date"), of_month, NO_MONTH)
            continue
        days = Counter(tile.day for tile in of_month if tile.day)
        cities = {day: Counter[Area]() for day in days}
        for tile in of_month:
            if tile.day and tile.place:
                cities[tile.day][tile.sight, None, tile.place.partition(",")[0]] += 1
        skip = 0
        for part in section_parts(days.items(), cities, by_day=by_day):
            of_part = of_month[skip : skip + part.photos]
            yield PhotoSection(
                f"{month:%Y-%m}",
                heading_text(part.first, part.last, part.place),
                of_part,
                f"{of_part[0].day}",
                skip,
            )
            skip += part.photos
