"""Unusual files are decoded as viewers show them, or fail with the kind that docs/reference/failures.md lists."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from rig.containers import encode_image
from rig.drawing import draw_photo
from rig.handmade_images import CMYK, GRAY, LAB, SEE_THROUGH, gray_profile, ink_profile, png_of, tiff_of
from support.decoding import decode, decode_failure, encode_heic

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.decoding import failing_alone

PICTURE = draw_photo(7, (300, 200))
BYTES = np.asarray(PICTURE)
DEEP = BYTES.astype(np.uint16) * 257
GRAYS = np.asarray(PICTURE.convert("L"))
DEEP_GRAYS = GRAYS.astype(np.uint16) * 257
FAILURES = Path(__file__).parents[2] / "docs" / "reference" / "failures.md"


def difference(data: bytes, expected: np.ndarray) -> float:
    return float(np.abs(decode(data).pixels.astype(float) - expected).mean())


def with_samples(pixels: np.ndarray, value: int) -> np.ndarray:
    """The pixels with one more sample of the same value."""
    planes = pixels if pixels.ndim == 3 else pixels[..., None]
    return np.concatenate([planes, np.full((*planes.shape[:2], 1), value, planes.dtype)], axis=-1)


COLOURS = decode(encode_image(PICTURE, "PNG")).pixels.astype(float)
GRAY_COLOURS = decode(encode_image(PICTURE.convert("L"), "PNG")).pixels.astype(float)


# --- depths and layouts


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png_of(DEEP), COLOURS),
        (png_of(with_samples(DEEP, 32768)), (COLOURS + 255) / 2),
        (png_of(DEEP_GRAYS), GRAY_COLOURS),
        (png_of(with_samples(DEEP_GRAYS, 32768)), (GRAY_COLOURS + 255) / 2),
        (tiff_of(DEEP), COLOURS),
        (tiff_of(DEEP.astype(">u2")), COLOURS),
        (tiff_of(with_samples(DEEP, 32768), tags={338: SEE_THROUGH}), (COLOURS + 255) / 2),
        (tiff_of(with_samples(DEEP, 0), tags={338: 0}), COLOURS),
        (tiff_of(BYTES, separate=True), COLOURS),
        (tiff_of(DEEP_GRAYS.astype(">u2"), GRAY), GRAY_COLOURS),
        (tiff_of(255 - GRAYS, 0), GRAY_COLOURS),
        (tiff_of(65535 - DEEP_GRAYS, 0), GRAY_COLOURS),
        (tiff_of(BYTES, tile=64), COLOURS),
        (tiff_of(np.asarray(PICTURE.convert("CMYK")).astype(np.uint16) * 257, CMYK), COLOURS),
    ],
)
def test_deep_tiled_and_separate_pixels_look_like_plain_ones(data: bytes, expected: np.ndarray) -> None:
    assert difference(data, expected) < 1.5


@pytest.mark.parametrize(
    "data",
    [
        tiff_of(BYTES.astype(np.float32)),
        tiff_of((GRAYS / np.float32(255)).astype(np.float32), GRAY),
        tiff_of(GRAYS.astype(np.uint32), GRAY),
        tiff_of(DEEP, separate=True),
        tiff_of(DEEP, LAB),
        tiff_of(with_samples(DEEP_GRAYS, 65535), GRAY, tags={338: SEE_THROUGH}),
        tiff_of(np.asarray(PICTURE.convert("CMYK")).astype(np.uint16), CMYK, separate=True),
    ],
)
def test_unsupported_depths_are_reported(data: bytes) -> None:
    kind, text = decode_failure(data)
    assert kind is FailureKind.UNSUPPORTED
    assert "Convert it to JPEG or PNG." in text


# --- colours


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_profile_of_another_kind_of_image_is_ignored(kind: str) -> None:
    exact = {"quality": 97} if kind == "JPEG" else {}
    assert difference(encode_image(PICTURE, kind, icc_profile=gray_profile(), **exact), COLOURS) < 1.5
    gray = PICTURE.convert("L")
    assert difference(encode_image(gray, kind, icc_profile=SRGB, **exact), GRAY_COLOURS) < 1.5
    assert difference(encode_image(gray, kind, icc_profile=gray_profile(), **exact), GRAY_COLOURS) < 3
    if kind != "PNG":
        cmyk = PICTURE.convert("CMYK")
        assert difference(encode_image(cmyk, kind, icc_profile=SRGB, **exact), COLOURS) < 1.5


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_profile_determines_ink_colours(kind: str) -> None:
    def shown(ink: int, lab: tuple[int, int, int]) -> np.ndarray:
        picture = Image.new("CMYK", (200, 200), (ink, 0, 0, 0))
        return decode(encode_image(picture, kind, icc_profile=ink_profile(lab))).pixels

    assert np.abs(shown(255, (65, 40, 60))[50, 50].astype(int) - (237, 126, 46)).max() < 4  # in sRGB
    assert shown(0, (0, 0, 0)).min() > 250


def test_cmyk_jpeg_without_adobe_marker_is_not_its_negative() -> None:
    jpeg = encode_image(PICTURE.convert("CMYK"), "JPEG", quality=97)
    at = jpeg.index(b"\xff\xeeAdobe"[:2])
    bare = jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]
    assert b"Adobe" not in bare
    assert difference(bare, COLOURS) < 1.5


# --- orientation


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(4, Image.Transpose.FLIP_TOP_BOTTOM), (5, Image.Transpose.TRANSPOSE), (6, Image.Transpose.ROTATE_90)],
)
def test_heic_stands_upright_in_every_orientation(orientation: int, turned: Image.Transpose) -> None:
    block = Image.Exif()
    block[274] = orientation
    data = encode_heic(PICTURE.transpose(turned), quality=95, exif=block.tobytes())
    assert b"irot" in data or b"imir" in data
    assert (decode(data).width, decode(data).height) == PICTURE.size
    assert difference(data, COLOURS) < 4


def test_several_pictures_in_a_heic_show_the_primary_one() -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    pictures = heif.from_pillow(Image.new("RGB", PICTURE.size, "red"))
    pictures.add_from_pillow(PICTURE)
    file = io.BytesIO()
    pictures.save(file, primary_index=1, quality=95)
    assert difference(file.getvalue(), COLOURS) < 4


# --- truncated, unsupported and misnamed files


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "BMP", "WEBP", "AVIF"])
def test_cut_off_files_are_to_be_copied_again(kind: str, part: float) -> None:
    whole = encode_image(PICTURE, kind)
    failure, text = decode_failure(whole[: int(len(whole) * part)])
    assert failure in (FailureKind.TRUNCATED, FailureKind.CORRUPT)
    assert "Copy it again" in text


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC7, 0xCB, 0xCF, 0xF7])
def test_lossless_and_hierarchical_jpeg_are_not_read(frame: int) -> None:
    jpeg = encode_image(PICTURE, "JPEG")
    at = jpeg.index(b"\xff\xc0")
    kind, text = decode_failure(jpeg[: at + 1] + bytes([frame]) + jpeg[at + 2 :])
    assert kind is FailureKind.UNSUPPORTED
    assert "its coding" in text


@pytest.mark.parametrize("compression", [9, 34712, 50002])
def test_tiff_in_a_coding_without_a_decoder_is_unsupported(compression: int) -> None:
    kind, text = decode_failure(tiff_of(BYTES, tags={259: compression}))
    assert (kind, "its coding" in text) == (FailureKind.UNSUPPORTED, True)


@pytest.mark.parametrize("compression", [5, 8, 34925, 50000])
def test_damaged_tiff_in_a_coding_with_a_decoder_is_damaged(compression: int) -> None:
    kind, _ = decode_failure(tiff_of(BYTES, tags={259: compression}))
    assert kind is FailureKind.CORRUPT


@pytest.mark.parametrize("coding", [b"vvc1", b"jpeg"])
def test_heic_and_avif_in_another_coding_are_unsupported(coding: bytes) -> None:
    avif = encode_image(PICTURE, "AVIF").replace(b"av01", coding)
    assert decode_failure(avif)[0] is FailureKind.UNSUPPORTED
    assert decode_failure(encode_heic(PICTURE).replace(b"hvc1", coding))[0] is FailureKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("data", "kind", "expected_text"),
    [
        (b"\n<!DOCTYPE html><title>404</title>", FailureKind.NOT_AN_IMAGE, "web page"),
        (b"\xff\x0a" + bytes(20), FailureKind.UNSUPPORTED, "JPEG XL"),
    ],
)
def test_what_else_was_saved_under_a_photos_name_is_named(
    data: bytes, kind: FailureKind, expected_text: str
) -> None:
    assert decode_failure(data)[0] is kind
    assert expected_text in decode_failure(data)[1]


def test_decoder_messages_are_cleaned_and_bare_numbers_dropped() -> None:
    def text_for(error: Exception) -> str:
        with pytest.raises(PhotoFailed) as excinfo, failing_alone(b""):
            raise error
        return excinfo.value.failure.text

    assert "(odd name 'c ')" in text_for(ValueError("odd\nname\t'c\x01'"))
    assert "24068" not in text_for(ValueError(24068))
    assert len(text_for(OSError("a " * 500))) < 400


# --- docs/reference/failures.md


def test_every_kind_of_failure_is_explained_and_no_other() -> None:
    section = FAILURES.read_text().partition("## Kinds")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    assert sorted(explained) == sorted(FailureKind)
    assert len(explained) == len(set(explained))
