"""How a job looks at photos: with which model, how many landmarks it keeps, and from which score it accepts one."""

from dataclasses import dataclass

from tagger.database import Database
from tagger.registry import resolve_model
from tagger.settings import Settings


@dataclass(frozen=True)
class Look:
    """How a job looks: what was looked at just so before is skipped, unless `again`."""

    model_id: int
    top_k: int
    threshold: float
    again: bool


def look_of(database: Database, settings: Settings, *, again: bool = False) -> Look:
    """How new jobs look: with the model that the settings name, else the one in use."""
    model = resolve_model(database, settings.model)
    threshold = model.manifest.threshold if settings.threshold is None else settings.threshold
    return Look(model.id, settings.top_k, threshold, again)
