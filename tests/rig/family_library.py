"""Draws the library of a family from a collection of photos, and counts which tags and suggestions are right.

    python tests/rig/family_library.py draw COLLECTION FOLDER [--seed 1] [--streets 12]
    python tests/rig/family_library.py count FOLDER DATABASE_FILE

Three people photograph for three years: two with phones that record GPS, one with a camera that does not. Four
of five photos are ordinary: taken at home, and a third of them on the twelve trips. Each trip is to landmarks
that are near each other, on some days to other sights of the country too. With `--streets`, each trip has so
many photos of streets and of other buildings, taken as near a landmark as those of it. COLLECTION has the
folders `landmarks`, `more`, `places`, `ordinary` and `unknown`. The same seed draws the same library.
"""

import argparse
import csv
import json
import random
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from math import cos, radians
from pathlib import Path

import piexif

from tagger.geo import distance_km
from tagger.model.artifact import read_manifest

SHIPPED = Path(__file__).parents[2] / "tagger/shipped/landmarks.pt"
HOME = (50.7374, 7.0982)
FIRST_DAY, DAYS = date(2022, 1, 10), 3 * 365
TRIPS, REACH_KM = 12, 250.0
KNOWN_PER_TRIP, OTHERS_PER_TRIP, ORDINARY_PER_TRIP = (10, 22), 8, 32
ORDINARY_SHARE = 0.8
TRUTH = "truth.json"
CAMERAS = (("Apple", "iPhone 12", 0.4), ("samsung", "SM-G991B", 0.35), ("Canon", "Canon EOS 80D", 0.25))
WITHOUT_GPS = "Canon EOS 80D"

Coordinates = tuple[float, float]


@dataclass(frozen=True)
class Sight:
    """A landmark of the model, or another sight, with its photos. `slug` None: the model does not know it."""

    slug: str | None
    country: str
    place: Coordinates
    photos: tuple[Path, ...]


