"""Checks of the device, and of what follows from the models in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagger.cli.doctor import note, ok
from tagger.cli.output.job_text import first_names
from tagger.model.devices import choose_device, core_count, describe_device
from tagger.registry.registered_models import models_to_teach, preview_models
from tagger.tags.models_in_use import names_in_use, use_command
from tagger.tags.settlement import is_settled
from tagger.teaching.learning import unfinished_landmarks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings

# Landmarks that are named.
SHOWN = 5


def check_device(settings: Settings) -> Iterator[Finding]:
    """Name the device: a GPU that is not found makes jobs slow, and no command fails."""
    device = choose_device(settings.device, settings.batch_size)
    is_auto = settings.device == "auto"
    found = f"auto selects {describe_device()}" if is_auto else f"{device.kind} (cores: {core_count()})"
    yield ok("device", f"{found}; {device.precision}")


def check_models(settings: Settings, database: Database) -> Iterator[Finding]:
    """Name what a command that was killed has left, so that photos do not follow the models in use."""
    if not is_settled(database):
        remedy = f"{use_command(names_in_use(database))} (again)"
        yield note("models", "not all photos follow the models in use", remedy)
    models = preview_models(database, settings.model)
    taught = models_to_teach(models)
    for model in models:
        if slugs := unfinished_landmarks(database, model.id, is_taught=model in taught):
            found = f"not all photos are compared with what was taught of: {first_names(slugs, SHOWN)}"
            yield note("teaching", found, "tagger backfill taught, unless a page or a job does it now")
