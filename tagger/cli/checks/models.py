"""Checks of the model and the device it runs on: it is the registered file, it loads, and it gives sound scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tagger.cli.checks.findings import note, ok, wrong
from tagger.devices import available_kinds, choose_device, core_count, describe_device
from tagger.errors import TaggerError
from tagger.ledger.troubles import open_jobs
from tagger.model import known_plan, load_model
from tagger.registry import model_by_id, planned_model, verify
from tagger.tagging import how_to_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.checks.findings import Finding
    from tagger.database import Database
    from tagger.registry import RegisteredModel
    from tagger.settings import Settings

CHOOSE = "tagger model list, then: tagger model use NAME"


def check_device(settings: Settings) -> Iterator[Finding]:
    try:
        device = choose_device(settings.device, settings.batch_size)
    except TaggerError as error:
        yield wrong("device", str(error), f"export TAGGER_DEVICE={available_kinds()[0]}")
        return
    precision = str(device.dtype).removeprefix("torch.")
    meant = describe_device() if settings.device == "auto" else f"{device.kind} ({core_count()} cores)"
    found = f"{settings.device} means {meant}" if settings.device == "auto" else meant
    yield ok("device", f"{found}; {precision}")
    if settings.threads is not None and settings.threads > core_count():
        found = f"TAGGER_THREADS is {settings.threads}, but this process may use {core_count()} cores"
        yield note("device", found, f"export TAGGER_THREADS={core_count()}")


def check_models(settings: Settings, database: Database | None) -> Iterator[Finding]:
    """The model that new jobs get, and those that open jobs were made with."""
    planned: RegisteredModel | None = None
    try:
        planned = planned_model(database, settings.model)
        verify(planned)
    except TaggerError as error:
        yield wrong("model", str(error), CHOOSE)
    else:
        yield _check_scores(planned, settings)
    for number, jobs in _models_of_jobs(database).items():
        if database is None or (planned is not None and number == planned.id):
            continue
        try:
            verify(model_by_id(database, number))
        except TaggerError as error:
            named = ", ".join(map(str, jobs[:5]))
            yield wrong("model", f"job {named} was made with a model that cannot run: {error}", CHOOSE)


def _check_scores(model: RegisteredModel, settings: Settings) -> Finding:
    """Load it as a worker would, and look at a blank image."""
    name = f"{model.name} ({len(model.manifest.labels)} landmarks)"
    try:
        device = choose_device(settings.device, 1)
        loaded = load_model(model.file, model.digest, model.manifest, device, threads=settings.threads)
        size = model.manifest.input.size
        scores = loaded.scores([np.zeros((size, size, 3), dtype=np.uint8)])[0]
    except (TaggerError, RuntimeError) as error:
        found = f"{name} does not run here: {str(error).splitlines()[0]}"
        return wrong("model", found, f"tagger model verify {model.file}; or try TAGGER_DEVICE=cpu")
    total = float(scores.sum())
    if not math.isfinite(total) or scores.min() < 0 or total > 1.01:
        found = f"{name} gives a blank image scores that are no chances (their sum is {total:g})"
        return wrong("model", found, "export it again with `trainer export`, or " + CHOOSE)
    return ok("model", f"{name}, {model.file}: the registered file, and it runs; {_runner(model, settings)}")


def _runner(model: RegisteredModel, settings: Settings) -> str:
    """What tags photos with it, as far as that is known."""
    device = choose_device(settings.device, settings.batch_size)
    plan = known_plan(model.digest, device, how_to_run(device, settings))
    if plan is None:
        return "a self-test will choose what runs it, when photos are first tagged"
    return f"photos are tagged by {plan.runner} in batches of {plan.batch_size}"


def _models_of_jobs(database: Database | None) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for job in open_jobs(database) if database is not None else ():
        found.setdefault(job.model_id, []).append(job.job)
    return found
