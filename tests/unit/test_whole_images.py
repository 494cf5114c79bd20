"""Photos decoded in full size: upright and in sRGB, like the crops for models."""

import numpy as np
import pytest
from PIL import Image
from rig.containers import encode_image
from rig.drawing import draw_photo
from support.decoding import MAX_PIXELS

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.decoding import Resize, decode_photo, decode_whole


@pytest.mark.parametrize("orientation", range(1, 9))
def test_whole_photos_are_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode_image(draw_photo(4, (90, 60)), "PNG", exif=exif)
    whole = decode_whole(data, max_pixels=MAX_PIXELS)

    assert whole.shape == ((90, 60, 3) if orientation >= 5 else (60, 90, 3))
    again = decode_photo(encode_image(Image.fromarray(whole), "PNG"), Resize(60, 60), max_pixels=MAX_PIXELS)
    straight = decode_photo(data, Resize(60, 60), max_pixels=MAX_PIXELS)
    assert np.array_equal(again.pixels, straight.pixels)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1", "I;16"])
def test_whole_photos_are_rgb(mode: str) -> None:
    picture = (
        Image.fromarray(np.full((40, 30), 9000, np.uint16))
        if mode == "I;16"
        else draw_photo(5, (30, 40)).convert(mode)
    )
    whole = decode_whole(encode_image(picture, "TIFF"), max_pixels=MAX_PIXELS)

    assert whole.shape == (40, 30, 3)
    assert whole.dtype == np.uint8


def test_a_large_jpeg_is_not_decoded_at_a_fraction() -> None:
    whole = decode_whole(encode_image(draw_photo(6, (1200, 800)), "JPEG", quality=90), max_pixels=MAX_PIXELS)

    assert whole.shape == (800, 1200, 3)


def test_undecodable_photos_fail_with_their_kind() -> None:
    with pytest.raises(PhotoFailed) as excinfo:
        decode_whole(b"hello", max_pixels=MAX_PIXELS)
    assert excinfo.value.failure.kind is FailureKind.NOT_AN_IMAGE
    with pytest.raises(PhotoFailed):
        decode_whole(encode_image(draw_photo(1, (60, 60)), "PNG"), max_pixels=100)
