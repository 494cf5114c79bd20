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
    literal,
    null,
    or_,
    select,
    true,
    tuple_,
)

from tagger.database.connection import Database
from tagger.database.tables import landmarks, tags, taught_tags
from tagger.errors import CursorInvalid
from tagger.library.catalog.contents import (
    has_photo,
    has_verdict_on,
    is_dismissed,
    is_tagged_by_model,
    is_undecided,
)
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.tagged_photos import NameCache, TaggedPhoto, first_photos, tag_rows
from tagger.library.teaching.comparison import is_suggestion
from tagger.model.predictions import TAUGHT_THRESHOLD

PAGE = 250


@dataclass(frozen=True)
class ReviewPosition:
    """An entry of the queue, or a suggestion: a landmark on an image, and its score."""

    is_suggestion: bool
    landmark_id: int
    score: float
    content_id: int

    @property
    def cursor(self) -> str:
        """The position as text for web addresses."""
        kind = "s" if self.is_suggestion else "t"
        return f"{kind}_{self.landmark_id}_{self.score!r}_{self.content_id}"

    @classmethod
    def of_cursor(cls, cursor: str) -> Self:
        """The position in a cursor.

        Raises:
            CursorInvalid: the text is no cursor.
        """
        try:
            kind, landmark_id, score, content_id = cursor.split("_")
            position = cls({"s": True, "t": False}[kind], int(landmark_id), float(score), int(content_id))
        except (ValueError, KeyError) as error:
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
                found += _page(connection, names, [row.content_id for row in rows], each)
                after = ReviewPosition(True, each, rows[-1].score, rows[-1].content_id)
                if len(found) == limit:
                    return found, after
    return found, None


def count_suggestions(
    connection: Connection, landmark_id: int | None, start: ReviewPosition | None, limit: int
) -> int:
    """The number of suggestions after a position, in the order of `suggestion_page`, counted up to `limit`."""
    query = select(taught_tags.c.content_id).where(_is_open(), has_photo(taught_tags.c.content_id))
    if landmark_id is not None:
        query = query.where(taught_tags.c.landmark_id == landmark_id)
    if start is not None:
        first = select(landmarks.c.slug).where(landmarks.c.id == start.landmark_id).scalar_subquery()
        later = taught_tags.c.landmark_id.in_(select(landmarks.c.id).where(landmarks.c.slug > first))
        query = query.where(
            or_(later, and_(taught_tags.c.landmark_id == start.landmark_id, _is_after(start)))
        )
    return connection.scalar(select(func.count()).select_from(query.limit(limit).subquery())) or 0


SURE_SCORE = TAUGHT_THRESHOLD
"""Tags of the model with at least this score are not reviewed, nor are those of taught landmarks, which need it."""
COUNT_LIMIT = 1000
"""Entries are counted up to this number, so that counting costs little however large the library is."""


@dataclass(frozen=True)
class ReviewEntry:
    """A photo with the landmark to confirm or reject as its only tag."""

    photo: TaggedPhoto
    position: ReviewPosition


def next_to_review(
    database: Database, landmark_id: int | None, root_paths: RootPaths, after: ReviewPosition | None
) -> ReviewEntry | None:
    """The first entry after a position: of one landmark, or of all; None: there is none.

    Raises:
        CursorInvalid: the position is of a landmark that is gone.
    """
    if after is None or not after.is_suggestion:
        with database.read() as connection:
            query = _open_tags(landmark_id, after).limit(1)
            for tag, photo in _tagged_photos(connection, root_paths, connection.execute(query).all()):
                return ReviewEntry(photo, ReviewPosition(False, tag.landmark_id, tag.score, tag.content_id))
        after = None
    found, end = suggestion_page(database, landmark_id, root_paths, after, 1)
    return None if end is None else ReviewEntry(found[0], end)


def first_to_review(
    database: Database, landmark_id: int | None, root_paths: RootPaths, limit: int
) -> list[TaggedPhoto]:
    """The photos of the first entries, each with the landmark to confirm or reject as its only tag."""
    with database.read() as connection:
        tagged = connection.execute(_open_tags(landmark_id, None).limit(limit)).all()
        found = [photo for _, photo in _tagged_photos(connection, root_paths, tagged)]
    if len(found) == limit:
        return found
    return [*found, *suggestion_page(database, landmark_id, root_paths, None, limit - len(found))[0]]


def count_to_review(
    database: Database, landmark_id: int | None = None, after: ReviewPosition | None = None
) -> int:
    """The number of entries after a position, counted up to `COUNT_LIMIT`."""
    count = 0
    with database.read() as connection:
        if after is None or not after.is_suggestion:
            tag_query = _open_tags(landmark_id, after).limit(COUNT_LIMIT).subquery()
            count = connection.scalar(select(func.count()).select_from(tag_query)) or 0
            after = None
        return count + count_suggestions(connection, landmark_id, after, COUNT_LIMIT - count)


