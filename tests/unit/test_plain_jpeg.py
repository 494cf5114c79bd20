"""Which JPEGs are plain: another decoder gives the same image as Pillow for them. Unusual and broken ones are not."""

import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from rig.containers import encode_image, jpeg_segment
from rig.drawing import draw_photo
from support.decoding import MAX_PIXELS, decode
from support.examples import examples
from test_images import display_p3_profile

from tagger.errors import PhotoFailed
from tagger.images import Resize, decode_photo
from tagger.images.plain_jpeg import PlainJpeg, plain_jpeg

PICTURE = draw_photo(7, (300, 200))
JPEG = encode_image(PICTURE, "JPEG", quality=85)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def plain(data: bytes, max_pixels: int = MAX_PIXELS) -> PlainJpeg | None:
    return plain_jpeg(data, max_pixels=max_pixels)


def with_segment(marker: int, content: bytes, data: bytes = JPEG) -> bytes:
    """The JPEG with a segment inserted at the start."""
    return data[:2] + jpeg_segment(marker, content) + data[2:]


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode_image(PICTURE, "JPEG", exif=exif)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_camera_jpegs_are_plain(subsampling: str) -> None:
    data = encode_image(PICTURE, "JPEG", subsampling=subsampling)
    assert plain(data) == PlainJpeg(memoryview(data), 300, 200, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_upright_photo(orientation: int) -> None:
    jpeg = plain(rotated(orientation))
    image = decode(rotated(orientation))
    assert jpeg is not None
    assert (jpeg.width, jpeg.height, jpeg.orientation) == (image.width, image.height, orientation)


def test_jpegs_with_restart_markers_and_comments_are_plain() -> None:
    data = with_segment(0xFE, b"a remark", encode_image(PICTURE, "JPEG", restart_marker_blocks=4))
    assert plain(data) is not None


def test_data_behind_the_image_is_left_out() -> None:
    jpeg = plain(JPEG + JPEG + b"\xff\xd9 and a trailer")
    assert jpeg is not None
    assert bytes(jpeg.data) == JPEG


def test_only_srgb_profiles_are_plain() -> None:
    assert plain(encode_image(PICTURE, "JPEG", icc_profile=SRGB)) is not None
    assert plain(encode_image(PICTURE, "JPEG", icc_profile=display_p3_profile())) is None


def test_incomplete_profiles_are_not_plain() -> None:
    piece = b"ICC_PROFILE\0" + bytes([1, 2]) + SRGB
    assert plain(with_segment(0xE2, piece)) is None
    assert plain(with_segment(0xE2, b"ICC_PROFILE\0")) is None


def test_adobe_markers_are_plain_only_for_ycbcr() -> None:
    ycbcr, rgb = (b"Adobe\0\x64\0\0\0\0" + bytes([transform]) for transform in (1, 0))
    assert plain(with_segment(0xEE, ycbcr)) is not None
    assert plain(with_segment(0xEE, rgb)) is None
    assert plain(with_segment(0xEE, b"Adobe")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        JPEG[:-1],
        JPEG[:-2],
        JPEG[: len(JPEG) // 2],
        encode_image(PICTURE, "PNG"),
        encode_image(PICTURE.convert("L"), "JPEG"),
        encode_image(PICTURE.convert("CMYK"), "JPEG"),
        encode_image(PICTURE, "JPEG", progressive=True),
        encode_image(PICTURE, "JPEG", keep_rgb=True),
        encode_image(PICTURE.resize((300, 40)), "JPEG"),
        with_segment(0xC0, b"\x08" + bytes(14)),
        with_segment(0xCC, b"\0\0"),
        with_segment(0xDD, b"\0\0\0\0"),
        JPEG.replace(b"\xff\xc4", b"\xff\xfe"),
        JPEG.replace(b"\xff\xdb", b"\xff\xfe"),
        JPEG.replace(b"\xff\xc0", b"\xff\xc2"),
    ],
)
def test_unusual_and_broken_jpegs_are_not_plain(data: bytes) -> None:
    assert plain(data) is None


def test_no_image_over_the_limit_is_plain() -> None:
    assert plain(JPEG, max_pixels=300 * 200) is not None
    assert plain(JPEG, max_pixels=300 * 200 - 1) is None


def test_invalid_huffman_tables_are_not_plain() -> None:
    at = JPEG.index(b"\xff\xc4") + 5
    for counts in (b"\xff" * 16, b"\0" * 16):
        assert plain(JPEG[:at] + counts + JPEG[at + 16 :]) is None


@given(st.binary(max_size=400))
@example(b"\xff\xd8\xff\xda\0\x02")
@example(b"\xff\xd8\xff\xc0\0\x02\xff\xda\0\x02")
def test_random_bytes_raise_nothing(data: bytes) -> None:
    assert plain(data) is None
    plain(b"\xff\xd8" + data)


SMALL = encode_image(PICTURE.resize((96, 80)), "JPEG", icc_profile=SRGB)


@examples(75)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_jpegs_that_are_plain_can_be_decoded(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(SMALL)
    for at, value in changes:
        damaged[at] = value
    jpeg = plain(bytes(damaged))
    if jpeg is not None:
        image = decode_photo(bytes(damaged), Resize(32, 32), max_pixels=MAX_PIXELS)
        assert (jpeg.width, jpeg.height) == (image.width, image.height)


def test_plain_jpegs_among_real_and_hostile_files_can_be_decoded(test_data: Path) -> None:
    plain_count = 0
    for folder in ("originals", "exif", "hostile"):
        for file in filter(Path.is_file, sorted((test_data / folder).rglob("*"))):
            data = file.read_bytes()
            jpeg = plain(data)
            if jpeg is not None:
                plain_count += 1
                _assert_decodable(file, data, jpeg)
    assert plain_count > 50


def _assert_decodable(file: Path, data: bytes, jpeg: PlainJpeg) -> None:
    try:
        decoded = decode(data)
    except PhotoFailed as failed:
        raise AssertionError(f"{file} is plain, but decoding fails: {failed}") from failed
    assert (jpeg.width, jpeg.height) == (decoded.width, decoded.height), file
    with Image.open(io.BytesIO(jpeg.data)) as image:
        assert image.mode == "RGB"
