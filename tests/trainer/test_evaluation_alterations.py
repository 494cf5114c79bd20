"""Altered photos of an evaluation are valid photos with the intended change only."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rig.containers import encode_image
from rig.drawing import draw_photo

from tagger.errors import PhotoFailed
from tagger.photos.decoding import Resize, decode_photo
from trainer.data.pixels import decode_batches
from trainer.evaluation.robustness import (
    ALTERATIONS,
    Alteration,
    brighten,
    compress,
    crop,
    darken,
    halve,
    remove_colours,
    shrink,
    squash,
    tilt,
    turn,
)

PIXELS = 1_000_000


def test_squashed_cropped_and_half_photos_have_the_sizes_they_should() -> None:
    data = encode_image(draw_photo(1, (300, 200)), "JPEG", quality=92)

    assert _opened(squash(data)).size == (200, 200)
    assert _opened(halve(data)).size == (150, 100)
    assert _opened(crop(data)).size == (210, 140)
    assert _opened(compress(data)).size == (300, 200)


def test_the_crop_is_the_middle_unchanged() -> None:
    picture = draw_photo(2, (200, 100))
    middle = np.asarray(picture)[15:85, 30:170]

    assert np.array_equal(np.asarray(_opened(crop(encode_image(picture, "PNG")))), middle)


def test_squashing_keeps_the_whole_photo_and_not_only_its_middle() -> None:
    left_half_red = Image.new("RGB", (300, 100), "white")
    left_half_red.paste((200, 0, 0), (0, 0, 150, 100))
    pixels = np.asarray(_opened(squash(encode_image(left_half_red, "PNG"))))

    assert (pixels[:, 0] == (200, 0, 0)).all()
    assert (pixels[:, -1] == 255).all()
    assert (pixels[:, :, 1] < 128).mean() == pytest.approx(0.5, abs=0.02)


def test_small_and_turned_photos_keep_their_proportions() -> None:
    data = encode_image(draw_photo(6, (300, 200)), "PNG")

    assert _opened(shrink(data)).size == (144, 96)
    assert _opened(shrink(encode_image(draw_photo(6, (90, 60)), "PNG"))).size == (90, 60)
    assert _opened(tilt(data)).size == (300, 200)
    assert np.array_equal(np.asarray(_opened(turn(data))), np.rot90(np.asarray(_opened(data))))


def test_light_and_colours_change_and_nothing_else() -> None:
    picture = Image.new("RGB", (40, 30), (40, 80, 120))
    data = encode_image(picture, "PNG")

    assert _opened(darken(data)).getpixel((3, 3)) == (20, 40, 60)
    assert _opened(brighten(data)).getpixel((3, 3)) == (60, 120, 180)
    grey = decode_photo(remove_colours(data), Resize(16, 16), max_pixels=PIXELS).pixels
    assert np.ptp(grey, axis=2).max() == 0


def test_the_tilted_photo_is_turned_about_its_middle() -> None:
    half = Image.new("RGB", (101, 101), "black")
    half.paste("white", (0, 0, 101, 50))
    pixels = np.asarray(_opened(tilt(encode_image(half, "PNG"))))[:, :, 0]

    assert pixels[50 - 8, 50] > 200
    assert pixels[50 + 8, 50] < 50
    # Turned to the left, the right end of the edge rises and the left end sinks.
    assert pixels[50 - 2, 95] < 50
    assert pixels[50 + 2, 5] > 200


def test_the_recompressed_photo_is_a_jpeg_of_low_quality() -> None:
    picture = draw_photo(3, (320, 240))
    data = compress(encode_image(picture, "PNG"))
    reference = _opened(encode_image(picture, "JPEG", quality=40, subsampling="4:2:0"))

    image = _opened(data)
    assert image.format == "JPEG"
    assert image.quantization == reference.quantization
    assert np.array_equal(np.asarray(image), np.asarray(reference))


@pytest.mark.parametrize("alteration", ALTERATIONS, ids=lambda alteration: alteration.name)
def test_altered_photos_are_upright_and_go_through_the_one_preprocessing(
    alteration: Alteration, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = draw_photo(4, (160, 120))
    data = encode_image(rotated, "PNG", exif=exif)
    (tmp_path / "photo.png").write_bytes(data)
    upright = encode_image(rotated.transpose(Image.Transpose.ROTATE_270), "PNG")

    assert alteration.apply(data) == alteration.apply(upright)
    resize = Resize(64, 64)
    (batch,) = decode_batches([tmp_path / "photo.png"], resize, 8, alter=alteration.apply)
    expected = decode_photo(alteration.apply(data), resize, max_pixels=PIXELS).pixels
    assert np.array_equal(batch.images[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("alteration", ALTERATIONS, ids=lambda alteration: alteration.name)
@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 1)])
def test_tiny_and_narrow_photos_are_altered_too(alteration: Alteration, size: tuple[int, int]) -> None:
    data = encode_image(Image.new("RGB", size, "green"), "PNG")

    assert decode_photo(alteration.apply(data), Resize(32, 32), max_pixels=PIXELS).pixels.shape == (32, 32, 3)


def test_a_photo_too_long_for_jpeg_is_saved_shorter() -> None:
    data = encode_image(Image.new("L", (70_000, 3), 90), "PNG")

    assert _opened(compress(data)).size == (65_500, 3)


def test_a_photo_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (tmp_path / "b.jpg").write_bytes(encode_image(draw_photo(5, (90, 60)), "JPEG"))
    (batch,) = decode_batches([tmp_path / "a.jpg", tmp_path / "b.jpg"], Resize(32, 32), 8, alter=squash)

    assert batch.positions == (1,)
    with pytest.raises(PhotoFailed):
        halve(b"no photo")


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))
