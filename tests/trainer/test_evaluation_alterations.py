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
from trainer.data.pixels import decode_batches, readers_of
from trainer.evaluation.scores import ALTERATIONS, Alteration

APPLY = {alteration.name: alteration.apply for alteration in ALTERATIONS}
PIXELS = 1_000_000


def test_squashed_cropped_and_half_photos_have_the_sizes_they_should() -> None:
    data = encode_image(draw_photo(1, (300, 200)), "JPEG", quality=92)

    assert _opened(APPLY["square"](data)).size == (200, 200)
    assert _opened(APPLY["half"](data)).size == (150, 100)
    assert _opened(APPLY["cropped"](data)).size == (210, 140)
    assert _opened(APPLY["jpeg40"](data)).size == (300, 200)


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
    (batch,) = decode_batches(readers_of([tmp_path / "photo.png"], alteration.apply), resize, 8)
    expected = decode_photo(alteration.apply(data), resize, max_pixels=PIXELS).pixels
    assert np.array_equal(batch.images[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("alteration", ALTERATIONS, ids=lambda alteration: alteration.name)
@pytest.mark.parametrize("size", [(1, 1), (2, 900)])
def test_tiny_and_narrow_photos_are_altered_too(alteration: Alteration, size: tuple[int, int]) -> None:
    data = encode_image(Image.new("RGB", size, "green"), "PNG")

    assert decode_photo(alteration.apply(data), Resize(32, 32), max_pixels=PIXELS).pixels.shape == (32, 32, 3)


def test_a_photo_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (tmp_path / "b.jpg").write_bytes(encode_image(draw_photo(5, (90, 60)), "JPEG"))
    readers = readers_of([tmp_path / "a.jpg", tmp_path / "b.jpg"], APPLY["square"])
    (batch,) = decode_batches(readers, Resize(32, 32), 8)

    assert batch.positions == (1,)
    with pytest.raises(PhotoFailed):
        APPLY["half"](b"no photo")


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))
