"""What follows from photos and verdicts: tags of taught landmarks, days, positions and trips."""

from collections.abc import Callable
from dataclasses import dataclass

from tagger.database.connection import Database
from tagger.errors import TaggerError
from tagger.positions.update import update_positions
from tagger.registry.registered_models import RegisteredModel, models_to_teach, preview_models
from tagger.teaching.comparison import compare_all
from tagger.teaching.learning import learn_landmarks

Progress = Callable[[str, int, int | None], None]
"""Called with what is done, and the numbers of photos that are done and of all; None: not known."""


@dataclass(frozen=True)
class Lessons:
    """The landmarks that a model has learned again, by their ids, and how many images were compared."""

    model: RegisteredModel
    learned: frozenset[int]
    compared: int


def update_consequences(
    database: Database, model: str | None, on_progress: Progress = lambda _text, _done, _total: None
) -> list[Lessons]:
    """Bring up to date what follows from photos and verdicts. It can be interrupted, and continued.

    `model`: settings.model. An error of a model does not keep positions from their update.

    Raises:
        EmbeddingsMissing, ModelFileNotFound, ModelRefused: a model cannot be taught.
    """
    lessons, problem = list[Lessons](), None
    try:
        models = models_to_teach(preview_models(database, model))
        lessons += (_learn(database, each, on_progress) for each in models)
    except TaggerError as error:
        problem = error
    update_positions(database, lambda done, total: on_progress("locating photos", done, total))
    if problem is not None:
        raise problem
    return lessons


def _learn(database: Database, model: RegisteredModel, on_progress: Progress) -> Lessons:
    learned = frozenset(learn_landmarks(database, model))
    compared = compare_all(database, model.id, lambda count: on_progress("comparing photos", count, None))
    return Lessons(model, learned, compared)
