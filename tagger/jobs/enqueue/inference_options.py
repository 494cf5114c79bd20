"""The inference options of a job: the model, how many predictions it stores per photo, and its threshold."""

from dataclasses import dataclass
from typing import Any

from tagger.database.connection import Database
from tagger.database.enums import JobKind, Priority, Runner
from tagger.ledger.jobs import NewJob
from tagger.library.catalog.registered_models import resolve_model
from tagger.settings import Settings


@dataclass(frozen=True)
class InferenceOptions:
    """A job skips photos that were classified with the same options, unless `reprocess`."""

    model_id: int
    top_k: int
    threshold: float
    reprocess: bool

    def new_job(
        self,
        kind: JobKind,
        priority: Priority,
        *,
        runner: Runner = Runner.WORKERS,
        options: dict[str, Any] | None = None,
    ) -> NewJob:
        """A job with these inference options."""
        return NewJob(
            model_id=self.model_id,
            top_k=self.top_k,
            threshold=self.threshold,
            reprocess=self.reprocess,
            runner=runner,
            priority=priority,
            kind=kind,
            options=options,
        )


def inference_options(database: Database, settings: Settings, *, reprocess: bool = False) -> InferenceOptions:
    """The options of new jobs: those of the settings, else the model in use and its own threshold.

    Raises:
        ModelNotFound, ModelNotSelected: there is no such model.
    """
    model = resolve_model(database, settings.model)
    threshold = model.manifest.threshold if settings.threshold is None else settings.threshold
    return InferenceOptions(model.id, settings.top_k, threshold, reprocess)
