"""Time and memory of images: small malicious files need little of either, large images share a memory budget."""

import struct
import threading
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms
from rig.containers import encode_image, png_chunk
from rig.decoding_memory import CLEAR_PEAK, measure_decoding
from rig.drawing import draw_photo
from rig.handmade_images import GRAY, tiff_of
from rig.large_images import LARGE_IMAGES
from support.decoding import MAX_PIXELS, RESIZE, decode, decode_failure, encode_heic

from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata.camera import camera_facts
from tagger.photos.containers import digest_photo
from tagger.photos.decoding import decode_photo, memory, scalable, scaled
from tagger.photos.decoding.memory import MemoryBudget, decoder_memory
from tagger.photos.facts import CameraFacts
from tagger.photos.formats import JPEG
from tagger.photos.jpeg import from_first_scan

PICTURE = draw_photo(7, (300, 200))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def difference(one: bytes, other: bytes) -> float:
    return float(np.abs(decode(one).pixels.astype(float) - decode(other).pixels).mean())


@pytest.mark.parametrize("encode", [encode_heic, lambda picture: encode_image(picture, "AVIF")])
def test_sizes_in_boxes_are_checked_against_the_limit(encode: Callable[[Image.Image], bytes]) -> None:
    data = encode(PICTURE)
    at = data.index(b"ispe") + 8
    huge = data[:at] + struct.pack(">II", 40_000, 40_000) + data[at + 8 :]
    assert decode_failure(huge)[0] is FailureKind.TOO_MANY_PIXELS


@pytest.mark.parametrize(
    "filler",
    [b"\xff\xd0", b"\xff\xfe\0\2", b"\xff\xe1\0\2"],
)
def test_the_decoder_gets_little_of_a_jpeg_without_an_image(filler: bytes) -> None:
    data = b"\xff\xd8\xff\xc8" + filler * 100_000
    assert len(from_first_scan(data)) < 100_000
    assert decode_failure(data)[0] in (FailureKind.CORRUPT, FailureKind.TRUNCATED)


def test_the_decoder_gets_a_jpeg_without_metadata() -> None:
    jpeg = encode_image(PICTURE, "JPEG", icc_profile=SRGB, comment=b"sunset" * 1000)
    readable = from_first_scan(jpeg)
    assert b"sunset" not in readable
    assert np.array_equal(decode(readable).pixels, decode(jpeg).pixels)


def test_a_png_with_too_many_chunks_is_refused() -> None:
    png = encode_image(PICTURE, "PNG")
    assert decode_failure(png[:33] + png_chunk(b"tEXt", b"") * 100_001 + png[33:])[0] is FailureKind.CORRUPT
    assert difference(png[:33] + png_chunk(b"tEXt", b"") * 1000 + png[33:], png) == 0


def test_a_gif_with_too_many_blocks_is_refused() -> None:
    gif = encode_image(PICTURE, "GIF")
    at = 13 + 3 * 256
    assert gif[at] in b"!,"
    commented = gif[:at] + b"!\xfe" + b"\1a" * 50_000 + b"\0" + gif[at:]
    assert difference(commented, gif) == 0
    assert decode_failure(gif[:at] + b"!\xfe" + b"\1a" * 100_001 + b"\0" + gif[at:])[0] is FailureKind.CORRUPT


def test_a_tiff_with_too_many_strips_is_refused() -> None:
    few, many = (tiff_of(np.zeros((count, 8), np.uint8), GRAY, strip_rows=1) for count in (1000, 100_001))
    assert decode(few).width == 8
    assert decode_failure(many)[0] is FailureKind.UNSUPPORTED


def test_exif_with_millions_of_numbers_takes_no_memory() -> None:
    count = 2_000_000
    plain = tiff_of(np.zeros((8, 8), np.uint8), GRAY, tags={34665: 0})
    pointer = plain.index(struct.pack("<HHI", 34665, 4, 1)) + 8
    numbers_at = len(plain) + 18
    exif = struct.pack("<HHHII", 1, 40000, 3, count, numbers_at) + bytes(4)
    file = plain[:pointer] + struct.pack("<I", len(plain)) + plain[pointer + 4 :] + exif + b"\1\0" * count
    tracemalloc.start()
    try:
        assert decode(file).width == 8
        assert tracemalloc.get_traced_memory()[1] < 2 * len(file)
    finally:
        tracemalloc.stop()


def test_a_jpeg_with_too_many_scans_is_refused() -> None:
    jpeg = encode_image(PICTURE, "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    kind, text = decode_failure(jpeg[:-2] + scan * 200 + jpeg[-2:])
    assert kind is FailureKind.UNSUPPORTED
    assert "scans" in text
    assert difference(jpeg[:-2] + scan * 20 + jpeg[-2:], jpeg) < 6


@pytest.mark.parametrize("read", [digest_photo, camera_facts])
def test_tags_that_name_the_same_bytes_take_no_memory(read: object) -> None:
    size, count = 2_000_000, 4000
    entries = b"".join(struct.pack("<HHII", 250 + k, 1, size, 8) for k in range(count))
    bomb = (b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4)).ljust(size + 100, b"\1")
    tracemalloc.start()
    try:
        assert read(bomb) in (CameraFacts(has_orientation=True), digest_photo(bomb))  # type: ignore[operator]
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


