"""Places and trips: landmarks with covers, the map, the search that leads to photos, and trips as cards.

A landmark is renamed, merged into another one, or deleted, as by `tagger landmark`. A trip has a page with
its photos and path. It can be renamed, split and merged.

Photos that are near each other share a mark on a map, so that it has few. Photos that are located by a
landmark are at its dot.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from http import HTTPStatus
from itertools import accumulate, groupby
from math import ceil, floor
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from tagger.database import Priority, TripEditKind
from tagger.database.connection import Database, display_language
from tagger.errors import SettingsInvalid, TaggerError
from tagger.jobs.enqueue.submission import Backfill, BackfillScope
from tagger.kept.trips import (
    LONGEST_NAME,
    find_trip,
    merge_trips,
    rename_trip,
    split_trip,
    trip_at,
    trips_before,
    trips_beside,
    undo_trip_edit,
    undoable_edits,
)
from tagger.landmarks import familiar_landmarks, find_landmark, normalize_name
from tagger.landmarks.edits import (
    LandmarkChanges,
    MergedLandmark,
    RemovedLandmarkDocument,
    edit_landmark,
    merge_landmark,
    remove_landmark,
)
from tagger.ledger.job_control import count_open_jobs
from tagger.query import BoundingBox, parse_box
from tagger.query.counts import (
    LandmarkCount,
    PathPoint,
    SightCount,
    familiar_landmark_counts,
    sight_counts,
    sights_beside,
    summarize_trips,
    trip_path,
    trip_summaries,
    trip_summary,
)
from tagger.query.position_clusters import (
    PositionCell,
    PositionCluster,
    cells_within,
    cluster_cells,
    needs_fine_cells,
)
from tagger.registry import (
    models_of_landmarks,
    resolve_models,
    use_models,
)
from tagger.settings import Settings
from tagger.sights import library_sights
from tagger.tags.models_in_use import THINGS, shipped_file, shipped_name, things_are_on
from tagger.texts import document_of
from tagger.texts.text_format import day_text, gettext, reader_language
from tagger.trips import TripEdit
from tagger.web.access import Role, requires
from tagger.web.api.job_starter import start_job
from tagger.web.api.landmarks import SearchText, suggestion_document
from tagger.web.api.photos import IMMUTABLE
from tagger.web.errors import page_text
from tagger.web.pages.photos import After, photo_grid, trip_address
from tagger.web.routes import (
    COUNTING,
    DocumentResponse,
    QueryParams,
    address_of,
    policy_with_tiles,
)
from tagger.web.state import AppState, State
from tagger.web.templating import asset, may_change, render, thumbnail_address

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

Text = Annotated[str, Query(max_length=200)]


@router.get("/places")
@requires(Role.VIEWER)
def show_library(request: Request, state: State) -> HTMLResponse:
    covers = state.overview.covers.get_soon()
    counts = familiar_landmark_counts(state.database)
    with_photos = [each for each in counts if each.photos]
    sights = (
        each for each in sight_counts(state.database) if each.photos >= LEAST_AT_SIGHT
    )
    taken_at = sights_beside(sights, with_photos)
    by_country = defaultdict[str | None, list[Place]](list)
    places: list[Place] = [*with_photos, *taken_at]
    for each in places:
        by_country[each.country].append(each)
    is_empty = not with_photos and not taken_at
    return render(
        request,
        "library.html",
        landmarks=with_photos,
        countries=sorted(
            by_country.items(), key=lambda item: -sum(each.photos for each in item[1])
        ),
        covers=covers or {},
        has_covers=covers is not None,
        lacks_covers=any(each.landmark not in (covers or {}) for each in with_photos),
        is_empty=is_empty,
        is_working=is_empty and count_open_jobs(state.database) > 0,
    )


@router.get("/places/things")
@requires(Role.VIEWER)
def show_things(request: Request, state: State) -> HTMLResponse:
    # The page has nothing else to show meanwhile.
    counts = state.overview.things.get_soon(THINGS_WAIT_S, THINGS_WAIT_S) or ()
    with state.database.read() as connection:
        are_on = things_are_on(connection)
    return render(
        request,
        "things.html",
        things=sorted(counts, key=lambda each: -each.photos),
        are_on=are_on,
        may_switch=may_switch_things(request),
        is_working=count_open_jobs(state.database) > 0,
    )


# How long the page of things waits until they are counted.
THINGS_WAIT_S = 5.0


def may_switch_things(request: Request) -> bool:
    return may_change(request) and shipped_file(THINGS).is_file()


@router.post("/places/things")
@requires(Role.EDITOR)
def switch_things(state: State, on: Annotated[bool, Form()]) -> Response:
    """Put the model of things in use and start a job for what it lacks, or take all of things out of use."""
    names = [
        model.name
        for model in models_of_landmarks(resolve_models(state.database, None))
    ]
    of_things = shipped_name(THINGS)
    use_models(state.database, [*names, of_things] if on and of_things else names)
    if not on:
        return RedirectResponse("/places/things", HTTPStatus.SEE_OTHER)
    job = start_job(state, Backfill(BackfillScope.OUTDATED), Priority.BULK)
    return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)


# A sight with fewer photos is not listed: somebody may have passed it.
LEAST_AT_SIGHT = 3


Place = LandmarkCount | SightCount


Slug = Annotated[str, Path(max_length=500)]
TypedName = Annotated[str, Form(max_length=1000)]
IsConfirmed = Annotated[bool, Form()]


@router.get("/places/edit/{slug}")
@requires(Role.EDITOR)
def show_edit(request: Request, state: State, slug: Slug) -> HTMLResponse:
    return _render_edit(request, state, slug)


@router.post("/places/edit/{slug}")
@requires(Role.EDITOR)
def rename(request: Request, state: State, slug: Slug, name: TypedName) -> Response:
    """Change the name that the reader sees: that in the reader's language, if there is one."""
    try:
        with state.database.read() as connection:
            language = display_language(connection)
            is_translated = language in find_landmark(connection, slug).names
        changes: LandmarkChanges = (
            {"names": {language: name}}
            if language and is_translated
            else {"name": name}
        )
        edit_landmark(state.database, slug, changes)
    except TaggerError as error:
        return _render_edit(request, state, slug, page_text(error), name)
    return RedirectResponse(f"/landmarks/{slug}", HTTPStatus.SEE_OTHER)


@router.post("/places/merge/{slug}")
@requires(Role.EDITOR)
def merge(
    request: Request,
    state: State,
    slug: Slug,
    into: TypedName,
    is_confirmed: IsConfirmed = False,
) -> Response:
    try:
        merged = merge_landmark(state.database, slug, into, dry_run=not is_confirmed)
    except TaggerError as error:
        return _render_edit(request, state, slug, page_text(error), into=into)
    if not is_confirmed:
        return _render_edit(request, state, slug, merged=merged)
    return RedirectResponse(f"/landmarks/{merged.landmark.slug}", HTTPStatus.SEE_OTHER)


@router.post("/places/delete/{slug}")
@requires(Role.EDITOR)
def delete(
    request: Request, state: State, slug: Slug, is_confirmed: IsConfirmed = False
) -> Response:
    try:
        removed = remove_landmark(
            state.database, slug, with_verdicts=True, dry_run=not is_confirmed
        )
    except TaggerError as error:
        return _render_edit(request, state, slug, page_text(error))
    if not is_confirmed:
        return _render_edit(request, state, slug, removed=removed)
    return RedirectResponse("/places", HTTPStatus.SEE_OTHER)


def _render_edit(
    request: Request,
    state: AppState,
    slug: str,
    problem: str = "",
    name: str | None = None,
    into: str = "",
    merged: MergedLandmark | None = None,
    removed: RemovedLandmarkDocument | None = None,
) -> HTMLResponse:
    with state.database.read() as connection:
        landmark, every = (
            find_landmark(connection, slug),
            familiar_landmarks(connection),
        )
    status = HTTPStatus.CONFLICT if problem else HTTPStatus.OK
    names = Counter(
        normalize_name(name)
        for each in every
        for name in {each.name, each.display_name}
    )
    others = {
        each.display_name
        if names[normalize_name(each.display_name)] == 1
        else each.slug: each
        for each in every
        if each.id != landmark.id
    }
    return render(
        request,
        "landmark_edit.html",
        status,
        landmark=landmark,
        typed=name or landmark.display_name,
        into=into,
        others=others,
        problem=problem,
        merged=merged,
        removed=removed,
    )


@router.get("/map")
@requires(Role.VIEWER)
def show_map(request: Request, state: State, box: Text = "") -> HTMLResponse:
    cells = state.overview.position_cells.get_soon()
    live = None
    if cells:
        live = live_map(state.settings, parse_box(box) if box else extent_of(cells))
    return render_map(
        request,
        state.settings,
        "map.html",
        is_complete=cells is not None,
        live=live,
    )


@router.get("/search")
@requires(Role.VIEWER)
def search(request: Request, state: State, q: SearchText = "") -> Response:
    """Open the photos that the text means, or of the one name like it. Else, show names like it."""
    understood = state.overview.understand(q)
    if understood.options:
        order = {"sort": "newest"} if understood.query.unknown else {}
        return RedirectResponse(
            address_of("/photos", {**order, **understood.options, "q": q}), 303
        )
    close = [
        each for part in understood.left_out for each in part.others
    ] or state.overview.suggest(q)
    if len(close) == 1 and '"' not in q:
        return RedirectResponse(
            address_of("/photos", {**close[0].options, "q": q}), 303
        )
    similar = [suggestion_document(state, each) for each in close]
    with state.database.read() as connection:
        are_on = things_are_on(connection)
    return render(
        request,
        "search.html",
        search_text=q,
        search_note=understood.note,
        similar=similar,
        lacks_things=may_switch_things(request) and not are_on,
    )


TripId = Annotated[str, Path(max_length=500)]


@router.get("/trips", dependencies=[COUNTING])
@requires(Role.VIEWER)
def show_trips(request: Request, state: State) -> HTMLResponse:
    return render(request, "trips.html", trips=trip_summaries(state.database))


@router.get("/trips/{trip_id}")
@requires(Role.VIEWER)
def show_trip(
    request: Request,
    state: State,
    trip_id: TripId,
    after: After = None,
    changed: bool = False,
) -> HTMLResponse:
    summary = trip_summary(state.database, trip_id)
    address = trip_address(summary.trip.id)
    path = list(trip_path(state.database, summary.trip))
    return render_map(
        request,
        state.settings,
        "trip.html",
        summary=summary,
        trip=summary.trip,
        change=_edit_text(state.database, summary.trip.edits[-1])
        if changed and summary.trip.edits
        else "",
        places=Counter(
            (point.city, point.country) for point in path if point.city
        ).most_common(),
        live=live_map(state.settings, trip_bounds(path)) if path else None,
        path_address=f"{address}/path",
        grid=photo_grid(state, QueryParams.of(trip=summary.trip.id), after, address),
    )


@router.get("/trips/edit/{trip_id}")
@requires(Role.EDITOR)
def show_trip_edit(request: Request, state: State, trip_id: TripId) -> HTMLResponse:
    summary = trip_summary(state.database, trip_id)
    with state.database.read() as connection:
        beside = trips_beside(connection, summary.trip)
    return render(
        request,
        "trip_edit.html",
        summary=summary,
        trip=summary.trip,
        address=trip_address(summary.trip.id),
        longest_name=LONGEST_NAME,
        second_day=summary.trip.days[0] + timedelta(days=1),
        beside=summarize_trips(
            state.database, [each for each in beside if each is not None]
        ),
        changes=[
            (edit.id, _edit_text(state.database, edit))
            for edit in reversed(summary.trip.edits)
        ],
        undoable=undoable_edits(summary.trip),
    )


@router.post("/trips/edit/{trip_id}")
@requires(Role.EDITOR)
def change_trip(
    state: State,
    trip_id: TripId,
    name: Annotated[str | None, Form(max_length=1000)] = None,
    day: Annotated[date | None, Form()] = None,
    other: Annotated[str | None, Form(max_length=500)] = None,
    undo: Annotated[int | None, Form()] = None,
) -> Response:
    with state.database.write() as connection:
        trip = find_trip(connection, trip_id)
        if undo is not None:
            undo_trip_edit(connection, trip, undo)
        elif day is not None:
            split_trip(connection, trip, day)
        elif other is not None:
            merge_trips(connection, trip, find_trip(connection, other))
        elif name is not None:
            rename_trip(connection, trip, name)
        now = trip_at(connection, trip.moment)
    changed = "" if undo is not None else "?changed=1"
    return RedirectResponse(
        f"{trip_address(now.id if now else trip_id)}{changed}", HTTPStatus.SEE_OTHER
    )


