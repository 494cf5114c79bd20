"""RAW photos: detected by content, shown by their largest preview, upright; identified by the data of their sensor."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from PIL import Image
from rig.containers import encode_image
from rig.raw_files import (
    LARGE,
    MIDDLE,
    RAW_KINDS,
    SENSOR,
    THUMBNAIL,
    RawContent,
    TiffFile,
    preview,
    raw_file,
)

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure
from tagger.metadata.camera import camera_facts
from tagger.photos.containers import digest_photo, orientation_in
from tagger.photos.decoding import Pixels, Resize, decode_photo
from tagger.photos.formats import HEAD_BYTES, RAW, TIFF, detect_format
from tagger.photos.names import is_photo_name
from tagger.photos.raw import read_raw

MAX_PIXELS = 10**6
RESIZE = Resize(240, 224)
SEVERAL_PREVIEWS = ("dng", "cr3", "nef", "arw", "pef")
SMALL = preview(THUMBNAIL)


def shown(data: bytes) -> Pixels:
    """The whole photo, stretched to a square."""
    return decode_photo(data, Resize(240, 240, "stretch"), max_pixels=MAX_PIXELS).pixels


def failure(data: bytes, max_pixels: int = MAX_PIXELS) -> PhotoFailure:
    with pytest.raises(PhotoFailed) as caught:
        decode_photo(data, RESIZE, max_pixels=max_pixels)
    return caught.value.failure


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_raw_files_are_listed_and_detected(kind: str) -> None:
    assert is_photo_name(f"IMG_1.{kind.upper()}")
    assert detect_format(raw_file(kind)) is RAW
    # No format that browsers show:
    assert detect_format(raw_file(kind)[:HEAD_BYTES]) in (RAW, TIFF)


@pytest.mark.parametrize("options", [{}, {"compression": "jpeg"}])
def test_other_tiffs_are_no_raw_files(options: dict[str, str]) -> None:
    image = Image.frombytes("RGB", (64, 64), b"IMC" * (64 * 64))
    tiff = encode_image(image, "TIFF", save_all=True, append_images=[image], **options)
    assert detect_format(tiff) is TIFF


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_the_largest_preview_is_shown_wherever_it_is(kind: str) -> None:
    assert np.array_equal(shown(raw_file(kind)), shown(preview()))
    if kind in SEVERAL_PREVIEWS:
        swapped = raw_file(kind, RawContent(large=preview(MIDDLE), middle=preview(LARGE)))
        assert decode_photo(swapped, RESIZE, max_pixels=MAX_PIXELS).width == LARGE[0]


@pytest.mark.parametrize("kind", SEVERAL_PREVIEWS)
def test_a_preview_above_the_limit_is_left_for_the_next(kind: str) -> None:
    limit = MIDDLE[0] * MIDDLE[1]
    assert decode_photo(raw_file(kind), RESIZE, max_pixels=limit).width == MIDDLE[0]
    assert failure(raw_file(kind), max_pixels=1000).kind is FailureKind.TOO_MANY_PIXELS


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_a_thumbnail_is_no_preview(kind: str) -> None:
    found = failure(raw_file(kind, RawContent(large=SMALL, middle=SMALL)))
    assert found.kind is FailureKind.UNSUPPORTED
    assert "only a thumbnail of 160 x 120 pixels" in found.text


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_sensor_data_and_lossless_jpegs_are_no_preview(kind: str) -> None:
    nothing = RawContent(large=b"no JPEG", middle=b"\xff\xd8\xff\xd9", thumbnail=b"\xff")
    assert "this one has none" in failure(raw_file(kind, nothing)).text
    sensor = RawContent(large=SMALL, middle=SMALL, sensor=preview((960, 640)))
    if kind not in ("cr2", "cr3", "orf"):  # those do not say what an image is for
        assert failure(raw_file(kind, sensor)).kind is FailureKind.UNSUPPORTED


@pytest.mark.parametrize("kind", RAW_KINDS)
@pytest.mark.parametrize("orientation", [5, 6])
def test_previews_are_turned_upright_by_the_orientation_of_the_file(kind: str, orientation: int) -> None:
    data = raw_file(kind, RawContent(orientation=orientation))
    exif = Image.Exif()
    exif[274] = orientation
    assert np.array_equal(shown(data), shown(preview(exif=exif)))
    if kind != "raf":  # the orientation of the file precedes that of its preview
        exif[274] = 3
        data = raw_file(kind, RawContent(large=preview(exif=exif), orientation=orientation))
    assert orientation_in(data) == orientation


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_camera_facts_are_read(kind: str) -> None:
    facts = camera_facts(raw_file(kind))
    assert facts.taken_at == datetime(2024, 6, 1, 12, 30)  # noqa: DTZ001
    assert (facts.utc_offset_s, facts.model, facts.serial) == (7200, "Camera 1", "S-12345")
    assert (facts.latitude, facts.longitude) == (pytest.approx(48.858333), pytest.approx(2.294444))


def test_facts_come_from_the_preview_where_the_file_has_none() -> None:
    exif = Image.Exif()
    exif[274], exif[272] = 3, "Of the preview"
    tiff = TiffFile()
    below = tiff.directory(tiff.strip(SENSOR, 1, 32803))
    for large, model, orientation in (
        (preview(exif=exif), "Of the preview", 3),
        (preview(), "Of the file", 6),
    ):
        main = {272: tiff.text("Of the file"), 274: tiff.short(6), 330: tiff.long(below)}
        data = tiff.ending_at(tiff.directory(main | tiff.strip(large, 7, 6)))
        assert (camera_facts(data).model, orientation_in(data)) == (model, orientation)


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_the_digest_is_that_of_sensor_data_and_orientation(kind: str) -> None:
    raw = RawContent()
    digest = digest_photo(raw_file(kind, raw))
    same = replace(raw, large=preview(LARGE, seed=2), middle=preview(MIDDLE, seed=2), xmp=b"<x/>")
    assert digest_photo(raw_file(kind, same)) == digest
    assert digest_photo(raw_file(kind, replace(raw, orientation=8))) != digest
    assert digest_photo(raw_file(kind, replace(raw, sensor=SENSOR[:-1] + b"\0"))) != digest


@pytest.mark.parametrize("kind", ["cr3", "raf"])  # where the sensor's data are at the end
def test_a_file_whose_sensor_data_are_cut_off_is_another_photo(kind: str) -> None:
    data = raw_file(kind)
    assert read_raw(data[:-1]).image == ()
    assert digest_photo(data[:-1]) not in (digest_photo(data), digest_photo(data[:-2]))


def test_scraps_do_not_identify_a_photo() -> None:
    one, other = (raw_file("nef", RawContent(large=preview(seed=seed), sensor=bytes(9))) for seed in (1, 2))
    assert read_raw(one).image == ()
    assert digest_photo(one) != digest_photo(other)


@pytest.mark.parametrize("kind", ["cr2", "iiq", "orf", "raf", "rw2"])
def test_a_file_that_ends_before_its_directories_is_truncated(kind: str) -> None:
    with pytest.raises(PhotoFailed, match="ends before its preview does") as failure:
        decode_photo(raw_file(kind)[:100], RESIZE, max_pixels=MAX_PIXELS)
    assert failure.value.failure.kind is FailureKind.TRUNCATED


def test_a_cut_off_file_is_shown_by_a_smaller_preview_that_is_whole() -> None:
    data = raw_file("cr3")
    cut = data[: data.find(preview()) + 1000]
    assert decode_photo(cut, RESIZE, max_pixels=MAX_PIXELS).width == MIDDLE[0]
    for end in (data.find(b"PRVW"), data.find(preview(MIDDLE)) + 1000):
        assert failure(data[:end]).kind is FailureKind.TRUNCATED
