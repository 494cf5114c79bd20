"""Sets of photos made from a folder: a sample, or many copies, each with pixels of its own and of a camera's size."""

import hashlib
import os
import shutil
from pathlib import Path

from PIL import Image

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
STEP_PX = 8
"""How much further each copy is cropped: the next block of a JPEG, so that all of its data differs."""
QUALITY = 95


def photos_in(folder: Path) -> list[Path]:
    """Return the photos of a folder that all compared programs can read.

    Raises:
        SystemExit: there are fewer than 16.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in EXTENSIONS)
    if len(files) < 16:
        raise SystemExit(f"{folder} has {len(files)} photos; at least 16 are needed, or --copies")
    return files


def some_of(folder: Path, count: int, cache: Path) -> Path:
    """Return a folder with `count` of the photos, evenly spread, byte for byte."""
    made = _cache_path(folder, cache, f"{count}-of-them")
    if not made.is_dir():
        files = photos_in(folder)
        partial = made.with_name(made.name + f".{os.getpid()}")
        partial.mkdir(parents=True)
        for number in range(min(count, len(files))):
            file = files[number * len(files) // count] if count < len(files) else files[number]
            shutil.copy(file, partial / f"{number:05}-{file.name}")
        partial.rename(made)
    return made


def copies_of(folder: Path, count: int, cache: Path) -> Path:
    """Return a folder with `count` copies of each photo, made once and found again by its name."""
    made = _cache_path(folder, cache, str(count))
    if made.is_dir():
        return made
    partial = made.with_name(made.name + f".{os.getpid()}")
    partial.mkdir(parents=True)
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in EXTENSIONS:
            _copy(file, count, partial)
    partial.rename(made)
    return made


def _cache_path(folder: Path, cache: Path, what: str) -> Path:
    """Return the path in the cache for a set made from a folder. A digest separates folders of the same name."""
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]
    return cache.absolute() / f"{folder.resolve().name}-{digest}-{what}"


def _copy(file: Path, count: int, folder: Path) -> None:
    with Image.open(file) as photo:
        exif = photo.info.get("exif", b"")
        pixels = photo.convert("RGB")
    width, height = pixels.size
    for number in range(count):
        cut = number * STEP_PX
        copy = pixels.crop((cut, cut, width, height))
        copy.save(folder / f"{file.stem}-{number:03}.jpg", quality=QUALITY, exif=exif)