def _edit_text(database: Database, edit: TripEdit) -> str:
    if edit.kind is TripEditKind.SPLIT and edit.split_at is not None:
        return gettext("Split on %(date)s", date=day_text(edit.split_at))
    if edit.kind is TripEditKind.MERGE and edit.other is not None:
        with database.read() as connection:
            trips = trips_before(connection, edit)
        titles = [each.title for each in summarize_trips(database, trips)]
        days = sorted(moment.taken_at for moment in (edit.moment, edit.other))
        first, second = titles if len(titles) == 2 else map(day_text, days)
        return gettext("Merged: %(first)s and %(second)s", first=first, second=second)
    return (
        gettext("Named %(name)s", name=edit.name)
        if edit.name
        else gettext("Named after its place")
    )


MOST_ZOOM = 20
# Parts of a degree, about a metre each, to which the boxes of addresses are rounded.
_ROUNDING = 100_000
# Of the longitudes and latitudes of a path: about a metre.
_DECIMALS = 5
# Photos of one spot are within about two kilometres.
_SPOT_DEGREES = 0.02
# A map of one spot shows the land this far around it: streets are not drawn.
_AROUND_DEGREES = 4.0


@router.get("/map/clusters", dependencies=[COUNTING])
@requires(Role.VIEWER)
def clusters(
    state: State,
    box: Annotated[str, Query(max_length=200)],
    zoom: Annotated[float, Query(ge=0, le=MOST_ZOOM)],
    trip: Annotated[str | None, Query(max_length=500)] = None,
) -> DocumentResponse:
    """Return the photos with a position in the box, for a map of this zoom; of a trip if one is named."""
    bounds = parse_box(box)
    # The finest cells of the whole library are cached; they are enough for a map of a country.
    cells: Sequence[PositionCell] | None = None
    if trip is not None:
        cells = trip_cells(_path(state, trip))
    elif not needs_fine_cells(zoom):
        cells = state.overview.position_cells.get_soon()
    if cells is None:
        cells = cells_within(state.database, bounds, zoom)
    found = cluster_cells(cells, bounds, zoom)
    sights = None
    if reader_language() and any(cluster.sight for cluster in found):
        with state.database.read() as connection:
            sights = library_sights(connection)

    def sight_of(cluster: PositionCluster) -> str | None:
        if cluster.sight and sights:
            return sights.name_in(cluster.sight, reader_language())
        return cluster.sight

    return DocumentResponse(
        {
            "photos": sum(cluster.photos for cluster in found),
            "address": _address(bounds, trip),
            "clusters": [
                {
                    "latitude": cluster.latitude,
                    "longitude": cluster.longitude,
                    "photos": cluster.photos,
                    "place": ", ".join(
                        filter(None, (sight_of(cluster), cluster.place))
                    ),
                    "estimated": cluster.is_estimated,
                    "address": _address(cluster.bounds, trip),
                    "thumbnail": thumbnail_address(cluster.photo_id, None, 256),
                }
                for cluster in found
            ],
        }
    )


@router.get("/map/near.pmtiles")
@requires(Role.VIEWER)
def near_map(state: State) -> Response:
    file = state.settings.web_map_file
    if file is None or not file.is_file():
        return Response(status_code=HTTPStatus.NOT_FOUND)
    return FileResponse(
        file,
        media_type="application/octet-stream",
        headers={"Cache-Control": IMMUTABLE},
    )


@router.get("/trips/{trip_id}/path")
@requires(Role.VIEWER)
def path(
    state: State, trip_id: Annotated[str, Path(max_length=500)]
) -> DocumentResponse:
    return DocumentResponse(path_geometry(_path(state, trip_id)))


def _path(state: AppState, trip_id: str) -> list[PathPoint]:
    with state.database.read() as connection:
        trip = find_trip(connection, trip_id)
    return list(trip_path(state.database, trip))


def extent_of(cells: Sequence[PositionCell]) -> BoundingBox:
    """Return the least box around cells, which begins east of the widest gap. It may cross 180°."""
    by_west = sorted(cells, key=lambda cell: cell.west)
    wests = [*(cell.west for cell in by_west[1:]), by_west[0].west + 360]
    easts = list(accumulate((cell.east for cell in by_west), max))
    _, west, east = max(
        (west - east, west, east) for west, east in zip(wests, easts, strict=True)
    )
    return BoundingBox(
        min(cell.south for cell in cells),
        _turned(west),
        max(cell.north for cell in cells),
        east,
    )


def render_map(
    request: Request, settings: Settings, name: str, **values: object
) -> HTMLResponse:
    response = render(request, name, 200, **values)
    if settings.web_map_tiles is not None:
        response.headers["content-security-policy"] = policy_with_tiles(
            settings.web_map_tiles
        )
    return response


