"""The inference options of a job: the model, how many predictions it stores per photo, and its threshold."""

from dataclasses import dataclass

from tagger.catalog.registered_models import resolve_model
from tagger.database.connection import Database
from tagger.settings import Settings


@dataclass(frozen=True)
class InferenceOptions:
    """A job skips photos that were classified with the same options, unless `reprocess`."""

    model_id: int
    top_k: int
    threshold: float
    reprocess: bool


def inference_options(database: Database, settings: Settings, *, reprocess: bool = False) -> InferenceOptions:
    """The options of new jobs: those of the settings, else the model in use and its own threshold.

    Raises:
        ModelNotFound, ModelNotSelected: there is no such model.
    """
    model = resolve_model(database, settings.model)
    threshold = model.manifest.threshold if settings.threshold is None else settings.threshold
    return InferenceOptions(model.id, settings.top_k, threshold, reprocess)
