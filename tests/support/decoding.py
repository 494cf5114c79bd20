"""Photos as bytes, decoded or refused, for tests of images."""

import io

import pytest
from PIL import Image

from tagger.errors import FailureKind, PhotoFailed
from tagger.images import DecodedImage, Resize, decode_photo

RESIZE = Resize(short_side=128, size=112)
MAX_PIXELS = 50_000_000


def decode(data: bytes) -> DecodedImage:
    return decode_photo(data, RESIZE, max_pixels=MAX_PIXELS)


def failed(data: bytes) -> tuple[FailureKind, str]:
    """The kind and text of the failure to decode these bytes."""
    with pytest.raises(PhotoFailed) as excinfo:
        decode(data)
    return excinfo.value.failure.kind, excinfo.value.failure.text


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    """The picture as a file of that format."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
