"""The photos that all programs process: sets prepared from test data, or a user's folders. Prepared sets are cached."""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.photos import draw_image, evenly_spread, photos_in, save_resized

BATCH = 32
"""The number of photos in a set is a multiple of it: a program that waits for full batches would wait at the end."""
WARM_UP_PHOTOS = 2 * BATCH
"""TorchScript optimises a network in its first two runs, also with batches."""
COPY_QUALITY = 95
COPY_STEP_PX = 8
"""How much more each further copy is cropped: one block of a JPEG, so that all of its data differs."""
MIX_SIZES = ((640, 480), (1600, 1200), (4000, 3000))
MIX_STEP = 0.012
"""The share of the border that each further copy of a photo lacks, so that no two have the same pixels."""

SETS = {"originals": 288, "landmarks": 832, "mix": 288}
"""The number of photos in each: enough that start-up, which varies by 0.1 s, is negligible."""


@dataclass(frozen=True)
class PhotoSet:
    """A folder of photos and its name in the report."""

    name: str
    folder: Path

    @property
    def photos(self) -> list[Path]:
        return photos_in(self.folder)

    @property
    def mean_mb(self) -> float:
        photos = self.photos
        return sum(photo.stat().st_size for photo in photos) / len(photos) / 1e6


def folder_set(folder: Path, count: int | None, cache: Path) -> PhotoSet:
    """Return `count` of a folder's photos, evenly spread; as many whole batches as there are if count is None."""
    photos = photos_in(folder)
    selected = min(_whole_batches(count or len(photos)), len(photos) // BATCH * BATCH) or len(photos)
    folder = folder.resolve()
    if selected == len(photos):
        return PhotoSet(folder.name, folder)
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]  # separates folders of the same name
    name = f"{folder.name}-{digest}-{selected}"
    return PhotoSet(folder.name, _cached(cache / name, lambda made: _copy_files(photos, selected, made)))


def prepared_set(name: str, data: Path, count: int | None, cache: Path) -> PhotoSet:
    """Return one of SETS, prepared from `data`, which contains `originals` and `landmarks/test`."""
    selected = _whole_batches(min(count or SETS[name], SETS[name]))
    if name == "landmarks":
        return PhotoSet(name, folder_set(data / "landmarks" / "test", selected, cache).folder)
    photos = photos_in(data / "originals")
    create = {"originals": _copy_cropped, "mix": _make_mix}[name]
    return PhotoSet(
        name, _cached(cache / f"{name}-{selected}", lambda folder: create(photos, selected, folder))
    )


def warm_up_photos(cache: Path) -> Path:
    """Return a folder of small drawn photos that every program processes before it is measured."""
    return _cached(cache / f"warm-up-{WARM_UP_PHOTOS}", _draw_warm_up)


def _whole_batches(count: int) -> int:
    return -(-count // BATCH) * BATCH


def _copy_files(photos: Sequence[Path], count: int, folder: Path) -> None:
    for number, photo in enumerate(evenly_spread(photos, count)):
        shutil.copy(photo, folder / f"{number:05}-{photo.name}")


def _copy_cropped(photos: Sequence[Path], count: int, folder: Path) -> None:
    for number in range(count):
        copy, index = divmod(number, len(photos))
        with Image.open(photos[index]) as photo:
            exif = photo.info.get("exif", b"")
            crop_px = copy * COPY_STEP_PX
            cropped = photo.convert("RGB").crop((crop_px, crop_px, photo.width, photo.height))
        cropped.save(folder / f"{number:05}.jpg", quality=COPY_QUALITY, exif=exif)


def _make_mix(photos: Sequence[Path], count: int, folder: Path) -> None:
    for number in range(count):
        photo_number, size_index = divmod(number, len(MIX_SIZES))
        copy, index = divmod(photo_number, len(photos))
        save_resized(photos[index], folder / f"{number:05}.jpg", MIX_SIZES[size_index], MIX_STEP * copy)


def _draw_warm_up(folder: Path) -> None:
    for number in range(WARM_UP_PHOTOS):
        draw_image(number, (320, 240)).save(folder / f"{number:02}.jpg")


def _cached(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return the folder; if it is missing, fill a temporary folder and rename it, so that it is always complete."""
    folder = folder.absolute()
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        partial.mkdir(parents=True)
        try:
            fill(partial)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder
