"""Models in this process: registered ones, which are kept, and those for photos that are not stored.

A trial of a model shows what it would name on photos of the library. Nothing of it is stored.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from tagger.database.connection import Database
from tagger.errors import (
    EmbeddingsMissing,
    ModelNotFound,
    PhotoFailed,
    TaggerError,
)
from tagger.extensions import extra_missing, is_installed
from tagger.model import LabelPrediction, best_predictions
from tagger.model.backends import (
    OPENVINO,
    BackendOptions,
    Conversions,
    Embeddings,
)
from tagger.model.devices import (
    Device,
    choose_device,
    core_count,
    limit_gpu_memory,
    passes_at_once,
)
from tagger.model.model import Model, load_fastest_model
from tagger.photos.decoding import DecodedImage, Resize
from tagger.photos.decoding.limits import MEMORY_BUDGET
from tagger.photos.files import PhotoBytes
from tagger.photos.paths import parse_path
from tagger.photos.source import read_named
from tagger.pipeline import Limits, Opener, OpenPhoto
from tagger.pipeline.pipeline import Pipeline, photo_opener
from tagger.pipeline.sandbox import Sandbox
from tagger.query.counts import sample_photos
from tagger.registry import (
    RegisteredModel,
    StoredSelections,
    model_by_id,
    verify_model,
)
from tagger.settings import Settings
from tagger.teaching.comparison import TaughtCache

FileVersion = tuple[Path, int, int] | None
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModels:
    """Models on this process's device, by id, their pipeline, and what their results are compared with."""

    models: Mapping[int, Model]
    pipeline: Pipeline
    # Decodes all photos if the settings say so, else those RAW photos that must be developed.
    sandbox: Sandbox
    limits: Limits
    taught: Mapping[int, TaughtCache]

    @property
    def name(self) -> str:
        return ", ".join(model.manifest.name for model in self.models.values())

    @property
    def resizes(self) -> Collection[Resize]:
        return {model.manifest.input.resize for model in self.models.values()}

    def close(self) -> None:
        self.pipeline.close()
        self.sandbox.close()


# A model that could not be loaded is tried again after this time, or once its file has changed.
RETRY_S = 60.0
LOAD_ERRORS = (TaggerError, RuntimeError, ValueError)


class ModelCache:
    """The models of one process, by the ids of the registered models. Thread-safe."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._loading = threading.Lock()
        self._starting = threading.Lock()
        self._models: dict[int, Model] = {}
        self._loaded: dict[tuple[int, ...], LoadedModels] = {}
        # Why models could not be loaded the last time.
        self.errors: dict[int, Exception] = {}
        # The files of these models then, and when that was.
        self._failures: dict[int, tuple[FileVersion, float]] = {}

    def get(self, model_ids: Iterable[int]) -> LoadedModels:
        """Return those of these models that can be loaded, to run together. Missing ones are loaded in turn.

        Raises:
            ModelFileNotFound, ModelChanged, ModelRefused: there is none: a model's file is missing, differs
            from the registered one, or
                cannot be run.
        """
        ids = tuple(model_ids)
        if any(map(self._is_due, ids)):  # other callers do not wait
            with self._loading:
                with suppress(
                    *LOAD_ERRORS
                ):  # each is then tried alone, and its error is told
                    self._load_joined(ids)
                for model_id in filter(self._is_due, ids):
                    version = self._file_version(model_id)
                    try:
                        self._models[model_id] = self._load(
                            model_by_id(self._database, model_id)
                        )
                    except LOAD_ERRORS as error:
                        self.errors[model_id] = error
                        self._failures[model_id] = version, time.monotonic()
        key = tuple(model_id for model_id in ids if model_id in self._models)
        if not key:
            raise self.errors[ids[0]].with_traceback(None)
        with self._starting:
            if key not in self._loaded:
                for model_id in ids:
                    if model_id not in key:
                        log.error("A model cannot be loaded: %s", self.errors[model_id])
                self._loaded[key] = self._start(
                    {model_id: self._models[model_id] for model_id in key}
                )
            return self._loaded[key]

    def _is_due(self, model_id: int) -> bool:
        # Whether to load the model: it is not loaded, and what prevented that may have passed.
        if model_id in self._models:
            return False
        if model_id not in self._failures:
            return True
        version, failed_at = self._failures[model_id]
        return (
            time.monotonic() - failed_at > RETRY_S
            or self._file_version(model_id) != version
        )

    def _file_version(self, model_id: int) -> FileVersion:
        # What changes with the model's file.
        try:
            file = model_by_id(self._database, model_id).file
            status = file.stat()
        except (ModelNotFound, OSError):
            return None
        return file, status.st_size, status.st_mtime_ns

    def close(self) -> None:
        for loaded in list(self._loaded.values()):
            loaded.close()

    def _load_joined(self, model_ids: Iterable[int]) -> None:
        # Load two of these models of which one begins as the other, if one pass can run both.
        registered = [model_by_id(self._database, model_id) for model_id in model_ids]
        for model, things in combinations(registered, 2):
            trunk, rule = things.manifest.trunk, things.manifest.input
            begins_alike = trunk is not None and trunk.digest == model.digest
            if (
                begins_alike
                and rule == model.manifest.input
                and self._is_due(things.id)
            ):
                verify_model(things)
                joined = self._models[model.id] = self._load(model, things)
                if joined.backend_name in OPENVINO:
                    self._models[things.id] = joined.join(things.manifest)

    def _load(
        self, registered: RegisteredModel, things: RegisteredModel | None = None
    ) -> Model:
        verify_model(registered)
        device = choose_device(self._settings.device, self._settings.batch_size)
        return _load_model(registered, device, self._settings, self._database, things)

    def _start(self, models: Mapping[int, Model]) -> LoadedModels:
        limits = photo_limits(self._settings)
        sandbox = Sandbox(limits, count=limits.readers)
        pipeline = Pipeline(
            models, limits, sandbox, only_develops=self._settings.sandbox != "always"
        )
        taught = {model_id: TaughtCache(model_id) for model_id in models}
        return LoadedModels(models, pipeline, sandbox, limits, taught)


def _load_model(
    registered: RegisteredModel,
    device: Device,
    settings: Settings,
    database: Database,
    things: RegisteredModel | None = None,
) -> Model:
    options = BackendOptions(
        backend=None if settings.backend == "auto" else settings.backend,
        at_once=passes_at_once(device, settings.threads),
    )
    # What OpenVINO made of the model on this machine; a database in memory leaves no files.
    folder = None if database.is_in_memory else settings.conversions_folder
    of_things = (
        None if things is None else Conversions(things.file, things.digest, folder)
    )
    conversions = Conversions(registered.file, registered.digest, folder, of_things)
    selections = StoredSelections(database)
    return load_fastest_model(
        registered.manifest, device, options, selections, conversions
    )


def share_memory(settings: Settings, processes: int) -> None:
    """Let this process, one of several, take its part of the memory for images, and of a GPU's."""
    MEMORY_BUDGET.share(processes)
    limit_gpu_memory(settings.device, processes)


