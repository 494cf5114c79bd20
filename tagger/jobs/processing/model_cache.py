"""Loads registered models and keeps them, each with its own pipeline. Starts no threads before a model is loaded."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from tagger.database.connection import Database
from tagger.jobs.processing.storage import StoreHook, store_hooks
from tagger.library.catalog.backend_selections import StoredSelections
from tagger.library.catalog.registered_models import model_by_id, verify_model
from tagger.model.backends.protocol import BackendOptions
from tagger.model.devices import Device, choose_device, core_count, passes_at_once
from tagger.model.model import Model, load_fastest_model
from tagger.pipeline.pipeline import Pipeline
from tagger.pipeline.requests import Limits
from tagger.pipeline.sandbox import Sandbox
from tagger.settings import Settings


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

    def get(self, model_id: int) -> LoadedModel:
        """Return the model; the first call loads it.

        Raises:
            ModelFileNotFound, ModelChanged, ModelRefused: the model's file is missing, differs from the registered one, or cannot be run.
        """
        with self._lock:
            if model_id not in self._models:
                self._models[model_id] = self._load(model_id)
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
