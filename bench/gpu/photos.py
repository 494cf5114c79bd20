"""The photos of `bench.gpu`: thousands of distinct ones of three sizes, drawn in seconds, and what they take to decode.

Imports no torch: its functions run in child processes.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from tagger.photos.decoding import Pixels, Resize
from tagger.photos.files import read_photo
from tagger.pipeline.requests import Limits, open_bytes
from tests.rig.drawing import draw_photo

SIZES = ((640, 480), (1600, 1200), (4000, 3000))
PICTURES = 2, 16
"""The fewest and the most pictures of each size. The other photos are variants."""
PHOTOS_PER_PICTURE = 80
GRAIN = 4.0
LIMITS = Limits(readers=1, max_bytes=2**29, max_pixels=250_000_000)
PHOTOS_AT_ONCE = 8
BROKEN = {
    "empty.jpg": b"",
    "text.jpg": b"This is not a photo.",
    "start.jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00",
    "chunk.png": b"\x89PNG\r\n\x1a\n" + bytes(64),
}
"""Files that are no photos, by the ends of their names."""


def draw_three_sizes(folder: Path, count: int, pool: Executor) -> None:
    """Draw `count` distinct photos, as many of each size, into the folders of a new one that their widths name."""
    for width, _ in SIZES:
        (folder / str(width)).mkdir(parents=True)
    pictures = min(PICTURES[1], max(PICTURES[0], count // len(SIZES) // PHOTOS_PER_PICTURE))
    drawn = list(product(range(pictures), SIZES))
    variants = [len(range(number, count, len(drawn))) for number in range(len(drawn))]
    list(pool.map(partial(_draw_variants, folder), drawn, variants))


def _draw_variants(folder: Path, drawn: tuple[int, tuple[int, int]], count: int) -> None:
    seed, size = drawn
    small = draw_photo(seed, SIZES[0])
    pixels = np.asarray(small.resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(seed).standard_normal((size[1], size[0], 1), np.float32)
    file = BytesIO()
    Image.fromarray(np.clip(pixels + GRAIN * grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
    for number in range(count):
        path = folder / str(size[0]) / f"{seed:02}-{number:04}-{size[0]}.jpg"
        path.write_bytes(_variant(file.getvalue(), number))


def _variant(jpeg: bytes, number: int) -> bytes:
    """The same photo as other image data: its first table has other divisors for the two highest frequencies, which it lacks."""
    end = jpeg.index(b"\xff\xdb") + 4 + 65  # the marker, the length, and the table
    return jpeg[: end - 2] + bytes((1 + number % 255, 1 + number // 255)) + jpeg[end:]


def draw_broken(folder: Path, good: Path, count: int) -> None:
    """Fill a new folder with files that are no photos, and with one copy of a photo that is good."""
    folder.mkdir()
    for number in range(count):
        name, data = list(BROKEN.items())[number % len(BROKEN)]
        (folder / f"{number:03}-{name}").write_bytes(data)
    (folder / "good.jpg").write_bytes(good.read_bytes())


def views(photos: Sequence[Path], resize: Resize, count: int, pool: Executor) -> list[Pixels]:
    """`count` images of half as many photos, or of drawn pictures if there are none: each whole, then its middle."""
    sources: list[Path | int] = [*photos[: count // 2]] or [*range(count // 2)]
    return [image for pair in pool.map(partial(_two_views, resize), sources) for image in pair]


def _two_views(resize: Resize, source: Path | int) -> tuple[Pixels, Pixels]:
    picture = draw_photo(source, (480, 360)) if isinstance(source, int) else Image.open(source).convert("RGB")
    width, height = picture.size
    middle = picture.crop((width // 10, height // 10, width * 9 // 10, height * 9 // 10))
    size = (resize.size, resize.size)
    whole, part = (np.asarray(each.resize(size, Image.Resampling.BICUBIC)) for each in (picture, middle))
    return whole, part


@dataclass(frozen=True)
class Rate:
    """How many photos were processed in how many seconds."""

    photos: int
    seconds: float

    @property
    def per_s(self) -> float:
        return self.photos / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        return f"{self.per_s:,.0f} photos/s"


def decoding_rate(photos: Sequence[Path], resize: Resize, pool: Executor) -> Rate:
    """How many photos the workers of a pool read and decode."""
    start = time.perf_counter()
    parts = [photos[first : first + PHOTOS_AT_ONCE] for first in range(0, len(photos), PHOTOS_AT_ONCE)]
    decoded = sum(pool.map(partial(_decode, resize), parts))
    return Rate(decoded, time.perf_counter() - start)


def _decode(resize: Resize, paths: Sequence[Path]) -> int:
    for path in paths:
        open_bytes(read_photo(path, max_bytes=LIMITS.max_bytes), LIMITS).decode(resize)
    return len(paths)
