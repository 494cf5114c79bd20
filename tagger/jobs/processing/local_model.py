"""A model in this process, for photos that are not stored."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tagger.jobs.processing.model_cache import photo_limits
from tagger.model.devices import choose_device
from tagger.model.model import Model, load_model
from tagger.photos.files import PhotoBytes
from tagger.photos.object_paths import parse_path
from tagger.photos.source import read_named
from tagger.pipeline.requests import OpenPhoto, open_bytes
from tagger.pipeline.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tagger.library.catalog.registered_models import RegisteredModel
    from tagger.model.predictions import ImageOutput
    from tagger.settings import Settings


class LocalModel:
    """Opens photos and runs the model on them."""

    def __init__(self, model: Model, opener: Callable[[PhotoBytes], OpenPhoto], max_bytes: int) -> None:
        self._model = model
        self._opener = opener
        self._max_bytes = max_bytes

    def open(self, file: str) -> OpenPhoto:
        """Read a photo; - is standard input.

        Raises:
            PhotoFailed: it cannot be read.
        """
        return self._opener(self._read(file))

    def open_bytes(self, data: bytes) -> OpenPhoto:
        """Open a photo that is in memory."""
        return self._opener(PhotoBytes(data, len(data), 0))

    def output(self, photo: OpenPhoto) -> ImageOutput:
        """Decode a photo, and run the model on it.

        Raises:
            PhotoFailed: it cannot be decoded.
        """
        return self.outputs([photo])[0]

    def outputs(self, photos: Sequence[OpenPhoto]) -> list[ImageOutput]:
        """Decode photos, and run the model on them together.

        Raises:
            PhotoFailed: one cannot be decoded.
        """
        return self._model.predict([photo.decode().pixels for photo in photos])

    def _read(self, file: str) -> PhotoBytes:
        if file != "-":
            return read_named(parse_path(file), max_bytes=self._max_bytes)
        data = sys.stdin.buffer.read(self._max_bytes + 1)[: self._max_bytes]
        return PhotoBytes(data, len(data), 0)


@contextmanager
def open_local_model(registered: RegisteredModel, settings: Settings) -> Iterator[LocalModel]:
    """Load the model on the device of the settings.

    Photos are decoded in a sandbox if the settings say so, and those RAW photos that must be developed.
    """
    device = choose_device(settings.device, settings.batch_size)
    model = load_model(
        registered.file, registered.digest, registered.manifest, device, threads=settings.threads
    )
    resize, limits = model.manifest.input.resize, photo_limits(settings)
    with Sandbox(limits) as sandbox:

        def opened(photo: PhotoBytes) -> OpenPhoto:
            if settings.sandbox == "always":
                return sandbox.open(photo, resize)
            return open_bytes(photo, resize, limits, sandbox.decode)

        yield LocalModel(model, opened, settings.max_bytes)
