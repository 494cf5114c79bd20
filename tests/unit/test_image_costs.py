"""Time and memory of images: small malicious files need little of either, large images share a memory budget."""

import io
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.containers import encode_image, png_chunk
from support.decoding import MAX_PIXELS, decode, decode_failure
from support.drawing import draw_photo

from tagger.errors import FailureKind
from tagger.images import memory, resize
from tagger.images.colours import scalable
from tagger.images.formats import open_header
from tagger.images.memory import MemoryBudget, needed_bytes
from tagger.metadata.camera import CameraFacts, camera_facts
from tagger.photos import digest_photo
from tagger.photos.decoder_input import readable_file
from tagger.photos.formats import PhotoFormat

PICTURE = draw_photo(7, (300, 200))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def difference(one: bytes, other: bytes) -> float:
    return float(np.abs(decode(one).pixels.astype(float) - decode(other).pixels).mean())


@pytest.mark.parametrize("boxes", ["AVIF", "HEIF"])
def test_sizes_in_boxes_are_checked_against_the_limit(boxes: str) -> None:
    if boxes == "HEIF":
        heif = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
        file = io.BytesIO()
        heif.from_pillow(PICTURE).save(file)
        data = file.getvalue()
    else:
        data = encode_image(PICTURE, boxes)
    at = data.index(b"ispe") + 8
    huge = data[:at] + struct.pack(">II", 40_000, 40_000) + data[at + 8 :]
    assert decode_failure(huge)[0] is FailureKind.TOO_MANY_PIXELS


@pytest.mark.parametrize(
    "filler",
    [
        bytes(4),
        b"\xff\xc8",
        b"\xff\xd0",
        b"\xff\xff",
        b"\xff\xfe\0\2",
        b"\xff\xe1\0\2",
        b"\xff\xf3\0\2",
        b"\xff\xd9",
    ],
)
def test_the_decoder_gets_little_of_a_jpeg_without_an_image(filler: bytes) -> None:
    data = b"\xff\xd8\xff\xc8" + filler * 500_000
    assert len(readable_file(data) or b"") < 100_000
    assert decode_failure(data)[0] in (FailureKind.CORRUPT, FailureKind.TRUNCATED)


def test_the_decoder_gets_a_jpeg_without_metadata() -> None:
    jpeg = encode_image(PICTURE, "JPEG", icc_profile=SRGB, comment=b"sunset" * 1000)
    readable = readable_file(jpeg)
    assert readable is not None
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
        assert read(bomb) in (CameraFacts(), digest_photo(bomb))  # type: ignore[operator]
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


# --- memory

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I", "F"]


@pytest.mark.parametrize("mode", MODES)
def test_scaling_in_bands_gives_the_same_pixels(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = draw_photo(3, (903, 611))
    picture.putalpha(picture.getchannel("G"))
    numbers = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    if mode in numbers:
        image = Image.fromarray((np.asarray(picture.convert("L")) * 200.0).astype(numbers[mode]))
    else:
        image = Image.merge("LAB", picture.split()[:3]) if mode == "LAB" else picture.convert(mode)
    for box in ((146.0, 0.0, 757.0, 611.0), (10.5, 20.25, 500.5, 510.25)):
        whole = scalable(image).resize((64, 64), Image.Resampling.BILINEAR, box, reducing_gap=3.0)
        monkeypatch.setattr(resize, "_BAND_PIXELS", 20_000)
        assert np.array_equal(np.asarray(resize.scaled(image, box, 64)), np.asarray(whole))


MEASURE = """
import sys
from pathlib import Path
from threading import Thread
from tagger.images import Resize, decode, decode_photo
from tagger.images.memory import MemoryBudget

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

data, threads = Path(sys.argv[1]).read_bytes(), int(sys.argv[2])
decode.MEMORY_BUDGET = MemoryBudget(1)
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
readers = [Thread(target=decode_photo, args=(data, Resize(128, 112)), kwargs={"max_pixels": 50_000_000}) for _ in range(threads)]
for reader in readers:
    reader.start()
for reader in readers:
    reader.join()
print(status("VmHWM") - before, status("VmRSS") - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="reads the memory use from Linux's /proc"
)
@pytest.mark.parametrize(("mode", "threads"), [("RGBA", 4), ("LA", 1), ("I;16", 1)])
def test_large_images_take_little_more_than_the_pixels_of_one(
    mode: str, threads: int, tmp_path: Path
) -> None:
    pixels = Image.new(mode, (5000, 4000))
    pixels.save(tmp_path / "large.png", compress_level=1)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "large.png"), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, remaining = (int(number) for number in done.stdout.split())
    assert peak < needed_bytes(pixels, PhotoFormat.PNG, pixels.size) + 60_000_000
    assert remaining < 60_000_000


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_decoding_a_jpeg_at_a_fraction_needs_a_fraction_unless_it_is_progressive(
    options: dict[str, bool],
) -> None:
    data = encode_image(Image.new("RGB", (4000, 3000)), "JPEG", **options)
    image = open_header(data, PhotoFormat.JPEG, MAX_PIXELS)
    image.draft(None, (300, 300))
    needed = needed_bytes(image, PhotoFormat.JPEG, (4000, 3000))
    assert (needed < 4000 * 3000) is not bool(options)


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


def test_small_images_are_decoded_at_once() -> None:
    budget = MemoryBudget(100)
    with budget.reserve(50), budget.reserve(50):
        pass


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
