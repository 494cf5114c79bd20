"""The whole photo stretched to a square, for any aspect ratio, orientation and format."""

import io

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from rig.containers import encode_image
from rig.drawing import draw_photo
from support.decoding import MAX_PIXELS

from tagger.model.artifact import InputRule
from tagger.photos.decoding import Pixels, Resize, decode_photo

STRETCH = Resize(112, 112, "stretch")


def stretched(data: bytes, side: int = 112) -> Pixels:
    return decode_photo(data, Resize(side, side, "stretch"), max_pixels=MAX_PIXELS).pixels


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (112, 112), (40, 30), (1, 1), (3, 900)])
def test_the_whole_photo_is_used(size: tuple[int, int]) -> None:
    picture = draw_photo(3, size) if min(size) > 20 else Image.new("RGB", size, "red")
    pixels = stretched(encode_image(picture, "PNG"))

    expected = np.asarray(picture.resize((112, 112), Image.Resampling.BILINEAR), dtype=int)
    assert pixels.shape == (112, 112, 3)
    assert np.abs(pixels - expected).mean() < 2


@pytest.mark.parametrize("size", [(1600, 1200), (4000, 300), (300, 4000)])
def test_jpeg_decoded_at_a_fraction_keeps_pixels_enough_for_both_sides(size: tuple[int, int]) -> None:
    picture = draw_photo(5, size)
    data = encode_image(picture, "JPEG", quality=95)
    quick = stretched(data).astype(int)
    whole = Image.open(io.BytesIO(data))
    expected = np.asarray(whole.resize((112, 112), Image.Resampling.BILINEAR), dtype=int)

    assert np.abs(quick - expected).mean() < 3
    draft = Image.open(io.BytesIO(data))
    draft.draft(None, (112, 112))
    assert min(draft.size) >= min(112, *size)


def test_fine_detail_of_the_short_side_is_not_lost_in_a_wide_jpeg() -> None:
    stripes = np.zeros((128, 3200, 3), dtype=np.uint8)
    stripes[::16] = stripes[1::16] = stripes[2::16] = stripes[3::16] = 255
    pixels = stretched(encode_image(Image.fromarray(stripes), "JPEG", quality=95), 128)

    assert int(pixels[1::16].min()) > 200
    assert int(pixels[9::16].max()) < 50


def test_square_photo_is_the_same_cropped_or_stretched() -> None:
    data = encode_image(draw_photo(7, (400, 400)), "JPEG", quality=90)
    cropped = decode_photo(data, Resize(112, 112), max_pixels=MAX_PIXELS).pixels

    assert np.array_equal(stretched(data), cropped)


def test_short_side_other_than_the_size_is_refused() -> None:
    with pytest.raises(ValueError, match="short_side must be size"):
        Resize(128, 112, "stretch")
    with pytest.raises(ValidationError, match="short_side must be size"):
        InputRule(size=112, short_side=128, fit="stretch")
    with pytest.raises(ValidationError, match="fit"):
        InputRule.model_validate({"size": 112, "short_side": 112, "fit": "squeeze"})


def test_manifests_without_a_fit_crop() -> None:
    rule = InputRule.model_validate_json('{"size": 112, "short_side": 128}')

    assert rule.resize == Resize(128, 112, "crop")
    stretching = InputRule(size=112, short_side=112, fit="stretch")
    assert InputRule.model_validate_json(stretching.model_dump_json()).resize == STRETCH
