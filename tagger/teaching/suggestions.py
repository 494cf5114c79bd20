"""What waits for a verdict: photos that may show a landmark, the most likely first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    case,
    func,
    literal_column,
    select,
    tuple_,
)

from tagger.database.connection import Database
from tagger.database.enums import TagState
from tagger.database.tables import effective_tags, models
from tagger.model.predictions import TAUGHT_THRESHOLD
from tagger.query.tagged_photos import NameCache, TaggedPhoto, first_photos, tag_rows
from tagger.roots.roots import RootPaths
from tagger.tags.contents import count_photos_of_job, has_photo

PAGE = 250
# Suggestions are counted up to this number, so that counting costs little however large the library
# is.
COUNT_LIMIT = 1000


@dataclass(frozen=True)
class ReviewPosition:
    """A suggestion: a landmark on an image, and its score."""

    landmark_id: int
    score: float
    content_id: int


def find_suggestions(
    database: Database, landmark_id: int | None, root_paths: RootPaths, limit: int | None = None
) -> Iterator[TaggedPhoto]:
    """Photos with a suggested landmark as their only tag; the best scores first.

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
    """Suggestions after a position, in order, and the position of the next page; None: the last."""
    found: list[TaggedPhoto] = []
    with database.read() as connection:
        names = NameCache(connection, root_paths)
        while rows := connection.execute(_suggested(landmark_id, start).limit(limit - len(found))).all():
            found += _photos_of(connection, names, rows)
            start = ReviewPosition(rows[-1].landmark_id, rows[-1].score, rows[-1].content_id)
            if len(found) == limit:
                return found, start
    return found, None


def count_suggestions(database: Database, landmark_id: int | None = None) -> int:
    """The number of suggestions, counted up to `COUNT_LIMIT`."""
    query = _suggested(landmark_id).where(has_photo(effective_tags.c.content_id)).limit(COUNT_LIMIT)
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(query.subquery())) or 0


def count_suggested_photos(database: Database, job: int) -> int:
    """The number of photos that a job has classified with a suggested landmark."""
    with database.read() as connection:
        return count_photos_of_job(connection, job, _IS_SUGGESTED)


# A suggestion with this score is more likely right than wrong.
LIKELY = 0.5


def has_likely_suggestion(database: Database, job: int) -> bool:
    """Whether a photo that a job has classified has a suggestion that is more likely right than wrong."""
    with database.read() as connection:
        return count_photos_of_job(connection, job, _IS_SUGGESTED, effective_tags.c.score >= LIKELY) > 0


def count_answers(database: Database) -> tuple[int, int]:
    """How many suggestions people have confirmed in this library, and how many they have answered.

    A landmark with a verdict was suggested if its score alone makes no tag.
    """
    of_model = models.c.manifest["threshold"].as_float()
    threshold = case((effective_tags.c.source == "taught", TAUGHT_THRESHOLD), else_=of_model)
    query = (
        select(func.count(), func.count().filter(effective_tags.c.state == TagState.CONFIRMED))
        .select_from(effective_tags.join(models, models.c.id == effective_tags.c.model_id))
        .where(effective_tags.c.verdict.is_not(None), effective_tags.c.score < threshold)
    )
    with database.read() as connection:
        answered, right = connection.execute(query).one()
    return right, answered


# As in the partial indexes: with a parameter, SQLite would not use them.
_IS_SUGGESTED: ColumnElement[bool] = effective_tags.c.state == literal_column(f"'{TagState.SUGGESTED}'")
_KEY = effective_tags.c.score, effective_tags.c.content_id, effective_tags.c.landmark_id


def _suggested(landmark_id: int | None, after: ReviewPosition | None = None) -> Select[Any]:
    """A query for the images for which a landmark, or this one, is suggested, the best scores first.

    No other order was found whose verdicts teach more (see docs/explanation/teaching.md).
    """
    query: Select[Any] = select(*_KEY).where(_IS_SUGGESTED).order_by(*(column.desc() for column in _KEY))
    if landmark_id is not None:
        query = query.where(effective_tags.c.landmark_id == landmark_id)
    if after is not None:
        query = query.where(tuple_(*_KEY) < tuple_(after.score, after.content_id, after.landmark_id))
    return query


def _photos_of(connection: Connection, names: NameCache, found: Sequence[Row[Any]]) -> Iterator[TaggedPhoto]:
    """The first photo of the image of each of these rows, with the landmark as its only tag."""
    content_ids = {row.content_id for row in found}
    rows, tags_of = first_photos(connection, content_ids), tag_rows(connection, content_ids)
    for each in found:
        photo_tags = tags_of.get(each.content_id, ())
        selected = [tag for tag in photo_tags if tag.landmark_id == each.landmark_id]
        if each.content_id in rows and selected:
            yield names.photo(connection, rows[each.content_id], photo_tags, selected)
