"""Unusual files are decoded as viewers show them, or fail with a documented kind; none takes much time or memory."""

import io
import re
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from rig.containers import encode_image, png_chunk
from rig.decoding_memory import CLEAR_PEAK, measure_decoding
from rig.drawing import draw_photo
from rig.handmade_images import CMYK, GRAY, LAB, SEE_THROUGH, gray_profile, ink_profile, png_of, tiff_of
from rig.large_images import LARGE_IMAGES
from support.decoding import MAX_PIXELS, RESIZE, decode, decode_failure, encode_heic, traced_bytes

from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata.camera import camera_facts
from tagger.photos import CameraFacts
from tagger.photos.containers import from_first_scan
from tagger.photos.decoding import decode_photo, limits as memory, scalable, scaled
from tagger.photos.decoding.limits import MemoryBudget, decoder_memory, failing_alone
from tagger.photos.formats import JPEG, digest_photo

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
        (tiff_of(255 - GRAYS, 0), GRAY_COLOURS),
        (tiff_of(BYTES, tile=64), COLOURS),
        (tiff_of(np.asarray(PICTURE.convert("CMYK")).astype(np.uint16) * 257, CMYK), COLOURS),
    ],
)
def test_deep_tiled_and_separate_pixels_look_like_plain_ones(data, expected):
    assert difference(data, expected) < 1.5


@pytest.mark.parametrize(
    "data",
    [
        tiff_of(BYTES.astype(np.float32)),
        tiff_of(GRAYS.astype(np.uint32), GRAY),
        tiff_of(DEEP, separate=True),
        tiff_of(DEEP, LAB),
        tiff_of(with_samples(DEEP_GRAYS, 65535), GRAY, tags={338: SEE_THROUGH}),
        tiff_of(np.asarray(PICTURE.convert("CMYK")).astype(np.uint16), CMYK, separate=True),
    ],
)
def test_unsupported_depths_are_reported(data):
    kind, text = decode_failure(data)
    assert kind is FailureKind.UNSUPPORTED
    assert "Convert it to JPEG or PNG." in text


# --- colours


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_profile_of_another_kind_of_image_is_ignored(kind):
    exact = {"quality": 97} if kind == "JPEG" else {}
    assert difference(encode_image(PICTURE, kind, icc_profile=gray_profile(), **exact), COLOURS) < 1.5
    gray = PICTURE.convert("L")
    assert difference(encode_image(gray, kind, icc_profile=SRGB, **exact), GRAY_COLOURS) < 1.5
    assert difference(encode_image(gray, kind, icc_profile=gray_profile(), **exact), GRAY_COLOURS) < 3
    if kind != "PNG":
        cmyk = PICTURE.convert("CMYK")
        assert difference(encode_image(cmyk, kind, icc_profile=SRGB, **exact), COLOURS) < 1.5


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_profile_determines_ink_colours(kind):
    def shown(ink: int, lab: tuple[int, int, int]) -> np.ndarray:
        picture = Image.new("CMYK", (200, 200), (ink, 0, 0, 0))
        return decode(encode_image(picture, kind, icc_profile=ink_profile(lab))).pixels

    assert np.abs(shown(255, (65, 40, 60))[50, 50].astype(int) - (237, 126, 46)).max() < 4  # in sRGB
    assert shown(0, (0, 0, 0)).min() > 250


def test_jpegs_without_a_marker_or_metadata_are_decoded_as_they_are():
    jpeg = encode_image(PICTURE.convert("CMYK"), "JPEG", quality=97)
    at = jpeg.index(b"\xff\xeeAdobe"[:2])
    bare = jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]
    assert b"Adobe" not in bare
    assert difference(bare, COLOURS) < 1.5
    jpeg = encode_image(PICTURE, "JPEG", icc_profile=SRGB, comment=b"sunset" * 1000)
    readable = from_first_scan(jpeg)
    assert b"sunset" not in readable
    assert np.array_equal(decode(readable).pixels, decode(jpeg).pixels)


