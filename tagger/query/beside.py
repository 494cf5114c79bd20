"""The photos before and after one in an answer, found from the photo itself: its place in a walk is told by its own rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from tagger.database import Database
from tagger.query import find
from tagger.query.find import Part, Position, choices_of, parts_of, shortest
from tagger.query.tagged import Names, photo_rows, tag_rows
from tagger.query.walks import Key, Walk
from tagger.query.wanted import Asked, PhotoQuery
from tagger.roots import Places
from tagger.tables import photos


@dataclass(frozen=True)
class Beside:
    """The numbers of the photos before and after one; None: there is none, or it is too far to be looked for."""

    previous: int | None = None
    following: int | None = None


def find_beside(database: Database, query: PhotoQuery, places: Places | None, photo_id: int) -> Beside:
    """The photos before and after one in what `find_tagged` gives. One that no longer fits has those it stood between.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name that means nothing here.
    """
    with database.read() as connection:
        asked = Asked.of(connection, query, places or {})
        names = Names(connection, places or {})
        choices = tuple(choices_of(asked))
        choice = shortest(connection, choices)
        here = _place(connection, photo_id, asked, choices[choice])
    if here is None:
        return Beside()
    begin = Position(choice, *here)
    return Beside(
        previous=_first(parts_of(database, choices, begin, asked, names, 1, back=True)),
        following=_first(parts_of(database, choices, begin, asked, names, 1)),
    )


def _place(
    connection: Connection, photo_id: int, asked: Asked, walks: Sequence[Walk]
) -> tuple[int, Key] | None:
    """Along which of the walks the photo is met, and its key there."""
    row = connection.execute(photo_rows().where(photos.c.id == photo_id)).one_or_none()
    if row is None:
        return None
    known = tag_rows(connection, [] if row.content_id is None else [row.content_id]).get(row.content_id, ())
    judged = {tag.landmark_id for tag in known if tag.verdict}
    seen = {tag.landmark_id for tag in known}

    def unlikeliness(number: int) -> tuple[bool, ...]:
        landmark = walks[number].landmark_id
        return asked.shown(known, landmark) is None, landmark not in judged, landmark not in seen

    passing = (number for number, walk in enumerate(walks) if walk.passes(connection, row))
    number = min(passing, key=unlikeliness, default=None)
    return None if number is None else (number, walks[number].key(row))


def _first(parts: Iterator[Part]) -> int | None:
    passed = 0
    for part in parts:
        if part.answers:
            return part.answers[0][0].id
        passed += part.passed
        if passed >= find.PASSED_AT_MOST:
            break
    return None
