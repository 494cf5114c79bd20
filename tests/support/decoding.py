"""Photos as bytes, decoded or refused, and readers for pipelines."""

import io
import tracemalloc
from collections.abc import Callable

import pytest
from PIL import Image

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.decoding import DecodedImage, Resize, decode_photo
from tagger.pipeline import Limits, OpenPhoto, Reader, Request, open_bytes, read_photo_bytes
from tagger.pipeline.pipeline import Pipeline

RESIZE = Resize(short_side=128, size=112)
MAX_PIXELS = 50_000_000


def encode_heic(image: Image.Image, **options: object) -> bytes:
    """The image as a HEIC file; skips the test where no package writes one."""
    heif = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    file = io.BytesIO()
    heif.from_pillow(image).save(file, **options)
    return file.getvalue()


def decode(data: bytes, resize: Resize = RESIZE) -> DecodedImage:
    return decode_photo(data, resize, max_pixels=MAX_PIXELS)


def decode_failure(data: bytes) -> tuple[FailureKind, str]:
    """The kind and text of the failure to decode these bytes."""
    with pytest.raises(PhotoFailed) as excinfo:
        decode(data)
    return excinfo.value.failure.kind, excinfo.value.failure.text


def traced_bytes(work: Callable[[], object]) -> int:
    """The most memory that Python allocated for `work`."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def local_reader(limits: Limits) -> Reader:
    """A reader that reads and opens photos as a pipeline does."""
    return lambda source, path: open_bytes(read_photo_bytes(source, path, limits), limits)


def read_with(pipeline: Pipeline, reader: Reader) -> None:
    def fetch(request: Request) -> Callable[[], OpenPhoto]:
        photo = reader(request.source, request.path)
        return lambda: photo

    pipeline._readers._fetch = fetch
