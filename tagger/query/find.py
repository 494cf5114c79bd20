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
    score_source,
    verdict_source,
)
from tagger.query.wanted import Asked, PhotoQuery
from tagger.roots import Places
from tagger.tables import Outcome, photos

PAGE = 250
LEAST_PAGE = 50
"""Rows passed at a time; the first page is smaller where few photos are asked for."""
WALK_SIZE_CAPS = (5_000, 20_000)
"""Walks are compared by size up to here, further only where it does not tell them apart."""


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
    # A few of the photos passed will not do: one page that is a little larger saves a second one.
    rows = min(PAGE, max(LEAST_PAGE, (asked.query.limit or PAGE) * 5 // 4))
    while True:
        with database.read() as connection:
            page = walk.page(connection, conditions, after, rows)
            answers = _answers(connection, page, walk.landmark_id, asked, names)
        yield from answers
        if page.after is None:
            return
        after, rows = page.after, min(PAGE, 2 * rows)


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
    for cap in WALK_SIZE_CAPS:
        if len(choices) == 1:
            break
        sizes = [_size(connection, walks, cap) for walks in choices]
        choices = [walks for walks, size in zip(choices, sizes, strict=True) if size == min(sizes)]
    return choices[0]


def _size(connection: Connection, walks: Sequence[Walk], cap: int) -> int:
    size = 0
    for walk in walks:
        size += walk.size(connection, cap)
        if size >= cap:
            return cap
    return size


def _choices(asked: Asked) -> Iterator[tuple[Walk, ...]]:
    query = asked.query
    if asked.landmarks is not None:
        yield tuple(
            landmark_walk(number, any_rank=query.any_rank, min_score=query.min_score)
            for number in asked.landmarks
        )
    if query.under:
        by_path = (photos.c.root_id, photos.c.path, photos.c.path_bytes)
        yield tuple(PhotoWalk(by_path, (wanted.condition,)) for wanted in asked.ranges)
    if query.taken_after is not None or query.taken_before is not None:
        yield (PhotoWalk((photos.c.taken_at, photos.c.id), _taken(query)),)
    if asked.model_id is not None:
        yield (ContentWalk((model_source(asked.model_id),)),)
    if asked.landmarks is None:  # with landmarks it would pass all that they pass, and more
        yield _by_outcome(query)
        if query.min_score is not None and not query.any_rank:
            yield (ContentWalk((score_source(query.min_score), verdict_source("confirmed"))),)


def _by_outcome(query: PhotoQuery) -> tuple[Walk, ...]:
    if query.untagged:
        unread = PhotoWalk((photos.c.id,), (photos.c.content_id.is_(None),))
        return unread, ContentWalk((outcome_source(None),))
    if query.unknown:
        return (ContentWalk((outcome_source(Outcome.UNKNOWN), verdict_source("rejected"))),)
    least = query.min_score
    if query.any_rank:
        looked = (
            outcome_source(outcome, min_score=least, any_rank=True)
            for outcome in (Outcome.TAGGED, Outcome.UNKNOWN)
        )
        return (ContentWalk((*looked, verdict_source("confirmed"))),)
    return (ContentWalk((outcome_source(Outcome.TAGGED, min_score=least), verdict_source("confirmed"))),)


def _taken(query: PhotoQuery) -> tuple[Condition, ...]:
    # The first also keeps photos without a date out of the walk, and so out of its keys.
    conditions: list[Condition] = [photos.c.taken_at >= (query.taken_after or datetime.min)]  # noqa: DTZ901 - local time
    if query.taken_before is not None:
        conditions.append(photos.c.taken_at < query.taken_before)
    return tuple(conditions)
