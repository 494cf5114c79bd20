"""Photos for benchmarks: those of a folder, and drawn ones."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from tagger.model.devices import core_count

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
_SQUARE_PX = 40
# Makes a JPEG of coloured squares as large as that of a photo.
_NOISE = 4.0


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
    files = [folder / f"{number:06}.jpg" for number in range(first, first + count)]
    with ProcessPoolExecutor(core_count(), get_context("spawn")) as pool:
        list(pool.map(partial(_draw, size=size), files, range(first, first + count), chunksize=8))


def _draw(file: Path, number: int, *, size: tuple[int, int]) -> None:
    width, height = size
    rng = np.random.default_rng(number)
    rows, columns = -(-height // _SQUARE_PX), -(-width // _SQUARE_PX)
    noise = rng.normal(0, _NOISE, (_SQUARE_PX, width, 1)).astype(np.int16)
    colours = rng.integers(0, 256, (rows, columns, 3), dtype=np.int16)
    squares = colours.repeat(_SQUARE_PX, axis=0).repeat(_SQUARE_PX, axis=1)[:height, :width]
    pixels = squares + np.tile(noise, (rows, 1, 1))[:height]
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
