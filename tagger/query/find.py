"""Asking the database which photos show what. Reads only.

A query goes along the shortest of the walks that cannot miss a photo, filters in SQL what SQL can filter, and ends
with the effective tags of each page: rejected never, confirmed always. Memory does not grow with the answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row

from tagger.database import Database
from tagger.errors import CursorInvalid
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
PASSED_AT_MOST = 10_000
"""Rows passed for one page of an answer: where few of them fit, the page is given before it is full."""


@dataclass(frozen=True)
class Position:
    """Where a page of an answer ended: which of the sets of walks it goes along, which walk of it, and the key there."""

    choice: int
    walk: int
    after: Key | None


@dataclass(frozen=True)
class AnswerPage:
    """Some photos of an answer, and where the next page begins; None: there are no more. It may be short, even empty, before the end."""

    photos: tuple[TaggedPhoto, ...]
    next: Position | None


def find_tagged(database: Database, query: PhotoQuery, places: Places | None = None) -> Iterator[TaggedPhoto]:
    """Yield the photos that fit, each once; those whose file is gone are left out. `places` is settings.roots.

    Names are looked up before the first photo is asked for, so a wrong one is known at once.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name that means nothing here.
    """
    with database.read() as connection:
        asked = Asked.of(connection, query, places or {})
        names = Names(connection, places or {})
        choices = tuple(choices_of(asked))
        begin = Position(shortest(connection, choices), 0, None)
    # A few of the photos passed will not do: one page that is a little larger saves a second one.
    parts = parts_of(database, choices, begin, asked, names, query.limit or PAGE)
    return islice((photo for part in parts for photo, _ in part.answers), query.limit)


def find_tagged_page(
    database: Database, query: PhotoQuery, places: Places | None, after: Position | None, limit: int
) -> AnswerPage:
    """At most `limit` of the photos that `find_tagged` gives, from where the page before ended.

    The walks that were chosen for the first page are kept, whatever came into the database since: no photo that was there
    all the time is missed or given twice.

    Raises:
        CursorInvalid: `after` is no position of this query's.
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name that means nothing here.
    """
    with database.read() as connection:
        asked = Asked.of(connection, query, places or {})
        names = Names(connection, places or {})
        choices = tuple(choices_of(asked))
        begin = after or Position(shortest(connection, choices), 0, None)
    found: list[TaggedPhoto] = []
    end: Position | None = begin  # after the last photo of a full page
    passed = 0
    for part in parts_of(database, choices, begin, asked, names, limit):
        for photo, position in part.answers:
            if len(found) == limit:
                return AnswerPage(tuple(found), end)
            found.append(photo)
            end = position
        passed += part.passed
        if passed >= PASSED_AT_MOST and part.next is not None and len(found) < limit:
            return AnswerPage(tuple(found), part.next)
    return AnswerPage(tuple(found), None)


@dataclass(frozen=True)
class Part:
    """What one page of a walk gave, each photo with the position after it; and how many rows it passed."""

    answers: Sequence[tuple[TaggedPhoto, Position]]
    passed: int
    next: Position | None


def parts_of(
    database: Database,
    choices: Sequence[Sequence[Walk]],
    begin: Position,
    asked: Asked,
    names: Names,
    limit: int,
    *,
    back: bool = False,
) -> Iterator[Part]:
    """The pages of all walks from `begin` on, or back from there."""
    walks = _walks_of(choices, begin)
    numbers = range(begin.walk, -1, -1) if back else range(begin.walk, len(walks))
    for number in numbers:
        walk = walks[number]
        conditions = asked.conditions(walk.landmark_id)
        after = begin.after if number == begin.walk else None
        over = None if number == numbers[-1] else Position(begin.choice, number + numbers.step, None)
        rows = min(PAGE, max(LEAST_PAGE, limit * 5 // 4))
        while True:
            with database.read() as connection:
                page = walk.page(connection, conditions, after, rows, back=back)
                given = _answers(connection, page, walk.landmark_id, asked, names)
            answers = [(photo, Position(begin.choice, number, walk.key(row))) for row, photo in given]
            following = over if page.after is None else Position(begin.choice, number, page.after)
            yield Part(answers, rows, following)
            if page.after is None:
                break
            after, rows = page.after, min(PAGE, 2 * rows)


def _walks_of(choices: Sequence[Sequence[Walk]], begin: Position) -> Sequence[Walk]:
    if begin.choice >= len(choices) or (begin.walk and begin.walk >= len(choices[begin.choice])):
        raise CursorInvalid
    walks = choices[begin.choice]
    if begin.after is not None and not (walks and walks[begin.walk].accepts(begin.after)):
        raise CursorInvalid
    return walks


def _answers(
    connection: Connection, page: Page, walked_landmark: int | None, asked: Asked, names: Names
) -> list[tuple[Row[Any], TaggedPhoto]]:
    tags_of = tag_rows(connection, {row.content_id for row in page.photos if row.content_id is not None})
    answers = []
    for row in page.photos:
        known = tags_of.get(row.content_id, ())
        shown = asked.shown(known, walked_landmark)
        if shown is not None:
            answers.append((row, names.photo(connection, row, known, shown)))
    return answers


def shortest(connection: Connection, choices: Sequence[Sequence[Walk]]) -> int:
    """Of the sets of walks that pass every photo wanted, the one that passes fewest others: its number."""
    left: Sequence[int] = range(len(choices))
    for cap in WALK_SIZE_CAPS:
        if len(left) == 1:
            break
        sizes = {number: _size(connection, choices[number], cap) for number in left}
        least = min(sizes.values())
        left = [number for number, size in sizes.items() if size == least]
    return left[0]


def _size(connection: Connection, walks: Sequence[Walk], cap: int) -> int:
    size = 0
    for walk in walks:
        size += walk.size(connection, cap)
        if size >= cap:
            return cap
    return size


def choices_of(asked: Asked) -> Iterator[tuple[Walk, ...]]:
    query = asked.query
    if asked.landmarks is not None:
        yield tuple(
            landmark_walk(number, any_rank=query.any_rank, min_score=query.min_score)
            for number in asked.landmarks
        )
    if query.under:
        by_path = (photos.c.path, photos.c.path_bytes)  # each range is of one root
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
