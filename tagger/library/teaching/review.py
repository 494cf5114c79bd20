"""The review queue: what waits for a person's verdict, one photo and landmark after the other.

First suggestions, in the order of `tagger suggestions`; then tags of the model that are accepted with a score below `SURE_SCORE`,
the lowest first. Tags that a position made sure are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, exists, func, select, true, tuple_

from tagger.database.connection import Database
from tagger.database.tables import photos, tags, verdicts
from tagger.library.catalog.dismissals import is_dismissed
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.tagged_photos import NameCache, TaggedPhoto, select_photos, tag_rows
from tagger.library.teaching.classifiers import ACCEPTED_SCORE
from tagger.library.teaching.suggestions import SuggestionPosition, count_suggestions, suggestion_page

SURE_SCORE = ACCEPTED_SCORE
"""Tags of the model with at least this score are not reviewed, nor are those of taught landmarks, which need it."""
COUNT_LIMIT = 1000
"""Entries are counted up to this number, so that counting costs little however large the library is."""


@dataclass(frozen=True)
class ReviewPosition:
    """An entry of the queue: a landmark on an image, and its score."""

    is_suggestion: bool
    landmark_id: int
    score: float
    content_id: int


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
    if after is None or after.is_suggestion:
        start = _suggestion_position(after)
        found, end = suggestion_page(database, landmark_id, root_paths, start, 1)
        if found and end is not None:
            return ReviewEntry(found[0], ReviewPosition(True, end.landmark_id, end.score, end.content_id))
        after = None
    return _next_tag(database, landmark_id, root_paths, after)


def count_to_review(
    database: Database, landmark_id: int | None = None, after: ReviewPosition | None = None
) -> int:
    """The number of entries after a position, counted up to `COUNT_LIMIT`."""
    count = 0
    with database.read() as connection:
        if after is None or after.is_suggestion:
            count = count_suggestions(connection, landmark_id, _suggestion_position(after), COUNT_LIMIT)
            after = None
        tag_query = _open_tags(landmark_id, after).limit(COUNT_LIMIT - count).subquery()
        return count + (connection.scalar(select(func.count()).select_from(tag_query)) or 0)


def _suggestion_position(position: ReviewPosition | None) -> SuggestionPosition | None:
    if position is None:
        return None
    return SuggestionPosition(position.landmark_id, position.score, position.content_id)


def _next_tag(
    database: Database, landmark_id: int | None, root_paths: RootPaths, after: ReviewPosition | None
) -> ReviewEntry | None:
    with database.read() as connection:
        found = connection.execute(_open_tags(landmark_id, after).limit(1)).one_or_none()
        if found is None:
            return None
        query = select_photos().where(photos.c.content_id == found.content_id, photos.c.gone_since.is_(None))
        row = connection.execute(query.order_by(photos.c.id.desc()).limit(1)).one()
        photo_tags: Sequence[Any] = tag_rows(connection, [found.content_id])[found.content_id]
        selected = [tag for tag in photo_tags if tag.landmark_id == found.landmark_id]
        photo = NameCache(connection, root_paths).photo(connection, row, photo_tags, selected)
    return ReviewEntry(photo, ReviewPosition(False, found.landmark_id, found.score, found.content_id))


def _open_tags(landmark_id: int | None, after: ReviewPosition | None) -> Select[Any]:
    """A query for accepted tags of the model that are not sure and have no verdict, the lowest scores first."""
    has_verdict = exists().where(
        verdicts.c.content_id == tags.c.content_id, verdicts.c.landmark_id == tags.c.landmark_id
    )
    is_present = exists().where(photos.c.content_id == tags.c.content_id, photos.c.gone_since.is_(None))
    key = tags.c.score, tags.c.content_id, tags.c.landmark_id
    query: Select[Any] = (
        select(*key)
        .where(tags.c.accepted == true(), tags.c.score < SURE_SCORE, tags.c.position_odds.is_(None))
        .where(~has_verdict, ~is_dismissed(tags.c.content_id), is_present)
        .order_by(*key)
    )
    if landmark_id is not None:
        query = query.where(tags.c.landmark_id == landmark_id)
    if after is not None:
        query = query.where(tuple_(*key) > tuple_(after.score, after.content_id, after.landmark_id))
    return query