def check_map_file(file: FilePath | None) -> None:
    """Raises:
    SettingsInvalid: the map file of the settings cannot be read, or has no vector tiles.
    """
    if file is None:
        return
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER_BYTES)
    except OSError as error:
        reason = error.strerror or str(error)
    else:
        is_map = (
            header.startswith(b"PMTiles\x03") and header[_TILE_TYPE:] == _VECTOR_TILES
        )
        reason = "" if is_map else "it is no PMTiles file, version 3, of vector tiles"
    if reason:
        raise SettingsInvalid(
            reason=f"web_map_file (TAGGER_WEB_MAP_FILE): {file}: {reason}"
        )


# By the specification of PMTiles, version 3.
_HEADER_BYTES, _TILE_TYPE, _VECTOR_TILES = 100, 99, b"\x01"


def live_map(settings: Settings, bounds: BoundingBox) -> dict[str, object]:
    file = settings.web_map_file
    near = (
        f"/map/near.pmtiles?v={file.stat().st_mtime_ns:x}"
        if file and file.is_file()
        else ""
    )
    return {
        "library": asset("vendor/map/maplibre-gl.mjs"),
        "worker": asset("vendor/map/maplibre-gl-worker.mjs"),
        "style": asset("vendor/map/maplibre-gl.css"),
        "reader": asset("vendor/map/pmtiles.js"),
        "world": asset("world.pmtiles"),
        "near": near,
        "near-style": asset("vendor/map/basemaps.js"),
        "bounds": bounds,
        "tiles": settings.web_map_tiles or "",
        "attribution": settings.web_map_attribution,
    }


# The map around a position shows so much on each side.
MAP_DEGREES = 0.2


def map_around(
    settings: Settings, latitude: float, longitude: float
) -> dict[str, object]:
    south, north = max(-90.0, latitude - MAP_DEGREES), min(90.0, latitude + MAP_DEGREES)
    box = BoundingBox(south, longitude - MAP_DEGREES, north, longitude + MAP_DEGREES)
    return live_map(settings, box) | {
        "tiles": "",
        "latitude": latitude,
        "longitude": longitude,
    }


def _address(box: BoundingBox, trip: str | None) -> str:
    # The photos in a box. It is rounded so that none at its edge is lost.
    south, west = (
        floor(degrees * _ROUNDING) / _ROUNDING for degrees in (box.south, box.west)
    )
    north, east = (
        ceil(degrees * _ROUNDING) / _ROUNDING for degrees in (box.north, box.east)
    )
    outer = BoundingBox(
        max(-90.0, south), max(-180.0, west), min(90.0, north), min(180.0, east)
    )
    return QueryParams.of(trip=trip, box=str(outer)).address("/photos")


def trip_cells(path: Sequence[PathPoint]) -> list[PositionCell]:
    return [
        document_of(
            PositionCell,
            point,
            photos=1,
            is_estimated=not point.is_measured,
            south=point.latitude,
            north=point.latitude,
            west=point.longitude,
            east=point.longitude,
        )
        for point in path
    ]


def trip_bounds(path: Sequence[PathPoint]) -> BoundingBox:
    """What the map of a trip shows: the least box around its photos, or a spot. It may cross 180°."""
    bounds = extent_of(trip_cells(path))
    if (
        max(bounds.north - bounds.south, (bounds.east - bounds.west) % 360)
        >= _SPOT_DEGREES
    ):
        return bounds
    return BoundingBox(
        max(bounds.south - _AROUND_DEGREES, -85.0),
        _turned(bounds.west - _AROUND_DEGREES),
        min(bounds.north + _AROUND_DEGREES, 85.0),
        _turned(bounds.east + _AROUND_DEGREES),
    )


def path_geometry(path: Sequence[PathPoint]) -> dict[str, Any]:
    ways = (
        list(_way(list(points)))
        for _, points in groupby(path, key=lambda point: point.camera_id)
    )
    return {
        "type": "MultiLineString",
        "coordinates": [way for way in ways if len(way) > 1],
    }


def _way(points: Sequence[PathPoint]) -> Iterator[tuple[float, float]]:
    longitude = points[0].longitude
    last: tuple[float, float] | None = None
    for point in points:
        longitude += _turned(point.longitude - longitude)
        place = (round(longitude, _DECIMALS), round(point.latitude, _DECIMALS))
        if place != last:
            yield place
        last = place


def _turned(degrees: float) -> float:
    return (degrees + 180) % 360 - 180
