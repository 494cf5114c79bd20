"""How often the cities of landmarks are right, and how long a million positions take.

python -m bench.cities [LANDMARKS.csv]
"""

import argparse
import csv
import resource
import time
from pathlib import Path

import numpy as np

from tagger.catalog.landmark_fields import derive_slug
from tagger.positions.cities import City, nearest_cities

POSITIONS = 1_000_000
BATCH = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("landmarks", nargs="?", type=Path, default=Path("trainer/data/shipped-landmarks.csv"))
    landmarks = list(csv.DictReader(parser.parse_args().landmarks.open(encoding="utf-8")))
    start = time.process_time()
    nearest_cities(np.zeros(1), np.zeros(1))
    print(f"loading the table: {time.process_time() - start:.2f} s")
    print_shares(landmarks)
    random = np.random.default_rng(0)
    towns = random.integers(0, len(landmarks), POSITIONS)
    latitudes, longitudes = (
        np.array([float(row[axis]) for row in landmarks])[towns] + random.normal(0, 0.5, POSITIONS)
        for axis in ("latitude", "longitude")
    )
    print_speed("around the landmarks", latitudes, longitudes)
    print_speed(
        "anywhere",
        np.degrees(np.arcsin(random.uniform(-1, 1, POSITIONS))),
        random.uniform(-180, 180, POSITIONS),
    )


def print_shares(landmarks: list[dict[str, str]]) -> None:
    """Print the shares of landmarks whose country, region and city are theirs, with the cities that are not."""
    found = nearest_cities(
        *(np.array([float(row[axis]) for row in landmarks]) for axis in ("latitude", "longitude"))
    )
    for part in ("country", "region", "city"):
        known = [(row, city) for row, city in zip(landmarks, found, strict=True) if row[part]]
        wrong = [(row, city) for row, city in known if not is_same(row[part], city, part)]
        print(f"{part}: {len(known) - len(wrong)} of {len(known)}")
        for row, city in wrong:
            print(f"    {row['slug']}: {row[part]}, found {city}")


def is_same(expected: str, city: City | None, part: str) -> bool:
    if city is None:
        return False
    found = {"country": city.country, "region": city.region, "city": city.name}[part]
    return found is not None and derive_slug(found) == derive_slug(expected)


def print_speed(where: str, latitudes: np.ndarray, longitudes: np.ndarray) -> None:
    start = time.process_time()
    for first in range(0, len(latitudes), BATCH):
        nearest_cities(latitudes[first : first + BATCH], longitudes[first : first + BATCH])
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{len(latitudes):,} positions {where}: {time.process_time() - start:.1f} CPU s, peak {peak_mib} MiB"
    )


if __name__ == "__main__":
    main()
