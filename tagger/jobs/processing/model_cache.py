"""Models in this process: registered ones, which are kept, and those for photos that are not stored."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast, overload

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import SAVE_INFO

from tagger.database.connection import Database
from tagger.errors import (
    ArgumentInvalid,
    EmbeddingsMissing,
    ModelNotFound,
    PhotoFailed,
    ProcessBound,
    TaggerError,
)
from tagger.model.backends.protocol import BackendOptions, Conversions, Embeddings
from tagger.model.devices import Device, choose_device, core_count, limit_gpu_memory, passes_at_once
from tagger.model.model import Model, load_fastest_model
from tagger.model.predictions import LabelPrediction, best_predictions
from tagger.photos.decoding import DecodedImage, Resize, failing_alone
from tagger.photos.decoding.memory import MEMORY_BUDGET
from tagger.photos.files import PhotoBytes
from tagger.photos.paths import named_path, parse_path
from tagger.photos.source import read_named
from tagger.pipeline.pipeline import Pipeline, photo_opener
from tagger.pipeline.requests import Limits, Opener, OpenPhoto
from tagger.pipeline.sandbox import Sandbox
from tagger.registry.registered_models import (
    RegisteredModel,
    StoredSelections,
    model_by_id,
    verify_model,
)
from tagger.settings import Settings
from tagger.teaching.comparison import TaughtCache

if TYPE_CHECKING:
    import numpy.typing as npt

    ImageLike = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]

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
        """The names of the models."""
        return ", ".join(model.manifest.name for model in self.models.values())

    @property
    def resizes(self) -> Collection[Resize]:
        """The sizes in which the models get photos."""
        return {model.manifest.input.resize for model in self.models.values()}

    def close(self) -> None:
        """End the threads of the pipeline, and the processes of the sandbox."""
        self.pipeline.close()
        self.sandbox.close()


# A model that could not be loaded is tried again after this time, or once its file has changed.
RETRY_S = 60.0


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
                for model_id in filter(self._is_due, ids):
                    self._try_to_load(model_id)
        key = tuple(model_id for model_id in ids if model_id in self._models)
        if not key:
            raise self.errors[ids[0]].with_traceback(None)
        with self._starting:
            if key not in self._loaded:
                for model_id in ids:
                    if model_id not in key:
                        log.error("A model cannot be loaded: %s", self.errors[model_id])
                self._loaded[key] = self._start({model_id: self._models[model_id] for model_id in key})
            return self._loaded[key]

    def _is_due(self, model_id: int) -> bool:
        """Whether to load the model: it is not loaded, and what prevented that may have passed."""
        if model_id in self._models:
            return False
        if model_id not in self._failures:
            return True
        version, failed_at = self._failures[model_id]
        return time.monotonic() - failed_at > RETRY_S or self._file_version(model_id) != version

    def _try_to_load(self, model_id: int) -> None:
        version = self._file_version(model_id)
        try:
            self._models[model_id] = self._load(model_id)
        except (TaggerError, RuntimeError, ValueError) as error:
            self.errors[model_id] = error
            self._failures[model_id] = version, time.monotonic()

    def _file_version(self, model_id: int) -> FileVersion:
        """What changes with the model's file."""
        try:
            file = model_by_id(self._database, model_id).file
            status = file.stat()
        except (ModelNotFound, OSError):
            return None
        return file, status.st_size, status.st_mtime_ns

    def close(self) -> None:
        """End the pipelines' threads."""
        for loaded in list(self._loaded.values()):
            loaded.close()

    def _load(self, model_id: int) -> Model:
        registered = model_by_id(self._database, model_id)
        verify_model(registered)
        device = choose_device(self._settings.device, self._settings.batch_size)
        return _load_model(registered, device, self._settings, self._database)

    def _start(self, models: Mapping[int, Model]) -> LoadedModels:
        limits = photo_limits(self._settings)
        sandbox = Sandbox(limits, count=limits.readers)
        pipeline = Pipeline(models, limits, sandbox, only_develops=self._settings.sandbox != "always")
        taught = {model_id: TaughtCache(model_id) for model_id in models}
        return LoadedModels(models, pipeline, sandbox, limits, taught)