def photo_limits(settings: Settings) -> Limits:
    return Limits(
        settings.threads or core_count(),
        settings.max_bytes,
        settings.max_pixels,
        timeout_s=settings.read_timeout_s,
        settle_s=settings.settle_s,
    )


class LocalModel:
    def __init__(self, model: Model, opener: Opener, max_bytes: int) -> None:
        self._model = model
        self._opener = opener
        self._max_bytes = max_bytes
        self.resize = model.manifest.input.resize

    def open(self, file: str) -> OpenPhoto:
        """Read a photo; - is standard input.

        Raises:
            PhotoFailed: it cannot be read.
        """
        if file == "-":
            return self.open_bytes(
                sys.stdin.buffer.read(self._max_bytes + 1)[: self._max_bytes]
            )
        return self._opener(read_named(parse_path(file), max_bytes=self._max_bytes))

    def open_bytes(self, data: bytes) -> OpenPhoto:
        return self._opener(PhotoBytes(data, len(data), 0))

    def predictions(
        self, images: Sequence[DecodedImage], top_k: int, threshold: float
    ) -> list[tuple[LabelPrediction, ...]]:
        scores = self._model.predict([image.pixels for image in images]).scores
        return [
            best_predictions(row, top_k, threshold, is_damaged=image.is_damaged)
            for image, row in zip(images, scores, strict=True)
        ]

    def embeddings(self, images: Sequence[DecodedImage]) -> Embeddings:
        """Run the model on images together, and return their embeddings.

        Raises:
            EmbeddingsMissing: the model gives none.
        """
        embeddings = self._model.predict([image.pixels for image in images]).embeddings
        if embeddings is None:
            raise EmbeddingsMissing(name=self._model.manifest.name)
        return embeddings


@contextmanager
def open_local_model(
    registered: RegisteredModel, settings: Settings, database: Database
) -> Iterator[LocalModel]:
    """Load the model as jobs do, so that scores are the same.

    Photos are decoded in a sandbox if the settings say so, and those RAW photos that must be developed.
    """
    device = choose_device(settings.device, settings.batch_size)
    if (
        device.kind != "cpu"
    ):  # one photo comes after the other, and a GPU would fill up each batch
        device = replace(device, batch_size=1)
    model = _load_model(registered, device, settings, database)
    limits = photo_limits(settings)
    with Sandbox(limits) as sandbox:
        opener = photo_opener(
            limits, sandbox, only_develops=settings.sandbox != "always"
        )
        yield LocalModel(model, opener, settings.max_bytes)


@contextmanager
def open_local_models(
    registered: Iterable[RegisteredModel], settings: Settings, database: Database
) -> Iterator[list[tuple[RegisteredModel, LocalModel]]]:
    """Load those of these models that can be loaded, as `open_local_model`.

    Raises:
        ModelRefused, ExtraMissing: none can be loaded.
    """
    opened: list[tuple[RegisteredModel, LocalModel]] = []
    errors: dict[str, TaggerError] = {}
    with ExitStack() as stack:
        for model in registered:
            try:
                opened.append(
                    (
                        model,
                        stack.enter_context(
                            open_local_model(model, settings, database)
                        ),
                    )
                )
            except TaggerError as error:
                errors[model.name] = error
        if not opened:
            raise next(iter(errors.values()))
        for name, reason in errors.items():
            log.warning("%s is left out: %s", name, reason)
        yield opened


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


def require_engine(model: RegisteredModel) -> None:
    """Raises:
    ExtraMissing: the model needs torch, which is not installed here.
    """
    if is_installed("torch"):
        return
    from tagger.model.backends.openvino import has_shipped_graph  # openvino

    if not has_shipped_graph(model.digest):
        raise extra_missing(f"The model {model.name}", "torch")


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
