"""Loads registered models and keeps them, each with its own pipeline, until they are unloaded. Starts no threads before a model is loaded."""

import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tagger.database.connection import Database
from tagger.jobs.processing.store_hooks import StoreHook, store_hooks
from tagger.library.catalog.backend_selections import StoredSelections
from tagger.library.catalog.registered_models import model_by_id, verify_model
from tagger.model.backends.protocol import BackendOptions
from tagger.model.devices import (
    Device,
    choose_device,
    core_count,
    passes_at_once,
    release_device_memory,
)
from tagger.model.model import Model, load_fastest_model
from tagger.photos.decoding.memory import trim_memory
from tagger.pipeline.pipeline import Pipeline
from tagger.pipeline.requests import Limits
from tagger.pipeline.sandbox import Sandbox
from tagger.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A model on this process's device, its pipeline, and what takes part when its results are stored."""

    model: Model
    pipeline: Pipeline
    sandbox: Sandbox
    """Decodes all photos if the settings say so, else those RAW photos that must be developed."""
    limits: Limits
    store_hooks: Sequence[StoreHook]

    def close(self) -> None:
        """End the threads of the pipeline, and the processes of the sandbox."""
        self.pipeline.close()
        self.sandbox.close()


class ModelCache:
    """The models of one process, by the id of the registered model. Thread-safe."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._lock = threading.Lock()
        self._models: dict[int, LoadedModel] = {}
        self._uses: Counter[int] = Counter()
        self._used_at: dict[int, float] = {}

    def get(self, model_id: int) -> LoadedModel:
        """Return the model; the first call loads it. `use` also keeps it loaded.

        Raises:
            ModelFileNotFound, ModelChanged, ModelRefused: the model's file is missing, differs from the registered one, or cannot be run.
        """
        with self._lock:
            return self._get(model_id)

    @contextmanager
    def use(self, model_id: int) -> Iterator[LoadedModel]:
        """The model, which is not unloaded inside the context.

        Raises:
            as `get`
        """
        with self._lock:
            loaded = self._get(model_id)
            self._uses[model_id] += 1
        try:
            yield loaded
        finally:
            with self._lock:
                self._uses[model_id] -= 1
                self._used_at[model_id] = time.monotonic()

    def unload_idle(self, idle_s: float) -> None:
        """Unload the models that nothing has used for `idle_s`, and return their memory to the system."""
        with self._lock:
            until = time.monotonic() - idle_s
            idle = [key for key in self._models if not self._uses[key] and self._used_at[key] <= until]
            unloaded = [self._models.pop(key) for key in idle]
        if not unloaded:
            return
        names = ", ".join(loaded.model.manifest.name for loaded in unloaded)
        while unloaded:
            unloaded.pop().close()
        gc.collect()
        release_device_memory()
        trim_memory()
        log.warning("Unloaded %s, which had no work; the next chunk loads it again", names)

    def _get(self, model_id: int) -> LoadedModel:
        if model_id not in self._models:
            self._models[model_id] = self._load(model_id)
            self._used_at[model_id] = time.monotonic()
        return self._models[model_id]

    def close(self) -> None:
        """End the pipelines' threads."""
        for loaded in list(self._models.values()):
            loaded.close()

    def _load(self, model_id: int) -> LoadedModel:
        registered = model_by_id(self._database, model_id)
        verify_model(registered)
        settings = self._settings
        device = choose_device(settings.device, settings.batch_size)
        options = backend_options(device, settings)
        selections = StoredSelections(self._database)
        model = load_fastest_model(
            registered.file, registered.digest, registered.manifest, device, options, selections
        )
        limits = photo_limits(settings)
        sandbox = Sandbox(limits, count=limits.readers)
        pipeline = Pipeline(model, limits, sandbox, only_develops=settings.sandbox != "always")
        return LoadedModel(
            model,
            pipeline,
            sandbox,
            limits,
            store_hooks(model_id),
        )


def photo_limits(settings: Settings) -> Limits:
    """The limits of the settings for reading and decoding."""
    return Limits(
        settings.threads or core_count(),
        settings.max_bytes,
        settings.max_pixels,
        timeout_s=settings.read_timeout_s,
        settle_s=settings.settle_s,
    )


def backend_options(device: Device, settings: Settings) -> BackendOptions:
    """How the settings run a model on a device."""
    return BackendOptions(
        backend=None if settings.backend == "auto" else settings.backend,
        at_once=passes_at_once(device, settings.threads),
        batch_size=settings.batch_size,
    )
