"""Photos for benchmarks: those of a folder, and drawn ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
_SQUARE_PX = 40
_NOISE = 4.0
"""Makes a JPEG of coloured squares as large as that of a photo."""


def photos_in(folder: Path) -> list[Path]:
    """Return the photos of a folder that all compared programs can read.

    Raises:
        SystemExit: there are none.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in EXTENSIONS)
    if not files:
        raise SystemExit(f"there are no photos in {folder}")
    return files


def evenly_spread(files: Sequence[Path], count: int) -> Sequence[Path]:
    """Return `count` of the files, evenly spread, or all of them."""
    count = min(count, len(files))
    return [files[position * len(files) // count] for position in range(count)]


def draw_photos(folder: Path, first: int, count: int, size: tuple[int, int]) -> None:
    """Draw distinct photos into a new folder; `first` is the number of those drawn before."""
    folder.mkdir(parents=True)
    width, height = size
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        colours = rng.integers(0, 256, (-(-height // _SQUARE_PX), -(-width // _SQUARE_PX), 3))
        squares = colours.repeat(_SQUARE_PX, axis=0).repeat(_SQUARE_PX, axis=1)[:height, :width]
        noise = rng.normal(0, _NOISE, (height, width, 1))
        pixels = np.clip(squares + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06}.jpg")
