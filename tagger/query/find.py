"""Asking the database which photos show what. Reads only.

A query goes along the shortest of the walks that cannot miss a photo, filters in SQL what SQL can filter, and ends
with the effective tags of each page: rejected never, confirmed always. Memory does not grow with the answer.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection

from tagger.database import Database
from tagger.query.tagged import Names, TaggedPhoto, tag_rows
from tagger.query.walks import (
    Condition,
    ContentWalk,
    Key,
    Page,
    PhotoWalk,
    Walk,
    landmark_walk,
    model_source,
    outcome_source,
    verdict_source,
)
from tagger.query.wanted import Asked, PhotoQuery
from tagger.roots import Places
from tagger.tables import Outcome, photos

WALK_SIZE_CAP = 5000
"""Walks are compared by size up to here; counting further would cost more than a shorter walk saves."""


def find_tagged(database: Database, query: PhotoQuery, places: Places | None = None) -> Iterator[TaggedPhoto]:
    """Yield the photos that fit, each once; those whose file is gone are left out. `places` is settings.roots.

    Names are looked up before the first photo is asked for, so a wrong one is known at once.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name that means nothing here.
    """
    with database.read() as connection:
        asked = Asked.of(connection, query, places or {})
        names = Names(connection, places or {})
        walks = _shortest(connection, asked)
    found = (photo for walk in walks for photo in _along(database, walk, asked, names))
    return islice(found, query.limit)


def _along(database: Database, walk: Walk, asked: Asked, names: Names) -> Iterator[TaggedPhoto]:
    after: Key | None = None
    conditions = asked.conditions(walk.landmark_id)
    while True:
        with database.read() as connection:
            page = walk.page(connection, conditions, after)
            answers = _answers(connection, page, walk.landmark_id, asked, names)
        yield from answers
        if page.after is None:
            return
        after = page.after


def _answers(
    connection: Connection, page: Page, walked_landmark: int | None, asked: Asked, names: Names
) -> list[TaggedPhoto]:
    tags_of = tag_rows(connection, {row.content_id for row in page.photos if row.content_id is not None})
    answers = []
    for row in page.photos:
        known = tags_of.get(row.content_id, ())
        shown = asked.shown(known, walked_landmark)
        if shown is not None:
            answers.append(names.photo(connection, row, known, shown))
    return answers


def _shortest(connection: Connection, asked: Asked) -> tuple[Walk, ...]:
    """Of the sets of walks that pass every photo wanted, the one that passes fewest others."""
    choices = list(_choices(asked))
    if len(choices) == 1:
        return choices[0]
    return min(choices, key=lambda walks: _size(connection, walks))


def _size(connection: Connection, walks: Sequence[Walk]) -> int:
    size = 0
    for walk in walks:
        size += walk.size(connection, WALK_SIZE_CAP)
        if size >= WALK_SIZE_CAP:
            return WALK_SIZE_CAP
    return size


def _choices(asked: Asked) -> Iterator[tuple[Walk, ...]]:
    query = asked.query
    if asked.landmarks is not None:
        yield tuple(landmark_walk(number, any_rank=query.any_rank) for number in asked.landmarks)
    if query.under:
        by_path = (photos.c.root_id, photos.c.path, photos.c.path_bytes)
        yield tuple(PhotoWalk(by_path, (wanted.condition,)) for wanted in asked.ranges)
    if query.taken_after is not None or query.taken_before is not None:
        yield (PhotoWalk((photos.c.taken_at, photos.c.id), _taken(query)),)
    if asked.model_id is not None:
        yield (ContentWalk((model_source(asked.model_id),)),)
    yield _by_outcome(query)


def _by_outcome(query: PhotoQuery) -> tuple[Walk, ...]:
    if query.untagged:
        unread = PhotoWalk((photos.c.id,), (photos.c.content_id.is_(None),))
        return unread, ContentWalk((outcome_source(None),))
    if query.unknown:
        return (ContentWalk((outcome_source(Outcome.UNKNOWN), verdict_source("rejected"))),)
    if query.any_rank:
        return (ContentWalk((outcome_source(Outcome.TAGGED), outcome_source(Outcome.UNKNOWN))),)
    return (ContentWalk((outcome_source(Outcome.TAGGED), verdict_source("confirmed"))),)


def _taken(query: PhotoQuery) -> tuple[Condition, ...]:
    # The first also keeps photos without a date out of the walk, and so out of its keys.
    conditions: list[Condition] = [photos.c.taken_at >= (query.taken_after or datetime.min)]  # noqa: DTZ901 - local time
    if query.taken_before is not None:
        conditions.append(photos.c.taken_at < query.taken_before)
    return tuple(conditions)