# --- orientation


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(4, Image.Transpose.FLIP_TOP_BOTTOM), (5, Image.Transpose.TRANSPOSE), (6, Image.Transpose.ROTATE_90)],
)
def test_heic_stands_upright_in_every_orientation(orientation, turned):
    block = Image.Exif()
    block[274] = orientation
    data = encode_heic(PICTURE.transpose(turned), quality=95, exif=block.tobytes())
    assert b"irot" in data or b"imir" in data
    assert (decode(data).width, decode(data).height) == PICTURE.size
    assert difference(data, COLOURS) < 4


def test_several_pictures_in_a_heic_show_the_primary_one():
    heif = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    pictures = heif.from_pillow(Image.new("RGB", PICTURE.size, "red"))
    pictures.add_from_pillow(PICTURE)
    file = io.BytesIO()
    pictures.save(file, primary_index=1, quality=95)
    assert difference(file.getvalue(), COLOURS) < 4


# --- truncated, unsupported and misnamed files


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "BMP", "WEBP", "AVIF"])
def test_cut_off_files_are_to_be_copied_again(kind, part):
    whole = encode_image(PICTURE, kind)
    failure, text = decode_failure(whole[: int(len(whole) * part)])
    assert failure in (FailureKind.TRUNCATED, FailureKind.CORRUPT)
    assert "Copy it again" in text


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC7, 0xCB, 0xCF, 0xF7])
def test_lossless_and_hierarchical_jpeg_are_not_read(frame):
    jpeg = encode_image(PICTURE, "JPEG")
    at = jpeg.index(b"\xff\xc0")
    kind, text = decode_failure(jpeg[: at + 1] + bytes([frame]) + jpeg[at + 2 :])
    assert kind is FailureKind.UNSUPPORTED
    assert "its coding" in text


@pytest.mark.parametrize("compression", [9, 34712, 50002, 5, 8, 34925, 50000])
def test_tiff_in_a_coding_without_a_decoder_is_unsupported_and_with_one_damaged(compression):
    kind, text = decode_failure(tiff_of(BYTES, tags={259: compression}))
    has_decoder = compression in (5, 8, 34925, 50000)
    assert kind is (FailureKind.CORRUPT if has_decoder else FailureKind.UNSUPPORTED)
    assert has_decoder or "its coding" in text


@pytest.mark.parametrize("coding", [b"vvc1", b"jpeg"])
def test_heic_and_avif_in_another_coding_are_unsupported(coding):
    avif = encode_image(PICTURE, "AVIF").replace(b"av01", coding)
    assert decode_failure(avif)[0] is FailureKind.UNSUPPORTED
    assert decode_failure(encode_heic(PICTURE).replace(b"hvc1", coding))[0] is FailureKind.UNSUPPORTED


def test_messages_of_decoders_are_cleaned_and_every_kind_explained():
    def text_for(error: Exception) -> str:
        with pytest.raises(PhotoFailed) as excinfo, failing_alone(b""):
            raise error
        return excinfo.value.failure.text

    assert "(odd name 'c ')" in text_for(ValueError("odd\nname\t'c\x01'"))
    assert "24068" not in text_for(ValueError(24068))
    assert len(text_for(OSError("a " * 500))) < 400
    section = FAILURES.read_text().partition("## Kinds")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    assert sorted(explained) == sorted(FailureKind)
    assert len(explained) == len(set(explained))


# --- docs/reference/failures.md


def largest_difference(one: bytes, other: bytes) -> float:
    return float(np.abs(decode(one).pixels.astype(float) - decode(other).pixels).mean())


@pytest.mark.parametrize("encode", [encode_heic, lambda picture: encode_image(picture, "AVIF")])
def test_sizes_in_boxes_are_checked_against_the_limit(encode):
    data = encode(PICTURE)
    at = data.index(b"ispe") + 8
    huge = data[:at] + struct.pack(">II", 40_000, 40_000) + data[at + 8 :]
    assert decode_failure(huge)[0] is FailureKind.TOO_MANY_PIXELS


