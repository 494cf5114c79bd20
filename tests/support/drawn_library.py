"""Folders of drawn holiday photos: landmarks at all hours, with dates as cameras write them, and photos of nothing known."""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image
from PIL.ExifTags import IFD, Base
from support.drawn_landmarks import draw_landmark

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
SIZES = ((960, 640), (960, 720), (640, 960), (1040, 585), (720, 960))
EMPTY = 3
"""Photos without a landmark, on each journey."""


def draw_library(folder: Path, most: int = 24) -> None:
    """Draw the journeys into `folder`, `most` photos of one landmark, fewer of each other; the same ones every time."""
    for seed, (place, slug, taken) in enumerate(_photos(most)):
        path = folder / place / f"IMG_{2000 + seed}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[Base.DateTime] = exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = f"{taken:%Y:%m:%d %H:%M:%S}"
        draw_landmark(slug, seed, SIZES[seed % len(SIZES)]).save(path, quality=88, exif=exif)
        os.utime(path, (taken.timestamp(), taken.timestamp()))


def _photos(most: int) -> Iterator[tuple[str, str | None, datetime]]:
    """Where each photo lies, what it shows, and when it was taken."""
    chance = random.Random(7)
    for number, (place, slugs) in enumerate(JOURNEYS.items()):
        taken = datetime(int(place[:4]), 4 + number % 6, 3, 9, tzinfo=UTC)
        for slug in (*slugs, None):
            count = most if slug == FAVOURITE else chance.randint(most // 4, most // 2)
            for _ in range(count if slug else EMPTY):
                taken += timedelta(minutes=chance.randint(7, 500))
                yield place, slug, taken