def draw(collection: Path, folder: Path, seed: int, streets: int = 0) -> None:
    """Write the photos of a library into a folder, with their truth: the landmark of each path."""
    rng = random.Random(seed)
    known, others = _sights(collection)
    ordinary = sorted(
        path
        for name in ("ordinary", "unknown/test", "unknown/train")
        for path in (collection / name).rglob("*.jp*g")
        if path.parts[-3] != "landmarks"
    )
    rng.shuffle(ordinary)
    truth: dict[str, str | None] = {}
    roads = [path for path in ordinary if path.parent.name in {"roads", "scenes"}]
    buildings = [path for sight in others for path in sight.photos]
    near_landmarks = rng.sample(roads, TRIPS * (streets // 2))
    near_landmarks += rng.sample(buildings, TRIPS * (streets - streets // 2))
    rng.shuffle(near_landmarks)
    shots = list(_trip_shots(rng, known, others, ordinary, near_landmarks))
    special = sum(slug is not None or not is_ordinary for _, slug, _, _, is_ordinary in shots)
    missing = round(special * ORDINARY_SHARE / (1 - ORDINARY_SHARE)) - (len(shots) - special)
    busy = {at.date() for _, _, at, _, _ in shots}
    free = [day for number in range(DAYS) if (day := FIRST_DAY + timedelta(days=number)) not in busy]
    at_home = ordinary[: max(missing, 0)]
    shots += ((path, None, _at(rng, rng.choice(free)), _near(rng, HOME, 8.0), True) for path in at_home)
    for number, (path, slug, at, place, _) in enumerate(sorted(shots, key=lambda shot: shot[2])):
        name = f"{at:%Y-%m}/IMG_{number:05}.jpg"
        if _write(rng, path, folder / name, at, place):
            truth[name] = slug
    (folder / TRUTH).write_text(json.dumps(truth))


# A photo, its landmark, its local time, where it was taken, and whether it is an ordinary one.
Shot = tuple[Path, str | None, datetime, Coordinates, bool]


def _sights(collection: Path) -> tuple[list[Sight], list[Sight]]:
    labels = {each.slug: each for each in read_manifest(SHIPPED).labels}
    slug_of = {row["label"]: row["slug"] for row in _rows(collection / "landmarks/landmarks.csv")}
    photos_of: dict[str, list[Path]] = defaultdict(list)
    for part in ("landmarks/test", "more/test"):
        for path in sorted((collection / part).glob("*/*.jp*g")):
            photos_of[slug_of.get(path.parent.name, path.parent.name)].append(path)
    known = [
        Sight(slug, label.country or "", (label.latitude or 0.0, label.longitude or 0.0), tuple(photos))
        for slug, photos in sorted(photos_of.items())
        if (label := labels.get(slug)) is not None
    ]
    others = []
    for row in _rows(collection / "places/places.csv"):
        photos = tuple(sorted((collection / "places/others" / row["slug"]).glob("*.jp*g")))
        if row["slug"] not in labels and photos:
            others.append(
                Sight(None, row["country"], (float(row["latitude"]), float(row["longitude"])), photos)
            )
    return known, others


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _trip_shots(
    rng: random.Random,
    known: Sequence[Sight],
    others: Sequence[Sight],
    ordinary: list[Path],
    streets: list[Path],
) -> Iterator[Shot]:
    """The photos of the trips; each sight is visited on one day. Photos are taken from `ordinary`.

    Each trip has its share of `streets`, near the landmarks that it visits.
    """
    starts = sorted(rng.sample(range(0, DAYS - 12, 14), TRIPS))
    free = list(known)
    streets_per_trip = len(streets) // TRIPS
    for start in starts:
        centre = rng.choice([sight for sight in free if len(sight.photos) >= 4])
        near = [sight for sight in free if _is_near(sight, centre)]
        rng.shuffle(near)
        days = rng.randint(3, 8)
        number = rng.randint(*KNOWN_PER_TRIP)
        visited = [centre, *(sight for sight in near if sight is not centre)][:days]
        free = [sight for sight in free if sight not in visited]
        day_of = {sight.place: start + index % days for index, sight in enumerate(visited)}
        chosen = [(sight, path) for sight in visited for path in sight.photos]
        for sight, path in rng.sample(chosen, min(number, len(chosen))):
            yield _shot(rng, path, sight, day_of[sight.place], 0.4)
        seen = [(sight, path) for sight in others if _is_near(sight, centre) for path in sight.photos]
        for sight, path in rng.sample(seen, min(OTHERS_PER_TRIP, len(seen))):
            nearest = min(visited, key=lambda each, at=sight.place: distance_km(*each.place, *at))
            yield _shot(rng, path, sight, day_of[nearest.place], 0.4)
        for _ in range(ORDINARY_PER_TRIP):
            sight = rng.choice(visited)
            path, _, at, place, _ = _shot(rng, ordinary.pop(), sight, day_of[sight.place], 6.0)
            yield path, None, at, place, True
        for _ in range(streets_per_trip):
            sight = rng.choice(visited)
            path, _, at, place, _ = _shot(rng, streets.pop(), sight, day_of[sight.place], 0.4)
            yield path, None, at, place, True


def _is_near(sight: Sight, centre: Sight) -> bool:
    return sight.country == centre.country and distance_km(*sight.place, *centre.place) <= REACH_KM


def _shot(rng: random.Random, path: Path, sight: Sight, day: int, spread_km: float) -> Shot:
    at = _at(rng, FIRST_DAY + timedelta(days=day))
    return path, sight.slug, at, _near(rng, sight.place, spread_km), False


def _at(rng: random.Random, day: date) -> datetime:
    return datetime.combine(day, time(rng.randint(9, 19), rng.randrange(60), rng.randrange(60)))


def _near(rng: random.Random, place: Coordinates, spread_km: float) -> Coordinates:
    north, east = (rng.gauss(0, spread_km / 2) / 111.2 for _ in range(2))
    return place[0] + north, place[1] + east / cos(radians(place[0]))


def _write(rng: random.Random, source: Path, target: Path, at: datetime, place: Coordinates) -> bool:
    """Write a photo with the facts of a camera; False: it is no JPEG file."""
    data = source.read_bytes()
    if not data.startswith(b"\xff\xd8"):
        return False
    make, model, _ = rng.choices(CAMERAS, [weight for *_, weight in CAMERAS])[0]
    exif = {
        "0th": {piexif.ImageIFD.Make: make, piexif.ImageIFD.Model: model},
        "Exif": {piexif.ExifIFD.DateTimeOriginal: f"{at:%Y:%m:%d %H:%M:%S}"},
    }
    if model != WITHOUT_GPS:
        hours = round(place[1] / 15)
        exif["Exif"][piexif.ExifIFD.OffsetTimeOriginal] = f"{'-' if hours < 0 else '+'}{abs(hours):02}:00"
        exif["GPS"] = _gps(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    piexif.insert(piexif.dump(exif), data, str(target))
    return True


def _gps(place: Coordinates) -> dict[int, object]:
    def degrees(value: float) -> tuple[tuple[int, int], ...]:
        return (round(abs(value) * 1_000_000), 1_000_000), (0, 1), (0, 1)

    latitude, longitude = place
    return {
        piexif.GPSIFD.GPSLatitudeRef: "S" if latitude < 0 else "N",
        piexif.GPSIFD.GPSLatitude: degrees(latitude),
        piexif.GPSIFD.GPSLongitudeRef: "W" if longitude < 0 else "E",
        piexif.GPSIFD.GPSLongitude: degrees(longitude),
    }


def count(folder: Path, database_file: Path) -> Counter[str]:
    """How many photos have a tag or a suggestion that is right, or wrong."""
    truth = json.loads((folder / TRUTH).read_text())
    query = """SELECT photos.path, landmarks.slug, effective_tags.state FROM photos
        JOIN effective_tags USING (content_id) JOIN landmarks ON landmarks.id = effective_tags.landmark_id
        WHERE state IN ('accepted', 'suggested') ORDER BY photos.path"""
    found: Counter[str] = Counter()
    connection = sqlite3.connect(f"file:{database_file}?mode=ro", uri=True)
    for path, slug, state in connection.execute(query):
        found[f"{state} {'right' if truth.get(path) == slug else 'wrong'}"] += 1
    connection.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw")
    drawing.add_argument("collection", type=Path)
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("--seed", type=int, default=1)
    drawing.add_argument("--streets", type=int, default=0)
    counting = commands.add_parser("count")
    counting.add_argument("folder", type=Path)
    counting.add_argument("database", type=Path)
    options = parser.parse_args()
    if options.command == "draw":
        draw(options.collection, options.folder, options.seed, options.streets)
    else:
        for name, number in sorted(count(options.folder, options.database).items()):
            sys.stdout.write(f"{number:6}  {name}\n")


if __name__ == "__main__":
    main()
