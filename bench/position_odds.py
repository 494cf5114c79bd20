"""Measures what positions of photos are worth for their tags: wrong ones that go, right ones that are lost, and right ones that come.

    python -m bench.position_odds FOLDER… --places CSV… [--draws 20] [--seed 0]

FOLDERs hold a folder of photos for each place, named by its label or slug; CSVs have the columns slug, latitude, longitude and
extent, and maybe label. The model classifies all photos; each then gets drawn positions around its place, as a camera would
say them: most are near it, some see it from afar, and one in 500 is wrong. Photos of folders that no CSV has were taken at places of the CSVs.
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.processes import TAGGER, run, tagger_environment
from bench.report import print_heading, print_table
from tagger.catalog.landmark_reaches import farthest_km
from tagger.positions.estimation import Floats, distances_m
from tagger.positions.odds import is_accepted, position_odds

GPS_ERROR_KM = 0.03
WRONG_POSITIONS = 0.002
SEEN_FROM_AFAR = 0.15
NEAR_MEDIAN_KM, NEAR_DEVIATION = 0.2, 1.2
"""Of the logarithm. Photos near a point are taken that far from it: 90 % within 0.9 km."""
AREA_KM = 10.0
"""Radius in which areas, lines and several points are photographed."""
LIMITS_KM = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
SCORES = (0.2, 0.5, 0.9)


@dataclass(frozen=True)
class Place:
    """A place that photos are of."""

    slug: str
    latitude: float
    longitude: float
    extent: str


@dataclass(frozen=True)
class Prediction:
    """A tag of a photo. `place`: where the photo was taken; None: anywhere."""

    place: Place | None
    landmark: str
    latitude: float
    longitude: float
    score: float
    accepted: bool
    threshold: float

    @property
    def is_right(self) -> bool:
        return self.place is not None and self.place.slug == self.landmark


def main() -> None:
    """Draw positions for photos of known places, and weigh the model's tags with them."""
    parser = argparse.ArgumentParser(prog="python -m bench.position_odds", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--places", type=Path, nargs="+", required=True, metavar="CSV")
    parser.add_argument("--draws", type=int, default=20, help="positions of each photo [20]")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn [0]")
    args = parser.parse_args()
    places = read_places(args.places)
    predictions = classify(args.folders, places)
    print_heading("Tags and positions")
    report(predictions, list(places.values()), args.draws, args.seed)


def read_places(files: Iterable[Path]) -> dict[str, Place]:
    """The places with coordinates, by label and by slug."""
    places = {}
    for file in files:
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                if row["latitude"]:
                    latitude, longitude = float(row["latitude"]), float(row["longitude"])
                    place = Place(row["slug"], latitude, longitude, row["extent"])
                    places[row["slug"]] = places[row.get("label") or row["slug"]] = place
    return places


def classify(folders: Iterable[Path], places: dict[str, Place]) -> list[Prediction]:
    """The tags that have coordinates, of all photos below the folders."""
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as data:
        environment = tagger_environment(Path(data))
        run([*TAGGER, "tag", "--json", *map(str, folders)], environment)  # some photos may fail
        photos = json.loads(run([*TAGGER, "query", "--any-rank", "--json"], environment).checked().out)
        threshold = json.loads(run([*TAGGER, "model", "show", "--json"], environment).checked().out)[
            "threshold"
        ]
    return [
        Prediction(
            places.get(Path(photo["path"]).parent.name),
            tag["landmark"],
            tag["latitude"],
            tag["longitude"],
            tag["score"],
            tag["accepted"],
            threshold,
        )
        for photo in photos
        for tag in photo["tags"]
        if tag["latitude"] is not None
    ]


def report(predictions: Sequence[Prediction], places: Sequence[Place], draws: int, seed: int) -> None:
    """Print how far wrong tags are from their photos, and what positions change."""
    wrong = [each for each in predictions if each.place is not None and not each.is_right]
    print_table(
        ("wrong tags with a score of", "number", *(f"< {limit:,} km" for limit in LIMITS_KM)),
        (_distances(score, [each for each in wrong if each.score >= score]) for score in SCORES),
    )
    print()
    random = np.random.default_rng(seed)
    chosen = [each for each in predictions for _ in range(draws)]
    is_wrong_position = random.random(len(chosen)) < WRONG_POSITIONS
    accepted = _weigh(chosen, places, is_wrong_position, random)
    before = np.array([each.accepted for each in chosen], np.bool_)
    is_right = np.array([each.is_right for each in chosen], np.bool_)
    rows = []
    for name, these in (
        ("right", is_right & ~is_wrong_position),
        ("right, but the position is wrong", is_right & is_wrong_position),
        ("wrong", ~is_right),
    ):
        counts = (before & these, before & ~accepted & these, ~before & accepted & these, accepted & these)
        rows.append((name, *(f"{each.sum() / draws:,.1f}" for each in counts)))
    print_table(
        ("tags of a position on average", "accepted before", "lost", "gained", "accepted after"), rows
    )


def _distances(score: float, wrong: Sequence[Prediction]) -> tuple[object, ...]:
    """A row of the shares of tags that are nearer to the place of their photo than each limit."""
    values = np.array(
        [
            (each.place.latitude, each.place.longitude, each.latitude, each.longitude)
            for each in wrong
            if each.place
        ]
    )
    distance_km = distances_m(*values.reshape(-1, 4).T) / 1000
    shares = ((distance_km < limit).mean() if len(wrong) else 0.0 for limit in LIMITS_KM)
    return (f"{score} or more", len(wrong), *(f"{share:.1%}" for share in shares))


def _weigh(
    predictions: Sequence[Prediction],
    places: Sequence[Place],
    is_wrong_position: "np.typing.NDArray[np.bool_]",
    random: np.random.Generator,
) -> "np.typing.NDArray[np.bool_]":
    """Which tags are accepted with a position that is drawn for each."""
    elsewhere = random.integers(len(places), size=len(predictions))
    taken_at = [
        each.place if each.place is not None and not is_wrong else places[other]
        for each, is_wrong, other in zip(
            predictions, is_wrong_position.tolist(), elsewhere.tolist(), strict=True
        )
    ]
    latitude, longitude = _positions(taken_at, random)
    to = np.array([(each.latitude, each.longitude) for each in predictions]).T
    distance_km = distances_m(latitude, longitude, *to) / 1000
    # The extents of a model's landmarks are those of the places of the same slug.
    extents = {place.slug: place.extent for place in places}
    of_landmarks = [extents.get(each.landmark) for each in predictions]
    odds = position_odds(distance_km, np.full(len(predictions), GPS_ERROR_KM), of_landmarks)
    return np.array(
        [
            is_accepted(each.score, value, each.threshold, by_score=each.accepted)
            for each, value in zip(predictions, odds.tolist(), strict=True)
        ],
        np.bool_,
    )


def _positions(places: Sequence[Place], random: np.random.Generator) -> tuple[Floats, Floats]:
    """Where cameras stood that photographed these places."""
    count = len(places)
    near = NEAR_MEDIAN_KM * np.exp(NEAR_DEVIATION * random.standard_normal(count))
    inside = AREA_KM * np.sqrt(random.random(count))
    is_point = np.array([place.extent == "point" for place in places])
    farthest = np.array([farthest_km(place.extent) for place in places])
    from_afar = np.exp(random.random(count) * np.log(farthest))
    is_afar = random.random(count) < SEEN_FROM_AFAR
    kilometres = np.where(is_afar, from_afar, np.where(is_point, near, inside)) + GPS_ERROR_KM
    bearing = random.random(count) * 2 * np.pi
    latitude, longitude = np.radians([(place.latitude, place.longitude) for place in places]).T
    angle = kilometres / 6371
    north = np.arcsin(np.sin(latitude) * np.cos(angle) + np.cos(latitude) * np.sin(angle) * np.cos(bearing))
    east = np.arctan2(
        np.sin(bearing) * np.sin(angle) * np.cos(latitude), np.cos(angle) - np.sin(latitude) * np.sin(north)
    )
    return np.degrees(north), np.degrees(longitude + east)


if __name__ == "__main__":
    main()