@pytest.mark.parametrize("filler", [b"\xff\xd0", b"\xff\xfe\0\2", b"\xff\xe1\0\2"])
def test_the_decoder_gets_little_of_a_jpeg_without_an_image(filler):
    data = b"\xff\xd8\xff\xc8" + filler * 100_000
    assert len(from_first_scan(data)) < 100_000
    assert decode_failure(data)[0] in (FailureKind.CORRUPT, FailureKind.TRUNCATED)


def test_files_of_too_many_parts_are_refused():
    png = encode_image(PICTURE, "PNG")
    assert decode_failure(png[:33] + png_chunk(b"tEXt", b"") * 100_001 + png[33:])[0] is FailureKind.CORRUPT
    assert largest_difference(png[:33] + png_chunk(b"tEXt", b"") * 1000 + png[33:], png) == 0
    gif = encode_image(PICTURE, "GIF")
    at = 13 + 3 * 256
    assert gif[at] in b"!,"
    commented = gif[:at] + b"!\xfe" + b"\1a" * 50_000 + b"\0" + gif[at:]
    assert largest_difference(commented, gif) == 0
    assert decode_failure(gif[:at] + b"!\xfe" + b"\1a" * 100_001 + b"\0" + gif[at:])[0] is FailureKind.CORRUPT
    few, many = (tiff_of(np.zeros((count, 8), np.uint8), GRAY, strip_rows=1) for count in (1000, 100_001))
    assert decode(few).width == 8
    assert decode_failure(many)[0] is FailureKind.UNSUPPORTED
    jpeg = encode_image(PICTURE, "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    kind, text = decode_failure(jpeg[:-2] + scan * 200 + jpeg[-2:])
    assert kind is FailureKind.UNSUPPORTED
    assert "scans" in text
    assert largest_difference(jpeg[:-2] + scan * 20 + jpeg[-2:], jpeg) < 6


def test_exif_with_millions_of_numbers_takes_no_memory():
    count = 2_000_000
    plain = tiff_of(np.zeros((8, 8), np.uint8), GRAY, tags={34665: 0})
    pointer = plain.index(struct.pack("<HHI", 34665, 4, 1)) + 8
    numbers_at = len(plain) + 18
    exif = struct.pack("<HHHII", 1, 40000, 3, count, numbers_at) + bytes(4)
    file = plain[:pointer] + struct.pack("<I", len(plain)) + plain[pointer + 4 :] + exif + b"\1\0" * count
    assert decode(file).width == 8
    assert traced_bytes(lambda: decode(file)) < 2 * len(file)


@pytest.mark.parametrize("read", [digest_photo, camera_facts])
def test_tags_that_name_the_same_bytes_take_no_memory(read):
    size, count = 2_000_000, 4000
    entries = b"".join(struct.pack("<HHII", 250 + k, 1, size, 8) for k in range(count))
    bomb = (b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4)).ljust(size + 100, b"\1")
    assert read(bomb) in (CameraFacts(orientation=1), digest_photo(bomb))
    assert traced_bytes(lambda: read(bomb)) < 10_000_000


# --- memory

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB"]


@pytest.mark.parametrize("mode", MODES)
def test_scaling_in_bands_gives_the_same_pixels(mode, monkeypatch):
    picture = draw_photo(3, (903, 611))
    picture.putalpha(picture.getchannel("G"))
    image = Image.merge("LAB", picture.split()[:3]) if mode == "LAB" else picture.convert(mode)
    for box in ((146.0, 0.0, 757.0, 611.0), (10.5, 20.25, 500.5, 510.25)):
        whole = scalable(image).resize((64, 64), Image.Resampling.BILINEAR, box, reducing_gap=3.0)
        monkeypatch.setattr("tagger.photos.decoding._BAND_PIXELS", 20_000)
        assert np.array_equal(np.asarray(scaled(image, box, 64)), np.asarray(whole))