# --- memory

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB"]


@pytest.mark.parametrize("mode", MODES)
def test_scaling_in_bands_gives_the_same_pixels(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = draw_photo(3, (903, 611))
    picture.putalpha(picture.getchannel("G"))
    image = Image.merge("LAB", picture.split()[:3]) if mode == "LAB" else picture.convert(mode)
    for box in ((146.0, 0.0, 757.0, 611.0), (10.5, 20.25, 500.5, 510.25)):
        whole = scalable(image).resize((64, 64), Image.Resampling.BILINEAR, box, reducing_gap=3.0)
        monkeypatch.setattr("tagger.photos.decoding._BAND_PIXELS", 20_000)
        assert np.array_equal(np.asarray(scaled(image, box, 64)), np.asarray(whole))


ON_LINUX = pytest.mark.skipif(not CLEAR_PEAK.exists(), reason="reads the memory use from Linux's /proc")
COSTLY_KINDS = [
    "jpeg progressive cmyk",
    "png gray 16 bit",
    "gif animated",
    "tiff rgba 16 bit strip rotated",
    "tiff rgba 16 bit tile",
    "avif alpha",
]
ALLOCATOR_BYTES = 2**21


@ON_LINUX
@pytest.mark.parametrize("kind", COSTLY_KINDS)
def test_decoding_takes_no_more_memory_than_counted(kind: str) -> None:
    # One image for each process: what the allocator keeps of one would be missing from the peak of the next.
    (taken,) = measure_decoding([kind], (2100, 2000))
    assert taken.peak_bytes < taken.counted_bytes + ALLOCATOR_BYTES
    assert taken.counted_bytes < 2 * taken.peak_bytes + 50 * 2**20


@ON_LINUX
@pytest.mark.slow
@pytest.mark.parametrize("side", [112, 2048])
@pytest.mark.parametrize("kind", sorted(LARGE_IMAGES))
def test_every_kind_of_image_takes_no_more_memory_than_counted(kind: str, side: int) -> None:
    if kind.startswith("heic"):
        pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    if " webp " in kind and not _writes_webp_in_tiff():
        pytest.skip("this build of Pillow has no WebP in TIFF")
    (taken,) = measure_decoding([kind], (4000, 3000), side=side)
    assert taken.peak_bytes < taken.counted_bytes + ALLOCATOR_BYTES


def _writes_webp_in_tiff() -> bool:
    try:
        encode_image(PICTURE, "TIFF", compression="webp")
    except OSError:
        return False
    return True


@ON_LINUX
@pytest.mark.slow
def test_images_decoded_at_the_same_time_stay_within_the_budget() -> None:
    kind, size = "tiff rgba 16 bit strip", (1600, 1200)
    (alone,) = measure_decoding([kind], size)
    budget_bytes = 2 * alone.counted_bytes + 1
    (taken,) = measure_decoding([kind], size, threads=8, budget_bytes=budget_bytes)
    assert taken.peak_bytes < budget_bytes + 8 * ALLOCATOR_BYTES


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_decoding_a_jpeg_at_a_fraction_needs_a_fraction_unless_it_is_progressive(
    options: dict[str, bool],
) -> None:
    data = encode_image(Image.new("RGB", (8000, 6000)), "JPEG", **options)
    image = JPEG.reader.open(data, MAX_PIXELS)
    image.draft(None, (300, 300))
    needed = decoder_memory(image, JPEG, data, (8000, 6000))
    needed_bytes = needed.held_bytes + needed.decoding_bytes
    assert (needed_bytes < 8000 * 6000) is not bool(options)


@pytest.mark.parametrize("kind", ["webp lossless", "tiff rgb strip", "gif", "png rgb"])
def test_only_the_limit_of_pixels_of_this_program_counts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = LARGE_IMAGES[kind]((96, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode_photo(data, RESIZE, max_pixels=96 * 64).width == 96
    with pytest.raises(PhotoFailed):
        decode_photo(data, RESIZE, max_pixels=96 * 64 - 1)


def test_images_wait_for_memory_in_order() -> None:
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


def test_a_failing_photo_releases_its_memory() -> None:
    budget = MemoryBudget(10)
    with pytest.raises(ValueError, match="damaged"), budget.reserve(10):
        raise ValueError("damaged")
    with budget.reserve(10):
        pass


def test_a_hanging_decoder_does_not_hold_its_memory_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "RESERVATION_LIMIT_S", 0.0)
    budget = MemoryBudget(10)
    with budget.reserve(10), budget.reserve(10):
        pass
