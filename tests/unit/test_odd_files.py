"""Unusual files are decoded as viewers show them, or fail with the kind that docs/reference/failures.md lists."""

import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from rig.containers import encode_image, png_chunk
from rig.drawing import draw_photo
from rig.handmade_images import CMYK, GRAY, LAB, SEE_THROUGH, png_of, tiff_of
from support.decoding import decode, decode_failure, encode_heic
from support.profiles import gray_profile, ink_profile

from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata.camera import CameraFacts, camera_facts
from tagger.photos.decoding.decode import ends_early, failing_alone

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
        (tiff_of(DEEP, separate=True), COLOURS),
        (tiff_of(with_samples(DEEP, 65535), separate=True, tags={338: SEE_THROUGH}), COLOURS),
        (tiff_of(DEEP_GRAYS.astype(">u2"), GRAY), GRAY_COLOURS),
        (tiff_of(255 - GRAYS, 0), GRAY_COLOURS),
        (tiff_of(65535 - DEEP_GRAYS, 0), GRAY_COLOURS),
        (tiff_of(BYTES, tile=64), COLOURS),
        (tiff_of((GRAYS / np.float32(255)).astype(np.float32), GRAY), GRAY_COLOURS),
        (tiff_of(np.asarray(PICTURE.convert("CMYK")).astype(np.uint16) * 257, CMYK), COLOURS),
    ],
)
def test_deep_tiled_and_separate_pixels_look_like_plain_ones(data: bytes, expected: np.ndarray) -> None:
    assert difference(data, expected) < 1.5


@pytest.mark.parametrize(
    "data",
    [
        tiff_of(BYTES.astype(np.float32)),
        tiff_of(DEEP, LAB),
        tiff_of(with_samples(DEEP_GRAYS, 65535), GRAY, tags={338: SEE_THROUGH}),
        tiff_of(np.asarray(PICTURE.convert("CMYK")).astype(np.uint16), CMYK, separate=True),
    ],
)
def test_unsupported_depths_are_reported(data: bytes) -> None:
    kind, text = decode_failure(data)
    assert kind is FailureKind.UNSUPPORTED
    assert "Convert it to JPEG or PNG." in text


def test_gray_that_is_transparent_is_seen_on_white_in_every_depth() -> None:
    black = np.zeros((60, 60), np.uint16)
    one_bit = encode_image(Image.new("1", (60, 60)), "PNG")
    keyed = one_bit[:33] + png_chunk(b"tRNS", b"\0\0") + one_bit[33:]
    for data in (png_of(black, tRNS=b"\0\0"), png_of(black.astype(np.uint8), tRNS=b"\0\0"), keyed):
        assert (decode(data).pixels == 255).all()
    assert (decode(png_of(black, tRNS=b"\0\1")).pixels == 0).all()


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


def test_broken_exif_hides_no_avif() -> None:
    block = Image.Exif()
    block[271], block[274] = "a camera, with a long name", 6
    avif = encode_image(PICTURE.transpose(Image.Transpose.ROTATE_90), "AVIF", exif=block)
    maker = avif.index(b"\x01\x0f\x00\x02")
    broken = avif[: maker + 2] + struct.pack(">HI", 5, 1) + avif[maker + 8 :]  # a fraction, not a text
    with pytest.raises(Exception, match="encode"):
        Image.open(io.BytesIO(broken))
    assert camera_facts(broken) == CameraFacts(has_orientation=True)  # its container's
    assert difference(broken, COLOURS) < 4


def test_several_pictures_in_a_heic_show_the_primary_one() -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    pictures = heif.from_pillow(Image.new("RGB", PICTURE.size, "red"))
    pictures.add_from_pillow(PICTURE)
    file = io.BytesIO()
    pictures.save(file, primary_index=1, quality=95)
    assert difference(file.getvalue(), COLOURS) < 4


# --- truncated, unsupported and misnamed files


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in ("PNG", "TIFF", "GIF", "BMP", "AVIF")),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_cut_off_files_are_truncated_and_not_corrupt(
    kind: str, options: dict[str, object], part: float
) -> None:
    whole = encode_image(PICTURE, kind, **options)
    assert decode_failure(whole[: int(len(whole) * part)])[0] is FailureKind.TRUNCATED
    assert not ends_early(whole)


def test_cut_off_heic_is_truncated() -> None:
    assert decode_failure(encode_heic(PICTURE)[:-500])[0] is FailureKind.TRUNCATED


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC7, 0xCB, 0xCF, 0xF7])
def test_lossless_and_hierarchical_jpeg_are_not_read(frame: int) -> None:
    jpeg = encode_image(PICTURE, "JPEG")
    at = jpeg.index(b"\xff\xc0")
    kind, text = decode_failure(jpeg[: at + 1] + bytes([frame]) + jpeg[at + 2 :])
    assert kind is FailureKind.UNSUPPORTED
    assert re.search("lossless|hierarchical|JPEG-LS", text)


@pytest.mark.parametrize("compression", [9, 32895, 34661, 34712, 34887, 50001, 50002, 52546, 60000])
def test_tiff_in_a_coding_without_a_decoder_is_unsupported(compression: int) -> None:
    kind, text = decode_failure(tiff_of(BYTES, tags={259: compression}))
    assert (kind, "TIFF with " in text) == (FailureKind.UNSUPPORTED, True)


@pytest.mark.parametrize("compression", [5, 8, 34925, 50000])
def test_damaged_tiff_in_a_coding_with_a_decoder_is_damaged(compression: int) -> None:
    kind, _ = decode_failure(tiff_of(BYTES, tags={259: compression}))
    assert kind is FailureKind.CORRUPT


@pytest.mark.parametrize("coding", [b"vvc1", b"avc1", b"evc1", b"j2k1", b"jpeg", b"unci", b"xyz1"])
def test_heic_and_avif_in_another_coding_are_unsupported(coding: bytes) -> None:
    avif = encode_image(PICTURE, "AVIF").replace(b"av01", coding)
    assert decode_failure(avif)[0] is FailureKind.UNSUPPORTED
    assert decode_failure(encode_heic(PICTURE).replace(b"hvc1", coding))[0] is FailureKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("data", "kind", "expected_text"),
    [
        (b"\n<!DOCTYPE html><title>404</title>", FailureKind.NOT_AN_IMAGE, "web page"),
        (b"P6\n4 4\n255\n" + bytes(48), FailureKind.UNSUPPORTED, "PNM"),
        (b"qoif" + bytes(20), FailureKind.UNSUPPORTED, "QOI"),
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