ON_LINUX = pytest.mark.skipif(not CLEAR_PEAK.exists(), reason="reads the memory use from Linux's /proc")
COSTLY_KINDS = [
    "jpeg progressive cmyk", "png gray 16 bit", "gif animated", "tiff rgba 16 bit strip rotated",
    "tiff rgba 16 bit tile", "avif alpha",
]  # fmt: skip
ALLOCATOR_BYTES = 2**21


@ON_LINUX
@pytest.mark.parametrize("kind", COSTLY_KINDS)
def test_decoding_takes_no_more_memory_than_counted(kind):
    # One image for each process: what the allocator keeps of one would be missing from the peak of the next.
    taken = measure_decoding(kind, (2100, 2000))
    assert taken.peak_bytes < taken.counted_bytes + ALLOCATOR_BYTES
    assert taken.counted_bytes < 2 * taken.peak_bytes + 50 * 2**20


@ON_LINUX
@pytest.mark.slow
@pytest.mark.parametrize("side", [112, 2048])
@pytest.mark.parametrize("kind", sorted(LARGE_IMAGES))
def test_every_kind_of_image_takes_no_more_memory_than_counted(kind, side):
    if kind.startswith("heic"):
        pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    taken = measure_decoding(kind, (4000, 3000), side=side)
    assert taken.peak_bytes < taken.counted_bytes + ALLOCATOR_BYTES


@ON_LINUX
@pytest.mark.slow
def test_images_decoded_at_the_same_time_stay_within_the_budget():
    kind, size = "tiff rgba 16 bit strip", (1600, 1200)
    alone = measure_decoding(kind, size)
    budget_bytes = 2 * alone.counted_bytes + 1
    taken = measure_decoding(kind, size, threads=8, budget_bytes=budget_bytes)
    assert taken.peak_bytes < budget_bytes + 8 * ALLOCATOR_BYTES


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_decoding_a_jpeg_at_a_fraction_needs_a_fraction_unless_it_is_progressive(options):
    data = encode_image(Image.new("RGB", (8000, 6000)), "JPEG", **options)
    image = JPEG.reader.open(data, MAX_PIXELS)
    image.draft(None, (300, 300))
    needed = decoder_memory(image, JPEG, data, (8000, 6000))
    needed_bytes = needed.held_bytes + needed.decoding_bytes
    assert (needed_bytes < 8000 * 6000) is not bool(options)


@pytest.mark.parametrize("kind", ["webp lossless", "tiff rgb strip", "gif", "png rgb"])
def test_only_the_limit_of_pixels_of_this_program_counts(kind, monkeypatch):
    data = LARGE_IMAGES[kind]((96, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode_photo(data, RESIZE, max_pixels=96 * 64).width == 96
    with pytest.raises(PhotoFailed):
        decode_photo(data, RESIZE, max_pixels=96 * 64 - 1)


def test_images_wait_for_memory_in_order_and_a_failing_photo_releases_it():
    budget, order = MemoryBudget(100), []

    def take(name: str, needed_bytes: int) -> None:
        with budget.reserve(needed_bytes):
            order.append(name)

    with budget.reserve(1000):
        waiting = [threading.Thread(target=take, args=one) for one in (("large", 100), ("small", 1))]
        for k, thread in enumerate(waiting, start=1):
            thread.start()
            while len(budget._queue) < k:
                time.sleep(0.001)
        order.append("more than there is budget for")
    for thread in waiting:
        thread.join()
    assert order == ["more than there is budget for", "large", "small"]
    budget = MemoryBudget(10)
    with pytest.raises(ValueError, match="damaged"), budget.reserve(10):
        raise ValueError("damaged")
    with budget.reserve(10):
        pass


def test_a_hanging_decoder_does_not_hold_its_memory_forever(monkeypatch):
    monkeypatch.setattr(memory, "RESERVATION_LIMIT_S", 0.0)
    budget = MemoryBudget(10)
    with budget.reserve(10), budget.reserve(10):
        pass