def _load_model(registered: RegisteredModel, device: Device, settings: Settings, database: Database) -> Model:
    kept = conversions(settings, registered)
    return load_fastest_model(
        registered.manifest,
        device,
        backend_options(device, settings),
        StoredSelections(database),
        kept._replace(folder=None) if database.is_in_memory else kept,
    )


def share_memory(settings: Settings, processes: int) -> None:
    """Let this process, one of several, take its part of the memory for images, and of a GPU's."""
    MEMORY_BUDGET.share(processes)
    limit_gpu_memory(settings.device, processes)


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
    )


def conversions(settings: Settings, model: RegisteredModel) -> Conversions:
    """What OpenVINO made of a model on this machine."""
    return Conversions(model.file, model.digest, settings.conversions_folder)


# Images whose pixels a model holds in memory.
IMAGES_AT_ONCE = 64


class LocalModel:
    """Opens photos and runs the model on them."""

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
        return self._opener(self._read(file))

    def open_bytes(self, data: bytes) -> OpenPhoto:
        """Open a photo that is in memory."""
        return self._opener(PhotoBytes(data, len(data), 0))

    def predictions(
        self, images: Sequence[DecodedImage], top_k: int, threshold: float
    ) -> list[tuple[LabelPrediction, ...]]:
        """Run the model on images together, and return the best predictions for each."""
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

    def _read(self, file: str) -> PhotoBytes:
        if file != "-":
            return read_named(parse_path(file), max_bytes=self._max_bytes)
        data = sys.stdin.buffer.read(self._max_bytes + 1)[: self._max_bytes]
        return PhotoBytes(data, len(data), 0)


@contextmanager
def open_local_model(
    registered: RegisteredModel, settings: Settings, database: Database
) -> Iterator[LocalModel]:
    """Load the model as jobs do, so that scores are the same.

    Photos are decoded in a sandbox if the settings say so, and those RAW photos that must be developed.
    """
    device = choose_device(settings.device, settings.batch_size)
    if device.kind != "cpu":  # one photo comes after the other, and a GPU would fill up each batch
        device = replace(device, batch_size=1)
    model = _load_model(registered, device, settings, database)
    limits = photo_limits(settings)
    with Sandbox(limits) as sandbox:
        opener = photo_opener(limits, sandbox, only_develops=settings.sandbox != "always")
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
                opened.append((model, stack.enter_context(open_local_model(model, settings, database))))
            except TaggerError as error:
                errors[model.name] = error
        if not opened:
            raise next(iter(errors.values()))
        for name, reason in errors.items():
            log.warning("%s is left out: %s", name, reason)
        yield opened


@dataclass(frozen=True)
class Prediction:
    """A landmark in an image, with its calibrated score. `accepted`: it reaches the threshold."""

    landmark: str
    name: str
    score: float
    accepted: bool


