"""Photos as bytes, decoded or refused, for tests of images."""

import pytest

from tagger.errors import FailureKind, PhotoFailed
from tagger.images import DecodedImage, Resize, decode_photo

RESIZE = Resize(short_side=128, size=112)
MAX_PIXELS = 50_000_000


def decode(data: bytes) -> DecodedImage:
    return decode_photo(data, RESIZE, max_pixels=MAX_PIXELS)


def decode_failure(data: bytes) -> tuple[FailureKind, str]:
    """The kind and text of the failure to decode these bytes."""
    with pytest.raises(PhotoFailed) as excinfo:
        decode(data)
    return excinfo.value.failure.kind, excinfo.value.failure.text
