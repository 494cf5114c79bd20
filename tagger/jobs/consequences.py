"""What follows from photos and verdicts: tags of taught landmarks, days, positions and trips."""

from tagger.database.connection import Database
from tagger.errors import TaggerError
from tagger.positions.update import Progress, update_positions
from tagger.registry.registered_models import models_to_teach, preview_models
from tagger.teaching.learning import Lessons, update_taught
from tagger.teaching.similarity import update_sketches


def update_consequences(
    database: Database, model: str | None, on_progress: Progress = lambda _text, _done, _total: None
) -> list[Lessons]:
    """Bring up to date what follows from photos and verdicts. It can be interrupted, and continued.

    `model`: settings.model. An error of a model does not keep positions from their update.

    Raises:
        EmbeddingsMissing, ModelFileNotFound, ModelRefused: a model cannot be taught.
    """

    def compared(count: int) -> None:
        on_progress("comparing photos", count, None)

    lessons, problem = list[Lessons](), None
    try:
        models = preview_models(database, model)
        for each in models_to_teach(models):
            lessons.append(update_taught(database, each, on_progress=compared))
        update_sketches(database, models)
    except TaggerError as error:
        problem = error
    update_positions(database, on_progress)
    if problem is not None:
        raise problem
    return lessons
