"""What people do about places of their own: they teach a landmark, and answer suggestions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    func,
    literal_column,
    select,
    tuple_,
)

from tagger.database import TagState
from tagger.database.connection import Database
from tagger.database.tables import effective_tags
from tagger.errors import ArgumentInvalid, ExamplesMissing, TaggerError
from tagger.kept.update import Progress, update_kept
from tagger.landmarks import Landmark
from tagger.landmarks.edits import NewLandmark, find_or_add_landmark
from tagger.photos.paths import printable_path
from tagger.query.tagged_photos import NameCache, TaggedPhoto, first_photos, tag_rows
from tagger.registry import (
    RegisteredModel,
    models_to_teach,
    preview_models,
)
from tagger.roots import RootPaths
from tagger.tags import count_photos_of_job, has_photo
from tagger.teaching.comparison import CountProgress
from tagger.teaching.learning import (
    Example,
    Lessons,
    NamedOtherwise,
    TaughtState,
    named_otherwise,
    taught_state,
    undo_command,
    update_taught,
)
from tagger.teaching.looks import update_looks
from tagger.teaching.similarity import update_sketches
from tagger.texts import document_of
from tagger.texts.text_format import gettext
from tagger.verdicts import give_examples

# Teaching a landmark from photos, for `tagger teach`, the API and Python alike.


@dataclass(frozen=True)
class Lesson:
    """Photos that are confirmed and photos that are rejected. Those `left_out` cannot be examples."""

    confirmed: Sequence[Example]
    rejected: Sequence[Example]
    left_out: Sequence[Example]


def lesson_of(
    confirmed: Sequence[Example],
    rejected: Sequence[Example],
    *,
    may_be_empty: bool = False,
) -> Lesson:
    """The lesson of photos that show the landmark, and of photos that do not.

    Raises:
        ArgumentInvalid: a photo, or a copy of it, is in both.
        ExamplesMissing: none of the photos can be an example.
    """
    left_out = [each for each in (*confirmed, *rejected) if each.content_id is None]
    confirmed, rejected = (
        [each for each in group if each.content_id is not None]
        for group in (confirmed, rejected)
    )
    counter_examples = {each.content_id for each in rejected}
    for each in confirmed:
        if each.content_id in counter_examples:
            reason = gettext(
                "a photo, or a copy of it, cannot both show the landmark and not show it"
            )
            raise ArgumentInvalid(argument=printable_path(each.path), reason=reason)
    if not (may_be_empty or confirmed or rejected):
        raise ExamplesMissing
    return Lesson(confirmed, rejected, left_out)


@dataclass(frozen=True)
class TaughtDocument:
    """A landmark after it was taught: from `examples`, with all photos `compared`, and what was found.

    `precision`: the part of the tagged photos that is probably right. `named_otherwise`: what the model gives
    examples. `doubtful` and `kept`: see `TaughtState`. `undo`: the command that takes all back.
    """

    landmark: str
    examples: int
    rejected: int
    compared: int
    tagged: int
    suggested: int
    precision: float | None
    named_otherwise: Sequence[NamedOtherwise]
    seconds: float
    doubtful: Sequence[NamedOtherwise]
    kept: Sequence[NamedOtherwise]
    undo: str


@dataclass(frozen=True)
class Taught:
    """What is known of a landmark after a lesson. `compared`: the number of images."""

    landmark: Landmark
    state: TaughtState
    named_otherwise: Sequence[NamedOtherwise]
    compared: int
    seconds: float

    @property
    def document(self) -> TaughtDocument:
        return document_of(
            TaughtDocument,
            self.state,
            landmark=self.landmark.slug,
            named_otherwise=self.named_otherwise,
            compared=self.compared,
            undo=undo_command(self.landmark, self.state),
            seconds=round(self.seconds, 3),
        )


def teach(
    database: Database,
    model: RegisteredModel,
    new: NewLandmark,
    lesson: Lesson,
    by: str | None,
    *,
    may_add: bool = True,
    on_progress: CountProgress = lambda _count: None,
) -> Taught:
    """Confirm and reject the photos of a lesson, learn the landmark, and compare all photos with it.

    Raises:
        LandmarkNotFound: there is no such landmark, and it may not be added, or nothing is confirmed.
        LandmarkAmbiguous, LandmarkInvalid, LandmarkExists: as `find_or_add_landmark`.
        EmbeddingsMissing, ModelFileNotFound, ModelRefused: the model cannot be taught.
    """
    started_at = time.monotonic()
    landmark, _ = find_or_add_landmark(
        database, new, may_add=may_add and bool(lesson.confirmed)
    )
    confirmed, rejected = (
        [each.photo_id for each in group]
        for group in (lesson.confirmed, lesson.rejected)
    )
    give_examples(database, landmark.slug, confirmed, rejected, by)
    compared = update_taught(database, model, [landmark.id], on_progress).compared
    update_kept(database)
    state = taught_state(database, model, landmark)
    return Taught(
        landmark,
        state,
        named_otherwise(database, landmark.id, lesson.confirmed),
        compared,
        time.monotonic() - started_at,
    )


def update_consequences(
    database: Database,
    model: str | None,
    on_progress: Progress = lambda _text, _done, _total: None,
) -> list[Lessons]:
    """Bring up to date what follows from photos and verdicts. It can be interrupted, and continued.

    `model`: settings.model. An error of a model does not keep positions from their update.

    Raises:
        EmbeddingsMissing, ModelFileNotFound, ModelRefused: a model cannot be taught.
    """

    def compared(count: int) -> None:
        on_progress("comparing photos", count, None)

    lessons, problem = list[Lessons](), None
    taught: Sequence[RegisteredModel] = ()
    try:
        models = preview_models(database, model)
        taught = models_to_teach(models)
        for each in taught:
            lessons.append(update_taught(database, each, on_progress=compared))
        update_sketches(database, models)
    except TaggerError as error:
        problem = error
    update_kept(database, on_progress)
    if problem is not None:
        raise problem
    if taught and taught[0].id:  # 0: no model is registered yet
        update_looks(database, taught[0], on_progress)
    return lessons


# What waits for a verdict: photos that may show a landmark, the most likely first.

PAGE = 250
# Suggestions are counted up to this number, so that counting costs little however large the library
# is.
COUNT_LIMIT = 1000


@dataclass(frozen=True)
class ReviewPosition:
    landmark_id: int
    score: float
    content_id: int


def find_suggestions(
    database: Database,
    landmark_id: int | None,
    root_paths: RootPaths,
    limit: int | None = None,
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
        while rows := connection.execute(
            _suggested(landmark_id, start).limit(limit - len(found))
        ).all():
            found += _photos_of(connection, names, rows)
            start = ReviewPosition(
                rows[-1].landmark_id, rows[-1].score, rows[-1].content_id
            )
            if len(found) == limit:
                return found, start
    return found, None


def count_suggestions(database: Database, landmark_id: int | None = None) -> int:
    with database.read() as connection:
        return (
            connection.scalar(
                select(func.count()).select_from(
                    _suggested(landmark_id)
                    .where(has_photo(effective_tags.c.content_id))
                    .limit(COUNT_LIMIT)
                    .subquery()
                )
            )
            or 0
        )


def count_suggested_photos(database: Database, job: int) -> int:
    with database.read() as connection:
        return count_photos_of_job(connection, job, _IS_SUGGESTED)


# A suggestion with this score is more likely right than wrong.
LIKELY = 0.5


def has_likely_suggestion(database: Database, job: int) -> bool:
    with database.read() as connection:
        return (
            count_photos_of_job(
                connection, job, _IS_SUGGESTED, effective_tags.c.score >= LIKELY
            )
            > 0
        )


# As in the partial indexes: with a parameter, SQLite would not use them.
_IS_SUGGESTED: ColumnElement[bool] = effective_tags.c.state == literal_column(
    f"'{TagState.SUGGESTED}'"
)
_KEY = effective_tags.c.score, effective_tags.c.content_id, effective_tags.c.landmark_id


def _suggested(
    landmark_id: int | None, after: ReviewPosition | None = None
) -> Select[Any]:
    # A query for the images for which a landmark, or this one, is suggested, the best scores first.
    #
    # No other order was found whose verdicts teach more (see docs/explanation/teaching.md).
    query: Select[Any] = (
        select(*_KEY).where(_IS_SUGGESTED).order_by(*(column.desc() for column in _KEY))
    )
    if landmark_id is not None:
        query = query.where(effective_tags.c.landmark_id == landmark_id)
    if after is not None:
        query = query.where(
            tuple_(*_KEY) < tuple_(after.score, after.content_id, after.landmark_id)
        )
    return query


def _photos_of(
    connection: Connection, names: NameCache, found: Sequence[Row[Any]]
) -> Iterator[TaggedPhoto]:
    # The first photo of the image of each of these rows, with the landmark as its only tag.
    content_ids = {row.content_id for row in found}
    rows, tags_of = (
        first_photos(connection, content_ids),
        tag_rows(connection, content_ids),
    )
    for each in found:
        photo_tags = tags_of.get(each.content_id, ())
        selected = [tag for tag in photo_tags if tag.landmark_id == each.landmark_id]
        if each.content_id in rows and selected:
            yield names.photo(connection, rows[each.content_id], photo_tags, selected)
