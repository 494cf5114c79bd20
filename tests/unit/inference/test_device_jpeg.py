"""Plain JPEGs decoded with a GPU's steps on a CPU: pixels, broken files, and the selection of a decoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rig.drawing import draw_photo, save_photos
from support.artifacts import tiny_artifact

from tagger.catalog.backend_selections import StoredSelections
from tagger.database.connection import open_database
from tagger.images import Pixels, Resize, decode_photo
from tagger.images.plain_jpeg import PlainJpeg, plain_jpeg
from tagger.inference.artifact import file_digest
from tagger.inference.backends import device_jpeg
from tagger.inference.backends.decoder_selection import (
    MAX_DIFFERENCE_LEVELS,
    DecoderComparison,
    camera_photos,
    choose_decoder,
    compare,
)
from tagger.inference.backends.device_jpeg import JpegDecoder
from tagger.inference.backends.protocol import BackendChoice, BackendOptions
from tagger.inference.backends.selection_key import SelectionKey
from tagger.inference.devices import Device
from tagger.inference.model import load_fastest_model

MAX_PIXELS = 50_000_000
STRETCH, CROP = Resize(96, 96, "stretch"), Resize(128, 112)
NEAR = 3.0
"""Levels. Another image, or the same one rotated, differs far more."""
BROKEN = PlainJpeg(memoryview(b"\xff\xd8 no picture \xff\xd9"), 100, 100, 1)


def photo(tmp_path: Path, size: tuple[int, int] = (640, 480), orientation: int = 1, seed: int = 3) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "photo.jpg"
    draw_photo(seed, size).save(file, quality=90, exif=exif)
    return file.read_bytes()


def plain(data: bytes) -> PlainJpeg:
    jpeg = plain_jpeg(data, max_pixels=MAX_PIXELS)
    assert jpeg is not None
    return jpeg


def mean_difference(one: Pixels | None, other: Pixels | None) -> float:
    assert one is not None
    assert other is not None
    assert one.shape == other.shape
    assert one.dtype == np.uint8
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("resize", [STRETCH, CROP], ids=["stretch", "crop"])
@pytest.mark.parametrize("size", [(641, 479), (333, 501), (2400, 1800), (90, 70)])
def test_pixels_are_those_of_decode_photo(resize: Resize, size: tuple[int, int], tmp_path: Path) -> None:
    data = photo(tmp_path, size)
    (image,) = JpegDecoder("cpu", resize).decode([plain(data)])
    assert mean_difference(image, decode_photo(data, resize, max_pixels=MAX_PIXELS).pixels) < NEAR


@pytest.mark.parametrize("resize", [STRETCH, CROP], ids=["stretch", "crop"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright(resize: Resize, orientation: int, tmp_path: Path) -> None:
    data = photo(tmp_path, orientation=orientation)
    (image,) = JpegDecoder("cpu", resize).decode([plain(data)])
    assert mean_difference(image, decode_photo(data, resize, max_pixels=MAX_PIXELS).pixels) < NEAR


def test_a_broken_jpeg_fails_alone(tmp_path: Path) -> None:
    decoder = JpegDecoder("cpu", STRETCH)
    plain_jpegs = [plain(photo(tmp_path, seed=seed)) for seed in range(3)]
    expected = decoder.decode(plain_jpegs)
    images = decoder.decode([plain_jpegs[0], BROKEN, plain_jpegs[1], BROKEN, plain_jpegs[2]])
    assert images[1] is images[3] is None
    assert [mean_difference(images[at], each) for at, each in zip((0, 2, 4), expected, strict=True)] == [
        0,
        0,
        0,
    ]
    assert decoder.works


def test_a_list_too_large_for_the_device_is_decoded_in_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos = [plain(photo(tmp_path, seed=seed)) for seed in range(5)]
    decoder = JpegDecoder("cpu", STRETCH)
    together = decoder.decode(photos)
    monkeypatch.setattr(device_jpeg, "GROUP_PIXELS", 2 * 640 * 480)
    assert [len(group) for group in device_jpeg._groups(photos)] == [2, 2, 1]
    for one, other in zip(together, decoder.decode(photos), strict=True):
        assert mean_difference(one, other) == 0


def test_a_decoder_that_decodes_none_of_many_stops_working() -> None:
    decoder = JpegDecoder("cpu", STRETCH)
    assert decoder.decode([BROKEN] * (device_jpeg.MANY - 1)) == [None] * (device_jpeg.MANY - 1)
    assert decoder.works
    assert decoder.decode([BROKEN] * device_jpeg.MANY) == [None] * device_jpeg.MANY
    assert not decoder.works


def test_an_empty_list_is_decoded_to_an_empty_list() -> None:
    assert JpegDecoder("cpu", STRETCH).decode([]) == []


@dataclass(frozen=True)
class Altered:
    """A decoder that returns wrong images."""

    alter: Callable[[Pixels], Pixels | None]
    works: bool = True

    def decode(self, photos: Sequence[PlainJpeg]) -> list[Pixels | None]:
        images = JpegDecoder("cpu", STRETCH).decode(photos)
        return [None if image is None else self.alter(image) for image in images]


def swap_red_and_blue(pixels: Pixels) -> Pixels:
    return pixels[..., ::-1]


def mirror(pixels: Pixels) -> Pixels:
    return pixels[:, ::-1]


@pytest.fixture(scope="module")
def jpegs() -> list[bytes]:
    return camera_photos((800, 600))[:4]


def test_decoder_selection_compares_with_the_cpu(jpegs: list[bytes]) -> None:
    compared = compare(JpegDecoder("cpu", STRETCH), STRETCH, jpegs)
    assert compared.speedup > 0
    assert compared.difference_levels < MAX_DIFFERENCE_LEVELS / 2


@pytest.mark.parametrize("alter", [swap_red_and_blue, mirror])
def test_decoder_selection_detects_wrong_pixels(
    alter: Callable[[Pixels], Pixels], jpegs: list[bytes]
) -> None:
    compared = compare(Altered(alter), STRETCH, jpegs)
    assert compared.difference_levels > 3 * MAX_DIFFERENCE_LEVELS
    assert not replace(compared, speedup=100.0).is_better


def test_decoder_selection_refuses_a_decoder_that_decodes_nothing(jpegs: list[bytes]) -> None:
    with pytest.raises(ValueError, match="0 of 4 JPEGs"):
        compare(Altered(lambda _: None), STRETCH, jpegs)


def test_a_small_speedup_is_not_better() -> None:
    assert DecoderComparison(speedup=1.3, difference_levels=1.0).is_better
    assert not DecoderComparison(speedup=1.2, difference_levels=1.0).is_better


def test_without_a_gpu_the_cpu_decodes() -> None:
    assert choose_decoder(Device("cpu", torch.float32, 8), STRETCH) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_the_cpu_decodes_if_the_gpu_fails(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_decoder(Device("cuda", torch.float32, 8), STRETCH) is None
    assert "the CPU decodes JPEGs, because the GPU cannot" in caplog.text


def test_camera_photos_are_decoded_as_pillow_does(test_data: Path) -> None:
    photos = [file.read_bytes() for file in sorted((test_data / "originals").glob("*.jpg"))]
    plain_photos = [(data, each) for data in photos if (each := plain_jpeg(data, max_pixels=MAX_PIXELS))]
    assert len(plain_photos) >= 3
    images = JpegDecoder("cpu", STRETCH).decode([each for _, each in plain_photos])
    for (data, _), image in zip(plain_photos, images, strict=True):
        pixels = decode_photo(data, STRETCH, max_pixels=MAX_PIXELS).pixels
        assert mean_difference(image, pixels) < MAX_DIFFERENCE_LEVELS


def test_the_order_of_a_batch_is_kept(tmp_path: Path) -> None:
    datas = [file.read_bytes() for file in save_photos(tmp_path, 12, (300, 200))]
    images = JpegDecoder("cpu", CROP).decode([plain(data) for data in datas])
    for data, image in zip(datas, images, strict=True):
        assert mean_difference(image, decode_photo(data, CROP, max_pixels=MAX_PIXELS).pixels) < NEAR


def test_a_stored_decoder_is_loaded_without_a_new_selection(tmp_path: Path) -> None:
    manifest = tiny_artifact(tmp_path / "tiny.pt")
    device, digest = Device("cpu", torch.float32, 4), file_digest(tmp_path / "tiny.pt")
    options = BackendOptions("torchscript", 1, 4)
    key, selections = (
        SelectionKey.of(digest, device, options),
        StoredSelections(open_database(f"sqlite:///{tmp_path}/tagger.sqlite")),
    )
    file = tmp_path / "tiny.pt"
    assert load_fastest_model(file, digest, manifest, device, options, selections).decoder is None
    assert selections.find(key) == BackendChoice("torchscript", 4, decodes_jpegs=False)
    selections.store(key, BackendChoice("torchscript", 4, decodes_jpegs=True))
    model = load_fastest_model(file, digest, manifest, device, options, selections)
    data = photo(tmp_path)
    assert model.decoder is not None
    (image,) = model.decoder.decode([plain(data)])
    assert (
        mean_difference(image, decode_photo(data, manifest.input.resize, max_pixels=MAX_PIXELS).pixels) < NEAR
    )
