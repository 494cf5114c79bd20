"""What waits for a person's verdict: photos that probably show a taught landmark, and the queue of the review.

The queue has one photo and landmark after the other, what is probable first: tags of the model that are accepted with a score below
`SURE_SCORE`, the highest first, then suggestions in the order of `tagger review`. Tags that a position made sure are left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
)

from tagger.database.connection import Database
from tagger.database.enums import TagState
from tagger.database.tables import effective_tags, landmarks
from tagger.errors import CursorInvalid
from tagger.library.catalog.contents import has_photo
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.tagged_photos import NameCache, TaggedPhoto, first_photos, tag_rows
from tagger.model.predictions import TAUGHT_THRESHOLD

PAGE = 250


@dataclass(frozen=True)
class ReviewPosition:
    """A suggestion: a landmark on an image, and its score."""

    landmark_id: int
    score: float
    content_id: int

    @property
    def cursor(self) -> str:
        """The position as text for web addresses."""
        return f"s_{self.landmark_id}_{self.score!r}_{self.content_id}"

    @classmethod
    def of_cursor(cls, cursor: str) -> Self:
        """The position in a cursor.

        Raises:
            CursorInvalid: the text is no cursor.
        """
        try:
            landmark_id, score, content_id = cursor.removeprefix("s_").split("_")
            position = cls(int(landmark_id), float(score), int(content_id))
        except ValueError as error:
            raise CursorInvalid from error
        ids = (position.landmark_id, position.content_id)
        if not (0 <= position.score <= 1 and min(ids) >= 0 and max(ids) < 2**63):
            raise CursorInvalid
        return position


def find_suggestions(
    database: Database, landmark_id: int | None, root_paths: RootPaths, limit: int | None = None
) -> Iterator[TaggedPhoto]:
    """Photos with a suggested landmark as their only tag, landmark by landmark; the best scores first.

    A photo with several suggested landmarks is listed for each. Of copies of an image, one is listed.
    """

    def photos() -> Iterator[TaggedPhoto]:
        page, end = suggestion_page(database, landmark_id, root_paths, None, PAGE)
        yield from page
        while end is not None:
            page, end = suggestion_page(database, landmark_id, root_paths, end, PAGE)
            yield from page

    return islice(photos(), limit)


def suggestion_page(
    database: Database,
    landmark_id: int | None,
    root_paths: RootPaths,
    start: ReviewPosition | None,
    limit: int,
) -> tuple[list[TaggedPhoto], ReviewPosition | None]:
    """Suggestions after a position, in the order of `find_suggestions`, and the position of the next page; None: the last.

    Raises:
        CursorInvalid: the position is of another landmark, or of one that is gone.
    """
    with database.read() as connection:
        names = NameCache(connection, root_paths)
        landmark_ids = [*_landmarks(connection)] if landmark_id is None else [landmark_id]
        found: list[TaggedPhoto] = []
        if start is not None:
            landmark_ids = _from_landmark(connection, landmark_ids, start.landmark_id)
        for each in landmark_ids:
            after = start if start is not None and start.landmark_id == each else None
            while rows := connection.execute(_suggested(each, after).limit(limit - len(found))).all():
                found += (photo for _, photo in _photos_of(connection, names, rows, each))
                after = ReviewPosition(each, rows[-1].score, rows[-1].content_id)
                if len(found) == limit:
                    return found, after
    return found, None


def count_suggestions(connection: Connection, landmark_id: int | None, limit: int) -> int:
    """The number of suggestions, counted up to `limit`."""
    query = select(effective_tags.c.content_id).where(_IS_SUGGESTED, has_photo(effective_tags.c.content_id))
    if landmark_id is not None:
        query = query.where(effective_tags.c.landmark_id == landmark_id)
    return connection.scalar(select(func.count()).select_from(query.limit(limit).subquery())) or 0


SURE_SCORE = TAUGHT_THRESHOLD
"""Tags of the model with at least this score are not reviewed, nor are those of taught landmarks, which need it."""
COUNT_LIMIT = 1000
"""Entries are counted up to this number, so that counting costs little however large the library is."""


def first_to_review(
    database: Database, landmark_id: int | None, root_paths: RootPaths, limit: int
) -> list[TaggedPhoto]:
    """The photos of the first entries, each with the landmark to confirm or reject as its only tag."""
    with database.read() as connection:
        tagged = connection.execute(_open_tags(landmark_id).limit(limit)).all()
        names = NameCache(connection, root_paths)
        found = [photo for _, photo in _photos_of(connection, names, tagged)]
    if len(found) == limit:
        return found
    return [*found, *suggestion_page(database, landmark_id, root_paths, None, limit - len(found))[0]]


def count_to_review(database: Database, landmark_id: int | None = None) -> int:
    """The number of entries, counted up to `COUNT_LIMIT`."""
    with database.read() as connection:
        tag_query = _open_tags(landmark_id).limit(COUNT_LIMIT).subquery()
        count = connection.scalar(select(func.count()).select_from(tag_query)) or 0
        return count + count_suggestions(connection, landmark_id, COUNT_LIMIT - count)


def _from_landmark(connection: Connection, landmark_ids: Sequence[int], first: int) -> list[int]:
    """The landmarks from the first one on, in the order of their slugs; it need not be among them."""
    query = select(landmarks.c.id, landmarks.c.slug).where(landmarks.c.id.in_([*landmark_ids, first]))
    slugs = {row.id: row.slug for row in connection.execute(query)}
    if first not in slugs:
        raise CursorInvalid
    return [each for each in landmark_ids if slugs[each] >= slugs[first]]


def _landmarks(connection: Connection) -> Sequence[int]:
    """The ids of landmarks with suggestions, in the order of their slugs."""
    has_suggestion = exists().where(effective_tags.c.landmark_id == landmarks.c.id, _IS_SUGGESTED)
    query = select(landmarks.c.id).where(has_suggestion).order_by(landmarks.c.slug)
    return connection.scalars(query).all()


def _suggested(landmark_id: int, after: ReviewPosition | None = None) -> Select[Any]:
    """A query for the images for which the landmark is suggested, without a verdict or a tag, the best scores first.

    No other order was found whose verdicts teach more (see docs/explanation/teaching.md).
    """
    query: Select[Any] = select(effective_tags.c.content_id, effective_tags.c.score).where(
        effective_tags.c.landmark_id == landmark_id, _IS_SUGGESTED
    )
    if after is not None:
        query = query.where(_is_after(after))
    return query.order_by(effective_tags.c.score.desc(), effective_tags.c.content_id)


# As in the partial index: with a parameter, SQLite would not use it.
_IS_SUGGESTED = effective_tags.c.state == literal_column(f"'{TagState.SUGGESTED}'")


def _is_after(position: ReviewPosition) -> ColumnElement[bool]:
    """The condition that a suggestion comes after this one among those of its landmark."""
    score, content_id = effective_tags.c.score, effective_tags.c.content_id
    return or_(score < position.score, and_(score == position.score, content_id > position.content_id))


def _photos_of(
    connection: Connection, names: NameCache, found: Sequence[Row[Any]], landmark_id: int | None = None
) -> Iterator[tuple[Row[Any], TaggedPhoto]]:
    """These rows, each with the first photo of its image, and with its landmark, or this one, as the only tag of that."""
    content_ids = {row.content_id for row in found}
    rows, tags_of = first_photos(connection, content_ids), tag_rows(connection, content_ids)
    for each in found:
        photo_tags = tags_of.get(each.content_id, ())
        landmark = each.landmark_id if landmark_id is None else landmark_id
        selected = [tag for tag in photo_tags if tag.landmark_id == landmark]
        if each.content_id in rows and selected:
            yield each, names.photo(connection, rows[each.content_id], photo_tags, selected)


def _open_tags(landmark_id: int | None) -> Select[Any]:
    """A query for accepted tags of the model that are not sure and have no verdict, the highest scores first."""
    key = effective_tags.c.score, effective_tags.c.content_id, effective_tags.c.landmark_id
    query: Select[Any] = (
        select(*key)
        .where(
            effective_tags.c.accepted == true(),
            effective_tags.c.score < SURE_SCORE,
            effective_tags.c.state == TagState.ACCEPTED,
            effective_tags.c.source == "model",
            effective_tags.c.reason.is_(None),
            has_photo(effective_tags.c.content_id),
        )
        .order_by(*(column.desc() for column in key))
    )
    if landmark_id is not None:
        query = query.where(effective_tags.c.landmark_id == landmark_id)
    return query
