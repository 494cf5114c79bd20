"""Review: photos that may show a landmark, and unknown ones that look alike, as groups of cards.

Look-alikes whose likeliest landmark is the same are in its group. Another page shows the photos that resemble
a given one, as `tagger similar`.
"""

import logging
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import PurePath
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from tagger.database import TagState
from tagger.errors import EmbeddingsMissing, ExamplesMissing, ModelNotSelected
from tagger.geo import distance_km
from tagger.landmarks import Landmark, find_landmark
from tagger.query.counts import Cover, TripSummary, example_covers, trips_of_photos
from tagger.query.tagged_photos import Position, TaggedPhoto, stored_photo
from tagger.teaching.lessons import count_suggestions, suggestion_page
from tagger.teaching.questions import open_questions
from tagger.teaching.similarity import (
    LEAST_LIKELIHOOD,
    LookAlikes,
    photos_of_groups,
    place_likelihood,
)
from tagger.texts.names import city_name
from tagger.texts.text_format import day_text, distance_text, gettext, percent
from tagger.web.access import Role, requires
from tagger.web.api.landmarks import similar_photos
from tagger.web.api.photos import PhotoNumber
from tagger.web.errors import page_text
from tagger.web.pages.library import map_around
from tagger.web.pages.photos import Link, PhotoTile, photo_tiles, trip_address
from tagger.web.routes import QueryParams
from tagger.web.state import AppState, State
from tagger.web.templating import render

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
log = logging.getLogger(__name__)

# Suggestions on the page; the others follow once these have verdicts.
SHOWN = 200
# Cards of a group; the others follow once these have verdicts.
SHOWN_OF_GROUP = 60
# Photos of the landmark beside the one to review.
EXAMPLES = 6
# Suggestions with this score are ticked at first: nine of ten are right. So are those for which the photo's
# own position speaks, or its day: of 17 in a drawn library, all were right.
TICKED_FROM = 0.6
# Look-alikes are in the group of a landmark if it is the likeliest one of this share of them.
NAMING_SHARE = 1 / 3
# Positions with a larger error have no distance.
MOST_ERROR_M = 20_000.0
# Photos on the page of similar ones.
SIMILAR = 60

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Card:
    tile: PhotoTile
    guess: str
    is_ticked: bool
    # What the heading of its group does not say of where and when it was taken.
    taken: str
    distance: str
    trip: Link | None


@dataclass(frozen=True)
class CardGroup:
    """Cards that may show `landmark`; None: they look alike. `taken`: what their places and days share.

    `examples` are photos of the landmark, `around` the data of a map of it, if there are none.
    """

    landmark: Landmark | None
    taken: str
    photos: int
    cards: Sequence[Card]
    examples: Sequence[Cover] = ()
    around: dict[str, Any] | None = None


@router.get("/review")
@requires(Role.EDITOR)
def show_review(
    request: Request,
    state: State,
    landmark: Annotated[str | None, Query(max_length=1000)] = None,
) -> HTMLResponse:
    with state.database.read() as connection:
        only = find_landmark(connection, landmark) if landmark else None
    only_id = only.id if only else None
    suggested, _ = suggestion_page(
        state.database, only_id, state.settings.roots, None, SHOWN
    )
    found = (
        LookAlikes((), 0, is_limited=False)
        if only
        else state.overview.look_alikes.get_soon()
    )
    alike = photos_of_groups(
        state.database, found.groups if found else (), state.settings.roots
    )
    likely = []
    for photos in alike:
        # Photos that look alike may show one place: not sunsets of several towns.
        are_together = all(photo.position is None for photo in photos) or any(
            _taken_together(photos)
        )
        if are_together and place_likelihood(photos) >= LEAST_LIKELIHOOD:
            likely.append(photos)
    by_landmark, others = _gather(suggested, likely)
    groups = list(
        _groups(state, [*by_landmark.items(), *((None, each) for each in others)])
    )
    params = QueryParams.of(any_rank=True)
    asked = () if only else open_questions(state.database, state.settings.roots)
    tiles = [
        (
            photo_tiles(state.database, question.taken_here, params),
            photo_tiles(state.database, question.similar[:SHOWN_OF_GROUP], params),
        )
        for question in asked
    ]
    return render(
        request,
        "review.html",
        questions=list(zip(asked, tiles, strict=True)),
        groups=sorted(
            groups, key=lambda group: len(group.cards) == 1
        ),  # small ones are in one row
        only=only,
        is_complete=found is not None,
        left=count_suggestions(state.database, only_id) - len(suggested),
    )


def _gather(
    suggested: Iterable[TaggedPhoto], alike: Iterable[list[TaggedPhoto]]
) -> tuple[dict[str, list[TaggedPhoto]], list[list[TaggedPhoto]]]:
    # The photos by the slug of the landmark that they may show, and groups that may show any.
    #
    # A photo on which a landmark is rejected is not in its group, though it looks like others there: once
    # these have verdicts, it may be in a group of others.
    by_landmark: dict[str, list[TaggedPhoto]] = {}
    for photo in suggested:
        by_landmark.setdefault(photo.tags[0].landmark, []).append(photo)
    others = []
    for photos in alike:
        guesses = [photo.guess.landmark if photo.guess else None for photo in photos]
        slug = _shared(guesses, NAMING_SHARE)
        if slug is None:
            others.append(photos)
            continue
        known = by_landmark.setdefault(slug, [])
        ids = {photo.id for photo in known}
        for photo in photos:
            rejected = {
                tag.landmark for tag in photo.tags if tag.state is TagState.REJECTED
            }
            if photo.id not in ids and slug not in rejected:
                known.append(photo)
    return by_landmark, others


def _shared(values: Sequence[T | None], share: float = 0.5) -> T | None:
    # The most frequent value, if more than this share of all have it.
    numbers = Counter(value for value in values if value is not None)
    for value, number in numbers.most_common(1):
        if number > share * len(values):
            return value
    return None


def _groups(
    state: AppState, found: Sequence[tuple[str | None, Sequence[TaggedPhoto]]]
) -> Iterator[CardGroup]:
    shown = [photo for _, photos in found for photo in photos[:SHOWN_OF_GROUP]]
    tiles = {
        each.id: each
        for each in photo_tiles(state.database, shown, QueryParams.of(any_rank=True))
    }
    trips = trips_of_photos(state.database, shown)
    for (_, photos), (landmark, examples) in zip(
        found, _references(state, found), strict=True
    ):
        together = _taken_together(photos) if len(photos) > 1 else (None, None)
        cards = [
            _card(photo, tiles[photo.id], landmark, trips.get(photo.id), together)
            for photo in photos[:SHOWN_OF_GROUP]
        ]
        around = None
        if (
            landmark
            and not examples
            and landmark.latitude is not None
            and landmark.longitude is not None
        ):
            around = map_around(state.settings, landmark.latitude, landmark.longitude)
        yield CardGroup(
            landmark, _taken_text(*together), len(photos), cards, examples, around
        )


def _references(
    state: AppState, found: Iterable[tuple[str | None, Sequence[TaggedPhoto]]]
) -> list[tuple[Landmark | None, Sequence[Cover]]]:
    references: list[tuple[Landmark | None, Sequence[Cover]]] = []
    with state.database.read() as connection:
        for slug, photos in found:
            landmark = find_landmark(connection, slug, by_slug=True) if slug else None
            digests = {photo.digest for photo in photos}
            examples = example_covers(connection, landmark.id) if landmark else ()
            references.append(
                (
                    landmark,
                    [each for each in examples if each.digest not in digests][
                        :EXAMPLES
                    ],
                )
            )
    return references


def _city(photo: TaggedPhoto) -> str | None:
    position = photo.position
    return (
        city_name(position.city, position.country)
        if position and position.city
        else None
    )


def _taken_together(photos: Sequence[TaggedPhoto]) -> tuple[str | None, date | None]:
    # The city and the day of most of these photos.
    days = [photo.taken_at.date() if photo.taken_at else None for photo in photos]
    return _shared([_city(photo) for photo in photos]), _shared(days)


def _taken_text(city: str | None, day: date | None) -> str:
    # `Cologne, 3 October 2025`.
    return ", ".join(filter(None, (city, day_text(day) if day else "")))


def _card(
    photo: TaggedPhoto,
    tile: PhotoTile,
    landmark: Landmark | None,
    trip: TripSummary | None,
    together: tuple[str | None, date | None],
) -> Card:
    city, day = _city(photo), tile.day
    tags = [tag for tag in photo.tags if landmark and tag.landmark == landmark.slug]
    guess, is_likely = "", landmark is None
    for tag in tags:
        if tag.state is TagState.SUGGESTED and tag.score:
            guess = percent(tag.score)
            is_likely = tag.score >= TICKED_FROM or (tag.position_odds or 0.0) > 1.0
    return Card(
        tile=tile,
        guess=guess,
        is_ticked=is_likely,
        taken=_taken_text(
            None if city == together[0] else city, None if day == together[1] else day
        ),
        distance=_distance(photo.position, landmark),
        trip=Link(trip.name, trip_address(trip.trip.id)) if trip else None,
    )


def _distance(position: Position | None, landmark: Landmark | None) -> str:
    if (
        position is None
        or landmark is None
        or landmark.latitude is None
        or landmark.longitude is None
    ):
        return ""
    if position.error_m > MOST_ERROR_M:
        return ""
    place = position.latitude, position.longitude
    distance_m = distance_km(*place, landmark.latitude, landmark.longitude) * 1000
    if distance_m > position.error_m:
        return gettext("%(distance)s away", distance=distance_text(distance_m))
    return gettext(
        "less than %(distance)s away", distance=distance_text(position.error_m)
    )


@router.get("/photos/{photo_id}/similar")
@requires(Role.VIEWER)
def show_similar(request: Request, state: State, photo_id: PhotoNumber) -> HTMLResponse:
    photo = stored_photo(state.database, photo_id, state.settings.roots)
    group, problem = None, ""
    try:
        (group,) = _groups(state, [(None, similar_photos(state, photo_id, SIMILAR))])
    except (EmbeddingsMissing, ExamplesMissing, ModelNotSelected) as error:
        problem = page_text(error)
    return render(
        request,
        "similar.html",
        id=photo_id,
        file=PurePath(photo.path).name,
        group=group,
        problem=problem,
    )