class PhotoModel:
    """A loaded model. Images are paths, bytes, images of Pillow, or arrays uint8 (H, W, 3) in RGB."""

    def __init__(
        self,
        registered: RegisteredModel,
        names: Sequence[tuple[str, str]],
        settings: Settings,
        database: Database,
    ) -> None:
        self.name = registered.name
        self._process = os.getpid()
        self._registered = registered
        self._names = names
        manifest = registered.manifest
        self._threshold = manifest.threshold if settings.threshold is None else settings.threshold
        with ExitStack() as stack:
            self._model = stack.enter_context(open_local_model(registered, settings, database))
            self._close = weakref.finalize(self, stack.pop_all().close)

    def __repr__(self) -> str:
        return f"<PhotoModel {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise self._bound()

    def close(self) -> None:
        """End the processes that decode suspicious photos."""
        self._close()

    @overload
    def predict(self, images: ImageLike, top_k: int = 5) -> list[Prediction]: ...  # type: ignore[overload-overlap] # text is a path
    @overload
    def predict(self, images: Iterable[ImageLike], top_k: int = 5) -> list[list[Prediction]]: ...
    def predict(
        self, images: ImageLike | Iterable[ImageLike], top_k: int = 5
    ) -> list[Prediction] | list[list[Prediction]]:
        """Return the `top_k` landmarks of an image, best first; of several images, a list for each.

        Raises:
            ArgumentInvalid: something else than an image, or `top_k` is no number from 1.
            PhotoFailed: an image cannot be read.
        """
        if not isinstance(top_k, int | np.integer) or top_k < 1:
            raise ArgumentInvalid(argument="top_k", reason=f"{top_k!r} is not a whole number from 1")
        found = [
            [Prediction(*self._names[each.position], each.score, each.accepted) for each in best]
            for part in self._decoded_parts(images)
            for best in self._model.predictions(part, top_k, self._threshold)
        ]
        return found[0] if _is_single(images) else found

    def embed(self, images: ImageLike | Iterable[ImageLike]) -> npt.NDArray[np.float32]:
        """Return the embedding of an image, float32 (D,); of several images, float32 (N, D).

        Raises:
            EmbeddingsMissing: the model gives none.
            ArgumentInvalid: something else than an image.
            PhotoFailed: an image cannot be read.
        """
        embedding = self._registered.manifest.embedding
        if embedding is None:
            raise EmbeddingsMissing(name=self.name)
        rows = [row for part in self._decoded_parts(images) for row in self._model.embeddings(part)]
        found = np.array(rows, np.float32).reshape(-1, embedding.dimension)
        return found[0] if _is_single(images) else found

    def _decoded_parts(self, images: ImageLike | Iterable[ImageLike]) -> Iterator[list[DecodedImage]]:
        if os.getpid() != self._process:  # threads of the model do not exist in a fork of the process
            raise self._bound()
        several = cast("Iterable[object]", [images] if _is_single(images) else images)
        rest = enumerate(several, 1)
        while part := list(islice(rest, IMAGES_AT_ONCE)):
            yield [self._decoded(image, number) for number, image in part]

    def _decoded(self, image: object, number: int) -> DecodedImage:
        name = str(image) if isinstance(image, str | Path) else f"image {number}"
        try:
            return self._opened(image).decode(self._model.resize)
        except PhotoFailed as failed:
            raise PhotoFailed(failed.failure.kind, failed.failure.text, name) from failed

    def _opened(self, image: object) -> OpenPhoto:
        if isinstance(image, str | Path):
            return self._model.open(str(named_path(image)))
        return self._model.open_bytes(_file(image))

    @staticmethod
    def _bound() -> ProcessBound:
        return ProcessBound(what="A model", call="tagger.load_model")


def _is_single(images: object) -> bool:
    """Whether it is one image, rather than several; an array (N, H, W, 3) has several."""
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    return isinstance(images, str | Path | bytes | Image.Image) or not isinstance(images, Iterable)


def _file(image: object) -> bytes:
    """Return the image as a file; of pixels, one without loss, so that they are decoded as photos are.

    Raises:
        ArgumentInvalid: it is no image.
        PhotoFailed: Pillow cannot read it.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if not isinstance(image, Image.Image):
        reason = (
            f"an image is a path, bytes, an image of Pillow, or an array uint8 (H, W, 3), not "
            f"{type(image).__name__}"
        )
        raise ArgumentInvalid(argument="images", reason=reason)
    file = io.BytesIO()
    with failing_alone(b""):
        upright = ImageOps.exif_transpose(image)
        if upright.mode not in SAVE_INFO:
            upright = upright.convert("RGB")
        upright.save(file, "TIFF", icc_profile=image.info.get("icc_profile"))
    return file.getvalue()


def _from_array(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        reason = f"an array must be uint8 (H, W, 3), and this one is {pixels.dtype} {pixels.shape}"
        raise ArgumentInvalid(argument="images", reason=reason)
    return Image.fromarray(pixels)
