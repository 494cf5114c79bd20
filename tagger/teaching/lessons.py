"""Teaching a landmark from photos, for `tagger teach`, the API and Python alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tagger.database.connection import Database
from tagger.errors import ArgumentInvalid, ExamplesMissing
from tagger.landmarks.edits import NewLandmark, find_or_add_landmark
from tagger.landmarks.landmarks import Landmark
from tagger.photos.paths import printable_path
from tagger.positions.update import update_positions
from tagger.registry.registered_models import RegisteredModel
from tagger.teaching.comparison import Progress
from tagger.teaching.examples import Example, NamedOtherwise, named_otherwise
from tagger.teaching.learning import TaughtState, taught_state, undo_command, update_taught
from tagger.texts.documents import document_of
from tagger.texts.text_format import gettext
from tagger.verdicts.service import give_examples


@dataclass(frozen=True)
class Lesson:
    """Photos that are confirmed and photos that are rejected. Those `left_out` cannot be examples."""

    confirmed: Sequence[Example]
    rejected: Sequence[Example]
    left_out: Sequence[Example]


def lesson_of(
    confirmed: Sequence[Example], rejected: Sequence[Example], *, may_be_empty: bool = False
) -> Lesson:
    """The lesson of photos that show the landmark, and of photos that do not.

    Raises:
        ArgumentInvalid: a photo, or a copy of it, is in both.
        ExamplesMissing: none of the photos can be an example.
    """
    left_out = [each for each in (*confirmed, *rejected) if each.content_id is None]
    confirmed, rejected = (
        [each for each in group if each.content_id is not None] for group in (confirmed, rejected)
    )
    counter_examples = {each.content_id for each in rejected}
    for each in confirmed:
        if each.content_id in counter_examples:
            reason = gettext("a photo, or a copy of it, cannot both show the landmark and not show it")
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
        undo = undo_command(self.landmark, self.state)
        facts = {"named_otherwise": self.named_otherwise, "compared": self.compared, "undo": undo}
        seconds = round(self.seconds, 3)
        return document_of(TaughtDocument, self.state, landmark=self.landmark.slug, seconds=seconds, **facts)


def teach(
    database: Database,
    model: RegisteredModel,
    new: NewLandmark,
    lesson: Lesson,
    by: str | None,
    *,
    may_add: bool = True,
    on_progress: Progress = lambda _count: None,
) -> Taught:
    """Confirm and reject the photos of a lesson, learn the landmark, and compare all photos with it.

    Raises:
        LandmarkNotFound: there is no such landmark, and it may not be added, or nothing is confirmed.
        LandmarkAmbiguous, LandmarkInvalid, LandmarkExists: as `find_or_add_landmark`.
        EmbeddingsMissing, ModelFileNotFound, ModelRefused: the model cannot be taught.
    """
    started_at = time.monotonic()
    landmark, _ = find_or_add_landmark(database, new, may_add=may_add and bool(lesson.confirmed))
    confirmed, rejected = ([each.photo_id for each in group] for group in (lesson.confirmed, lesson.rejected))
    give_examples(database, landmark.slug, confirmed, rejected, by)
    compared = update_taught(database, model, [landmark.id], on_progress).compared
    update_positions(database)
    state = taught_state(database, model, landmark)
    otherwise = named_otherwise(database, landmark.id, lesson.confirmed)
    return Taught(landmark, state, otherwise, compared, time.monotonic() - started_at)
