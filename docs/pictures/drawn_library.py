"""Folders of drawn holiday photos of one camera, with dates: of landmarks at different hours, and of none."""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image
from PIL.ExifTags import IFD, Base

from docs.pictures.drawn_landmarks import draw_landmark

JOURNEYS = {
    "2021/Paris and Provence": ("eiffel-tower", "arc-de-triomphe", "pont-du-gard"),
    "2022/Italy and Greece": ("leaning-tower-of-pisa", "parthenon"),
    "2023/England": ("big-ben", "stonehenge"),
    "2023/Germany": ("brandenburg-gate", "cologne-cathedral", "neuschwanstein"),
    "2024/Agra and Dubai": ("taj-mahal", "burj-khalifa"),
    "2024/Cairo": ("pyramids-of-giza",),
    "2024/Japan": ("itsukushima-torii", "mount-fuji"),
    "2025/America": ("golden-gate-bridge", "chichen-itza"),
    "2025/Sydney": ("sydney-opera-house",),
}
FAVOURITE = "eiffel-tower"
CAMERA = ("Canon", "Canon EOS 600D")
"""Without a camera, the photos of a day would say nothing about each other."""
SIZES = ((960, 640), (960, 720), (640, 960), (1040, 585), (720, 960))
EMPTY = 3
"""The number of photos without a landmark per journey."""


def draw_library(folder: Path, most: int = 24) -> None:
    """Draw the journeys into `folder`, the same on every run: `most` photos of FAVOURITE, fewer of others."""
    for seed, (journey, slug, taken_at) in enumerate(_photos(most)):
        path = folder / journey / f"IMG_{2000 + seed}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[Base.Make], exif[Base.Model] = CAMERA
        exif[Base.DateTime] = exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = (
            f"{taken_at:%Y:%m:%d %H:%M:%S}"
        )
        draw_landmark(slug, seed, SIZES[seed % len(SIZES)]).save(
            path, quality=88, exif=exif
        )
        os.utime(path, (taken_at.timestamp(), taken_at.timestamp()))


def _photos(most: int) -> Iterator[tuple[str, str | None, datetime]]:
    """The folder, the landmark and the time of each photo."""
    rng = random.Random(7)
    for number, (journey, slugs) in enumerate(JOURNEYS.items()):
        taken_at = datetime(int(journey[:4]), 4 + number % 6, 3, 9, tzinfo=UTC)
        for slug in (*slugs, None):
            count = most if slug == FAVOURITE else rng.randint(most // 4, most // 2)
            for _ in range(count if slug else EMPTY):
                taken_at += timedelta(minutes=rng.randint(7, 500))
                yield journey, slug, taken_at
