"""Checks of the device and the models in use: whether each file is the registered one, loads, and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tagger.cli.doctor import failed, note, ok, wrong
from tagger.cli.output.job_text import first_names
from tagger.errors import TaggerError
from tagger.jobs.processing.model_cache import backend_options, conversions
from tagger.model.backends.protocol import SelectionKey
from tagger.model.devices import available_kinds, choose_device, core_count, describe_device
from tagger.model.model import load_model
from tagger.positions.update import is_up_to_date
from tagger.registry.registered_models import (
    StoredSelections,
    models_to_teach,
    preview_models,
    verify_model,
)
from tagger.tags.models_in_use import names_in_use, use_command
from tagger.tags.settlement import is_settled
from tagger.teaching.learning import unfinished_landmarks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tagger.cli.doctor import Finding
    from tagger.database.connection import Database
    from tagger.registry.registered_models import RegisteredModel
    from tagger.settings import Settings

SHOWN = 5
"""Landmarks that are named."""


def check_device(settings: Settings) -> Iterator[Finding]:
    try:
        device = choose_device(settings.device, settings.batch_size)
    except TaggerError as error:
        yield wrong("device", str(error), f"export TAGGER_DEVICE={available_kinds()[0]}")
        return
    is_auto = settings.device == "auto"
    found = f"auto selects {describe_device()}" if is_auto else f"{device.kind} (cores: {core_count()})"
    yield ok("device", f"{found}; {device.precision}")


def check_models(settings: Settings, database: Database | None) -> Iterator[Finding]:
    """Check the models of new jobs, and that what follows from them is up to date."""
    try:
        models = preview_models(database, settings.model)
    except TaggerError as error:
        yield failed("model", error)
        return
    for model in models:
        try:
            verify_model(model)
        except TaggerError as error:
            yield failed("model", error)
        else:
            yield _check_run(model, settings, database)
    if database is not None:
        yield from _check_derived_facts(models, database)


def _check_derived_facts(models: Sequence[RegisteredModel], database: Database) -> Iterator[Finding]:
    """Name what a command that was killed has left."""
    if not is_settled(database):
        remedy = f"{use_command(names_in_use(database))} (again)"
        yield note("models", "not all photos follow the models in use", remedy)
    taught = models_to_teach(models)
    for model in models:
        if slugs := unfinished_landmarks(database, model.id, is_taught=model in taught):
            found = f"not all photos are compared with what was taught of: {first_names(slugs, SHOWN)}"
            yield note("teaching", found, "tagger backfill taught, unless a page or a job does it now")
    if not is_up_to_date(database):
        yield note("positions", "not all are up to date", "tagger locate, unless a worker does it now")


def _check_run(model: RegisteredModel, settings: Settings, database: Database | None) -> Finding:
    """Load the model as a worker does, and classify a blank image."""
    name = f"{model.name} ({len(model.manifest.labels)} {model.manifest.kind})"
    try:
        device = choose_device(settings.device, 1)
        loaded = load_model(model.file, model.digest, model.manifest, device, threads=settings.threads)
        size = model.manifest.input.size
        loaded.predict([np.zeros((size, size, 3), dtype=np.uint8)])
    except (TaggerError, RuntimeError, ValueError) as error:
        found = f"{name} does not run here: {str(error).splitlines()[0]}"
        return wrong("model", found, f"tagger model verify {model.file}; or try TAGGER_DEVICE=cpu")
    return ok("model", f"{name}, {model.file}: valid and working; {_backend(model, settings, database)}")


def _backend(model: RegisteredModel, settings: Settings, database: Database | None) -> str:
    """The backend that was selected for the model on machines like this one."""
    device = choose_device(settings.device, settings.batch_size)
    key = SelectionKey.of(conversions(settings, model), device, backend_options(device, settings))
    choice = StoredSelections(database).find(key) if database is not None else None
    if choice is None:
        return "its backend is selected when photos are first tagged"
    return f"runs on {choice} in batches of {device.batch_size}"