def _from_landmark(connection: Connection, landmark_ids: Sequence[int], first: int) -> list[int]:
    """The landmarks from the first one on, in the order of their slugs; it need not be among them."""
    query = select(landmarks.c.id, landmarks.c.slug).where(landmarks.c.id.in_([*landmark_ids, first]))
    slugs = {row.id: row.slug for row in connection.execute(query)}
    if first not in slugs:
        raise CursorInvalid
    return [each for each in landmark_ids if slugs[each] >= slugs[first]]


def _landmarks(connection: Connection) -> Sequence[int]:
    """The ids of landmarks with suggestions, in the order of their slugs."""
    has_suggestion = exists().where(taught_tags.c.landmark_id == landmarks.c.id, is_suggestion())
    query = select(landmarks.c.id).where(has_suggestion).order_by(landmarks.c.slug)
    return connection.scalars(query).all()


def _suggested(landmark_id: int, after: ReviewPosition | None = None) -> Select[Any]:
    """A query for the images for which the landmark is suggested, without a verdict or a tag, the best scores first.

    No other order was found whose verdicts teach more (see docs/explanation/teaching.md).
    """
    query: Select[Any] = select(taught_tags.c.content_id, taught_tags.c.score).where(
        taught_tags.c.landmark_id == landmark_id, _is_open()
    )
    if after is not None:
        query = query.where(_is_after(after))
    return query.order_by(taught_tags.c.score.desc(), taught_tags.c.content_id)


def _is_open() -> ColumnElement[bool]:
    """The condition on `taught_tags` that it is a suggestion without a verdict or a tag."""
    is_open = ~or_(has_verdict_on(taught_tags), is_dismissed(taught_tags.c.content_id))
    return and_(is_suggestion(), is_open, ~is_tagged_by_model())


def _is_after(position: ReviewPosition) -> ColumnElement[bool]:
    """The condition on `taught_tags` that it comes after this suggestion among those of its landmark."""
    is_same = and_(taught_tags.c.score == position.score, taught_tags.c.content_id > position.content_id)
    return or_(taught_tags.c.score < position.score, is_same)


def _page(
    connection: Connection, names: NameCache, content_ids: Sequence[int], landmark_id: int
) -> Iterator[TaggedPhoto]:
    rows = first_photos(connection, content_ids)
    tags_of, suggested = tag_rows(connection, content_ids), _tags(connection, content_ids, landmark_id)
    for content_id in content_ids:
        if content_id in rows and content_id in suggested:
            photo_tags = tags_of.get(content_id, ())
            yield names.photo(connection, rows[content_id], photo_tags, [suggested[content_id]])


def _tags(connection: Connection, content_ids: Sequence[int], landmark_id: int) -> dict[int, Row[Any]]:
    """The suggestions by content id, as effective tags. That of a landmark of the model has the model's score instead."""
    query = select(
        taught_tags.c.content_id,
        taught_tags.c.landmark_id,
        null().label("rank"),
        taught_tags.c.score,
        taught_tags.c.model_id,
        literal("taught").label("source"),
        null().label("verdict"),
        taught_tags.c.accepted,
        taught_tags.c.pack,
        null().label("doubtful"),
        taught_tags.c.position_odds,
        taught_tags.c.distance_m,
    ).where(taught_tags.c.content_id.in_(content_ids), taught_tags.c.landmark_id == landmark_id)
    return {row.content_id: row for row in connection.execute(query)}


def _tagged_photos(
    connection: Connection, root_paths: RootPaths, found: Sequence[Row[Any]]
) -> Iterator[tuple[Row[Any], TaggedPhoto]]:
    """Rows of `_open_tags`, each with its photo: the first one of copies."""
    content_ids = {tag.content_id for tag in found}
    rows = first_photos(connection, content_ids)
    tags_of, names = tag_rows(connection, content_ids), NameCache(connection, root_paths)
    for tag in found:
        photo_tags: Sequence[Any] = tags_of[tag.content_id]
        selected = [each for each in photo_tags if each.landmark_id == tag.landmark_id]
        yield tag, names.photo(connection, rows[tag.content_id], photo_tags, selected)


def _open_tags(landmark_id: int | None, after: ReviewPosition | None) -> Select[Any]:
    """A query for accepted tags of the model that are not sure and have no verdict, the highest scores first."""
    key = tags.c.score, tags.c.content_id, tags.c.landmark_id
    query: Select[Any] = (
        select(*key)
        .where(tags.c.accepted == true(), tags.c.score < SURE_SCORE, tags.c.position_odds.is_(None))
        .where(is_undecided(tags), has_photo(tags.c.content_id))
        .order_by(*(column.desc() for column in key))
    )
    if landmark_id is not None:
        query = query.where(tags.c.landmark_id == landmark_id)
    if after is not None:
        query = query.where(tuple_(*key) < tuple_(after.score, after.content_id, after.landmark_id))
    return query
