"""Photos of a folder, fewer of them, or many from few: each copy is a picture of its own and as large as a camera's."""

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
    """The photos that all programs compared find there.

    Raises:
        SystemExit: there are too few to measure anything.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in EXTENSIONS)
    if len(files) < 16:
        raise SystemExit(f"{folder} has {len(files)} photos; at least 16 are needed, or --copies")
    return files


def some_of(folder: Path, count: int, cache: Path) -> Path:
    """A folder with `count` of the photos, evenly spread, byte for byte."""
    made = _place(folder, cache, f"{count}-of-them")
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
    """A folder with `count` copies of each photo, made once; its name says what is in it."""
    made = _place(folder, cache, str(count))
    if made.is_dir():
        return made
    partial = made.with_name(made.name + f".{os.getpid()}")
    partial.mkdir(parents=True)
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in EXTENSIONS:
            _copy(file, count, partial)
    partial.rename(made)
    return made


def _place(folder: Path, cache: Path, what: str) -> Path:
    """Where something made of a folder is kept; folders of the same name elsewhere have places of their own."""
    told_apart = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]
    return cache.absolute() / f"{folder.resolve().name}-{told_apart}-{what}"


def _copy(file: Path, count: int, folder: Path) -> None:
    with Image.open(file) as photo:
        facts = photo.info.get("exif", b"")
        pixels = photo.convert("RGB")
    width, height = pixels.size
    for number in range(count):
        cut = number * STEP_PX
        copy = pixels.crop((cut, cut, width, height))
        copy.save(folder / f"{file.stem}-{number:03}.jpg", quality=QUALITY, exif=facts)
