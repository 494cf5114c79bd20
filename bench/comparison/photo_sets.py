"""The photos that all programs get: three sets of different sizes, or folders of one's own, kept in a cache."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from bench.copies import EXTENSIONS, copies_of, photos_in, some_of

BATCH = 32
"""Sets are multiples of it: a peer that waits for a batch to fill would wait at the end, and be measured waiting."""
WARM_UP_PHOTOS = 2 * BATCH
"""TorchScript optimises a network in its first two runs, also where each is a batch."""
MIX_SIZES = ((640, 480), (1600, 1200), (4000, 3000))
MIX_QUALITY = 90
MIX_STEP = 0.012
"""How much more of the border each further picture of one photo leaves away, so that no two have the same pixels."""


@dataclass(frozen=True)
class PhotoSet:
    """A folder of photos, and what it is called in the report."""

    name: str
    folder: Path

    @property
    def photos(self) -> list[Path]:
        return photos_in(self.folder)

    @property
    def mean_mb(self) -> float:
        photos = self.photos
        return sum(photo.stat().st_size for photo in photos) / len(photos) / 1e6


def own_set(folder: Path, count: int | None, cache: Path) -> PhotoSet:
    """`count` of a folder's photos, evenly spread, byte for byte; None, or too many: all whole batches of them."""
    there = len(photos_in(folder))
    whole = min(_whole_batches(count or there), there // BATCH * BATCH) or there
    return PhotoSet(
        folder.resolve().name, folder.resolve() if whole == there else some_of(folder, whole, cache)
    )


def made_set(name: str, data: Path, count: int | None, cache: Path) -> PhotoSet:
    """One of SETS, of a folder that has `originals` and `landmarks/test`; None: as many as are enough to measure."""
    make, enough = SETS[name]
    return PhotoSet(name, make(data, _whole_batches(min(count or enough, enough)), cache))


def warm_up_photos(cache: Path) -> Path:
    """A folder of small pictures that every program looks at before it is measured."""
    return _once(cache / f"warm-up-{WARM_UP_PHOTOS}", _draw_warm_up)


def _whole_batches(count: int) -> int:
    return -(-count // BATCH) * BATCH


def _originals(data: Path, count: int, cache: Path) -> Path:
    folder = data / "originals"
    copies = -(-count // len(_photos(folder)))
    return some_of(copies_of(folder, copies, cache), count, cache)


def _landmarks(data: Path, count: int, cache: Path) -> Path:
    return own_set(data / "landmarks" / "test", count, cache).folder


def _mix(data: Path, count: int, cache: Path) -> Path:
    photos = _photos(data / "originals")
    return _once(cache / f"mix-{count}", lambda folder: _make_mix(photos, count, folder))


def _make_mix(photos: Sequence[Path], count: int, folder: Path) -> None:
    for number in range(count):
        turn, place = divmod(number, len(MIX_SIZES))
        round_, which = divmod(turn, len(photos))
        with Image.open(photos[which]) as photo:
            facts = photo.info.get("exif", b"")
            border = round(min(photo.size) * MIX_STEP * round_)
            inner = photo.convert("RGB").crop((border, border, photo.width - border, photo.height - border))
        made = ImageOps.fit(inner, MIX_SIZES[place], Image.Resampling.LANCZOS)
        made.save(folder / f"{number:05}-{photos[which].stem}.jpg", quality=MIX_QUALITY, exif=facts)


def _draw_warm_up(folder: Path) -> None:
    for number in range(WARM_UP_PHOTOS):
        extent = (-2.0, -1.5, 1.0 + number / 100, 1.5)
        picture = Image.effect_mandelbrot((320, 240), extent, 50).convert("RGB")
        picture.save(folder / f"{number:02}.jpg", quality=MIX_QUALITY)


def _photos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SystemExit(
            f"there is no folder {folder}; --data names one with originals and landmarks/test in it"
        )
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in EXTENSIONS)


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that is made whole or not at all, and used again."""
    made = folder.absolute()
    if not made.is_dir():
        partial = made.with_name(f"{made.name}.{os.getpid()}")
        partial.mkdir(parents=True)
        try:
            make(partial)
            partial.rename(made)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return made


SETS: dict[str, tuple[Callable[[Path, int, Path], Path], int]] = {
    "originals": (_originals, 288),
    "landmarks": (_landmarks, 832),
    "mix": (_mix, 288),
}
"""How each is made, and how many photos are enough: a job and a start have costs of their own, which differ by a tenth of a second."""
