"""Plain JPEGs decoded as a GPU does it, with the same steps on a CPU: the pixels, broken ones, and the self-test."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from artifacts import tiny_artifact
from drawing import draw_photo, save_photos
from PIL import Image

from tagger.artifact import file_digest
from tagger.devices import Device
from tagger.images import Pixels, Resize, decode_photo
from tagger.images.plain_jpeg import PlainJpeg, plain_jpeg
from tagger.model import HowToRun, load_fastest
from tagger.runners import jpegs
from tagger.runners.choosing_decoder import (
    SAME_WITHIN_LEVELS,
    Compared,
    camera_photos,
    choose_decoder,
    compare,
)
from tagger.runners.interface import Plan
from tagger.runners.jpegs import JpegDecoder
from tagger.runners.remembering import Circumstances, Memory

MAX_PIXELS = 50_000_000
STRETCH, CROP = Resize(96, 96, "stretch"), Resize(128, 112)
NEAR = 3.0
"""Levels; another picture, or the same one turned, is far beyond."""
BROKEN = PlainJpeg(memoryview(b"\xff\xd8 no picture \xff\xd9"), 100, 100, 1)


def photo(tmp_path: Path, size: tuple[int, int] = (640, 480), orientation: int = 1, seed: int = 3) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "photo.jpg"
    draw_photo(seed, size).save(file, quality=90, exif=exif)
    return file.read_bytes()


def plain(data: bytes) -> PlainJpeg:
    found = plain_jpeg(data, max_pixels=MAX_PIXELS)
    assert found is not None
    return found


def apart(one: Pixels | None, other: Pixels | None) -> float:
    assert one is not None
    assert other is not None
    assert one.shape == other.shape
    assert one.dtype == np.uint8
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("resize", [STRETCH, CROP], ids=["stretch", "crop"])
@pytest.mark.parametrize("size", [(641, 479), (333, 501), (2400, 1800), (90, 70)])
def test_pixels_are_those_of_all_other_photos(resize: Resize, size: tuple[int, int], tmp_path: Path) -> None:
    data = photo(tmp_path, size)
    (image,) = JpegDecoder("cpu", resize).decode([plain(data)])
    assert apart(image, decode_photo(data, resize, max_pixels=MAX_PIXELS).pixels) < NEAR


@pytest.mark.parametrize("resize", [STRETCH, CROP], ids=["stretch", "crop"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright(resize: Resize, orientation: int, tmp_path: Path) -> None:
    data = photo(tmp_path, orientation=orientation)
    (image,) = JpegDecoder("cpu", resize).decode([plain(data)])
    assert apart(image, decode_photo(data, resize, max_pixels=MAX_PIXELS).pixels) < NEAR


def test_a_broken_one_fails_alone(tmp_path: Path) -> None:
    decoder = JpegDecoder("cpu", STRETCH)
    good = [plain(photo(tmp_path, seed=seed)) for seed in range(3)]
    expected = decoder.decode(good)
    images = decoder.decode([good[0], BROKEN, good[1], BROKEN, good[2]])
    assert images[1] is images[3] is None
    assert [apart(images[at], each) for at, each in zip((0, 2, 4), expected, strict=True)] == [0, 0, 0]
    assert decoder.works


def test_a_list_too_large_for_the_device_is_decoded_in_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos = [plain(photo(tmp_path, seed=seed)) for seed in range(5)]
    decoder = JpegDecoder("cpu", STRETCH)
    together = decoder.decode(photos)
    monkeypatch.setattr(jpegs, "GROUP_PIXELS", 2 * 640 * 480)
    assert [len(group) for group in jpegs._groups(photos)] == [2, 2, 1]
    for one, other in zip(together, decoder.decode(photos), strict=True):
        assert apart(one, other) == 0


def test_a_decoder_that_can_decode_none_of_many_is_not_asked_again() -> None:
    decoder = JpegDecoder("cpu", STRETCH)
    assert decoder.decode([BROKEN] * (jpegs.MANY - 1)) == [None] * (jpegs.MANY - 1)
    assert decoder.works
    assert decoder.decode([BROKEN] * jpegs.MANY) == [None] * jpegs.MANY
    assert not decoder.works


def test_nothing_asked_is_nothing_decoded() -> None:
    assert JpegDecoder("cpu", STRETCH).decode([]) == []


@dataclass(frozen=True)
class Altered:
    """A decoder whose images come out wrong."""

    alter: Callable[[Pixels], Pixels | None]
    works: bool = True

    def decode(self, photos: Sequence[PlainJpeg]) -> list[Pixels | None]:
        images = JpegDecoder("cpu", STRETCH).decode(photos)
        return [None if image is None else self.alter(image) for image in images]


def with_red_for_blue(pixels: Pixels) -> Pixels:
    return pixels[..., ::-1]


def with_sides_exchanged(pixels: Pixels) -> Pixels:
    return pixels[:, ::-1]


@pytest.fixture(scope="module")
def drawn() -> list[bytes]:
    return camera_photos((800, 600))[:4]


def test_self_test_compares_with_the_cores(drawn: list[bytes]) -> None:
    compared = compare(JpegDecoder("cpu", STRETCH), STRETCH, drawn)
    assert compared.gain > 0
    assert compared.apart < SAME_WITHIN_LEVELS / 2


@pytest.mark.parametrize("alter", [with_red_for_blue, with_sides_exchanged])
def test_self_test_sees_wrong_pixels(alter: Callable[[Pixels], Pixels], drawn: list[bytes]) -> None:
    compared = compare(Altered(alter), STRETCH, drawn)
    assert compared.apart > 3 * SAME_WITHIN_LEVELS
    assert not replace(compared, gain=100.0).is_worth_it


def test_self_test_refuses_a_decoder_that_decodes_nothing(drawn: list[bytes]) -> None:
    with pytest.raises(ValueError, match="0 of 4 JPEGs"):
        compare(Altered(lambda _: None), STRETCH, drawn)


def test_a_gain_that_is_small_is_not_worth_it() -> None:
    assert Compared(gain=1.3, apart=1.0).is_worth_it
    assert not Compared(gain=1.2, apart=1.0).is_worth_it


def test_without_a_gpu_the_cores_decode() -> None:
    assert choose_decoder(Device("cpu", torch.float32, 8), STRETCH) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_fails_leaves_decoding_to_the_cores(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_decoder(Device("cuda", torch.float32, 8), STRETCH) is None
    assert "JPEGs are decoded by the cores; the device cannot" in caplog.text


def test_camera_photos_come_out_as_pillow_decodes_them(test_data: Path) -> None:
    photos = [file.read_bytes() for file in sorted((test_data / "originals").glob("*.jpg"))]
    found = [(data, each) for data in photos if (each := plain_jpeg(data, max_pixels=MAX_PIXELS))]
    assert len(found) >= 3
    images = JpegDecoder("cpu", STRETCH).decode([each for _, each in found])
    for (data, _), image in zip(found, images, strict=True):
        pixels = decode_photo(data, STRETCH, max_pixels=MAX_PIXELS).pixels
        assert apart(image, pixels) < SAME_WITHIN_LEVELS


def test_every_photo_of_a_batch_keeps_its_place(tmp_path: Path) -> None:
    datas = [file.read_bytes() for file in save_photos(tmp_path, 12, (300, 200))]
    images = JpegDecoder("cpu", CROP).decode([plain(data) for data in datas])
    for data, image in zip(datas, images, strict=True):
        assert apart(image, decode_photo(data, CROP, max_pixels=MAX_PIXELS).pixels) < NEAR


def test_a_remembered_decoder_is_made_without_another_self_test(tmp_path: Path) -> None:
    manifest = tiny_artifact(tmp_path / "tiny.pt")
    device, digest = Device("cpu", torch.float32, 4), file_digest(tmp_path / "tiny.pt")
    how = HowToRun("torchscript", 1, 4, tmp_path / "self-tests.json")
    found = Memory(how.memory, Circumstances.of(digest, device, how.runner, how.at_once, how.batch_size))
    assert load_fastest(tmp_path / "tiny.pt", digest, manifest, device, how).decoder is None
    assert found.plan == Plan("torchscript", 4, decodes_jpegs=False)
    found.keep(Plan("torchscript", 4, decodes_jpegs=True))
    model = load_fastest(tmp_path / "tiny.pt", digest, manifest, device, how)
    data = photo(tmp_path)
    assert model.decoder is not None
    (image,) = model.decoder.decode([plain(data)])
    assert apart(image, decode_photo(data, manifest.input.resize, max_pixels=MAX_PIXELS).pixels) < NEAR


def test_a_plan_that_was_written_before_devices_decoded_is_still_read(tmp_path: Path) -> None:
    circumstances = Circumstances.of("digest", Device("cpu", torch.float32, 4), None, 1, None)
    kept = {circumstances.key: {"runner": "torchscript", "batch_size": 4}}
    (tmp_path / "self-tests.json").write_text(json.dumps(kept))
    assert Memory(tmp_path / "self-tests.json", circumstances).plan == Plan("torchscript", 4)
