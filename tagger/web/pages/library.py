"""The library: its first view, landmarks with covers, the map, and the search that leads to its photos.

A landmark is renamed, merged into another one, or deleted, as by `tagger landmark`.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.database.connection import Database, display_language
from tagger.database.enums import Priority
from tagger.errors import TaggerError
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.landmarks.edits import (
    LandmarkChanges,
    MergedLandmark,
    RemovedLandmarkDocument,
    edit_landmark,
    merge_landmark,
    remove_landmark,
)
from tagger.landmarks.landmarks import familiar_landmarks, find_landmark, normalize_name
from tagger.ledger.job_control import count_open_jobs
from tagger.query.counts import LandmarkCount
from tagger.query.option_values import parse_box
from tagger.registry.registered_models import models_of_landmarks, resolve_models, use_models
from tagger.tags.models_in_use import THINGS, ids_in_use, shipped_file, shipped_name
from tagger.web.api.job_starter import Starter
from tagger.web.api.landmarks import Lists, SearchText, suggestion_document
from tagger.web.cached_value import uncounted_landmarks
from tagger.web.http.access import Role, requires
from tagger.web.http.errors import page_text
from tagger.web.http.routes import address_of
from tagger.web.http.templates import may_change, render
from tagger.web.pages.map_clusters import extent_of, live_map, render_map
from tagger.web.pages.overview import Overview
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

Text = Annotated[str, Query(max_length=200)]


@router.get("/places")
@requires(Role.VIEWER)
def show_library(request: Request, state: State, overview: Overview) -> HTMLResponse:
    """Show landmarks as cards."""
    counts, covers = overview.named_counts(), overview.covers.get_soon()
    is_counted = counts is not None
    landmarks = uncounted_landmarks(state.database) if counts is None else counts
    with_photos = [
        each for each in landmarks if each.photos or (not is_counted and each.landmark in (covers or {}))
    ]
    is_empty = is_counted and not with_photos
    return render(
        request,
        "library.html",
        landmarks=with_photos,
        countries=_by_country(with_photos),
        covers=covers or {},
        is_counted=is_counted,
        has_covers=covers is not None,
        lacks_covers=any(each.landmark not in (covers or {}) for each in with_photos),
        is_empty=is_empty,
        is_working=is_empty and count_open_jobs(state.database) > 0,
        things=sorted(overview.things.get_soon() or (), key=lambda each: -each.photos),
        things_switch=may_change(request) and shipped_file(THINGS).is_file(),
        things_are_on=_are_things_on(state.database),
    )


def _are_things_on(database: Database) -> bool:
    with database.read() as connection:
        return bool(ids_in_use(connection, [THINGS]))


@router.post("/places/things")
@requires(Role.EDITOR)
def switch_things(state: State, starter: Starter, on: Annotated[bool, Form()]) -> Response:
    """Put the model of things in use and start a job for what it lacks, or take all of things out of use."""
    names = [model.name for model in models_of_landmarks(resolve_models(state.database, None))]
    of_things = shipped_name(THINGS)
    use_models(state.database, [*names, of_things] if on and of_things else names)
    if not on:
        return RedirectResponse("/places", HTTPStatus.SEE_OTHER)
    job = starter.start(Backfill(BackfillScope.OUTDATED), Priority.BULK)
    return RedirectResponse(f"/jobs/{job}", HTTPStatus.SEE_OTHER)


def _by_country(counts: Sequence[LandmarkCount]) -> list[tuple[str | None, list[LandmarkCount]]]:
    """Return the landmarks of each country, those with most photos first."""
    by_country = defaultdict[str | None, list[LandmarkCount]](list)
    for each in counts:
        by_country[each.country].append(each)
    return sorted(by_country.items(), key=lambda item: -sum(each.photos for each in item[1]))


Slug = Annotated[str, Path(max_length=500)]
TypedName = Annotated[str, Form(max_length=1000)]
IsConfirmed = Annotated[bool, Form()]


@router.get("/places/edit/{slug}")
@requires(Role.EDITOR)
def show_edit(request: Request, state: State, slug: Slug) -> HTMLResponse:
    """Show the forms that rename and merge a landmark."""
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
            {"names": {language: name}} if language and is_translated else {"name": name}
        )
        edit_landmark(state.database, slug, changes)
    except TaggerError as error:
        return _render_edit(request, state, slug, page_text(error), name)
    return RedirectResponse(f"/landmarks/{slug}", HTTPStatus.SEE_OTHER)


@router.post("/places/merge/{slug}")
@requires(Role.EDITOR)
def merge(
    request: Request, state: State, slug: Slug, into: TypedName, is_confirmed: IsConfirmed = False
) -> Response:
    """Show what merging a landmark into another one would do; once that is confirmed, merge them."""
    try:
        merged = merge_landmark(state.database, slug, into, dry_run=not is_confirmed)
    except TaggerError as error:
        return _render_edit(request, state, slug, page_text(error), into=into)
    if not is_confirmed:
        return _render_edit(request, state, slug, merged=merged)
    return RedirectResponse(f"/landmarks/{merged.landmark.slug}", HTTPStatus.SEE_OTHER)


@router.post("/places/delete/{slug}")
@requires(Role.EDITOR)
def delete(request: Request, state: State, slug: Slug, is_confirmed: IsConfirmed = False) -> Response:
    """Show what would go with a landmark that no model knows; once that is confirmed, delete it."""
    try:
        removed = remove_landmark(state.database, slug, with_verdicts=True, dry_run=not is_confirmed)
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
        landmark, every = find_landmark(connection, slug), familiar_landmarks(connection)
    status = HTTPStatus.CONFLICT if problem else HTTPStatus.OK
    names = Counter(normalize_name(name) for each in every for name in {each.name, each.display_name})
    others = {
        each.display_name if names[normalize_name(each.display_name)] == 1 else each.slug: each
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
def show_map(request: Request, state: State, overview: Overview, box: Text = "") -> HTMLResponse:
    """Show photos on a map, or the part of it in a box."""
    cells = overview.position_cells.get_soon()
    return render_map(
        request,
        state.settings,
        "map.html",
        is_complete=cells is not None,
        live=live_map(state.settings, parse_box(box) if box else extent_of(cells)) if cells else None,
    )


@router.get("/search")
@requires(Role.VIEWER)
def search(request: Request, lists: Lists, q: SearchText = "") -> Response:
    """Open the photos that the text means. If it means nothing, say so, with names like it."""
    understood = lists.understand(q)
    if understood.options:
        order = {"sort": "newest"} if understood.query.unknown else {}
        return RedirectResponse(address_of("/photos", {**order, **understood.options, "q": q}), 303)
    close = [each for part in understood.left_out for each in part.others] or lists.suggest(q)
    similar = [suggestion_document(request, each) for each in close]
    return render(request, "search.html", search_text=q, search_note=understood.note, similar=similar)
