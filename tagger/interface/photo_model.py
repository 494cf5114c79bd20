"""A model for single photos and images, as Python programs use it. Nothing is stored."""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
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
    PhotoFailed,
    ProcessBound,
)
from tagger.jobs.processing.model_cache import open_local_model
from tagger.photos.decoding import DecodedImage, failing_alone
from tagger.photos.paths import named_path
from tagger.pipeline.requests import OpenPhoto
from tagger.registry.registered_models import (
    RegisteredModel,
)
from tagger.settings import Settings

if TYPE_CHECKING:
    import numpy.typing as npt

    ImageLike = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]


# Images whose pixels a model holds in memory.
IMAGES_AT_ONCE = 64


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
