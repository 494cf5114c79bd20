"""What a model would name on some photos of the library, before it is put in use. Nothing is stored."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tagger.database.connection import Database
from tagger.errors import PhotoFailed
from tagger.jobs.processing.model_cache import open_local_model
from tagger.query.counts import sample_photos
from tagger.registry.registered_models import RegisteredModel
from tagger.settings import Settings

# It takes seconds to try a model on so many.
SAMPLED_PHOTOS = 200


@dataclass(frozen=True)
class ModelTrial:
    """How many of the photos that were `tried` a model names. `photos`: those without a landmark so far.

    `ms_per_photo`: of a core, on average, with reading and decoding.
    """

    model: str
    tried: int
    named: int
    unknown_so_far: int
    photos: dict[str, str]
    ms_per_photo: float


def try_model(
    database: Database,
    settings: Settings,
    model: RegisteredModel,
    on_progress: Callable[[int, int], None],
) -> ModelTrial | None:
    """Classify a sample of the photos with a model; None: no photo is classified yet.

    Raises:
        ModelFileNotFound, ModelChanged, ModelRefused, ExtraMissing: the model cannot be loaded.
    """
    sample = sample_photos(database, settings.roots, SAMPLED_PHOTOS)
    if not sample:
        return None
    threshold = settings.threshold or model.manifest.threshold
    named: dict[str, str] = {}
    with open_local_model(model, settings, database) as opened:
        started_s = time.process_time()
        for number, path in enumerate(sample, 1):
            with suppress(PhotoFailed):
                image = opened.open(path).decode(opened.resize)
                ((best, *_),) = opened.predictions([image], 1, threshold)
                if best.accepted:
                    named[path] = model.manifest.labels[best.position].name
            on_progress(number, len(sample))
        ms_per_photo = round(1000 * (time.process_time() - started_s) / len(sample), 1)
    new = {path: place for path, place in named.items() if sample[path]}
    return ModelTrial(model.name, len(sample), len(named), len(new), new, ms_per_photo)
