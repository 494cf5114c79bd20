"""Make sights.npz from sights.csv. Run it with `make sights`; sights.md says more.

The same file gives the same bytes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tagger.positions.cities import edge_distances_km
from tagger.shipped.make_cities import text_column, write_columns
from tagger.sphere import Floats

# Of each kind: the radius of its ground in metres, and how many times farther the most famous are seen.
# docs/explanation/positions.md says how these were fitted.
KINDS = {
    "statue": (80, 3.0),
    **dict.fromkeys(
        (
            "arch",
            "fountain",
            "hot_spring",
            "memorial",
            "monument",
            "ship",
            "shrine",
            "windmill",
        ),
        (80, 2.5),
    ),
    **dict.fromkeys(
        ("building", "church", "gallery", "house", "library", "mine", "museum"),
        (100, 1.0),
    ),
    **dict.fromkeys(
        ("observatory", "railway", "synagogue", "theatre", "town_hall"), (100, 1.0)
    ),
    **dict.fromkeys(("lighthouse", "skyscraper", "tower"), (120, 4.0)),
    **dict.fromkeys(
        ("aqueduct", "attraction", "cathedral", "mosque", "opera", "temple", "tomb"),
        (120, 2.5),
    ),
    "bridge": (180, 4.0),
    **dict.fromkeys(("aquarium", "cave", "market"), (200, 1.0)),
    **dict.fromkeys(
        (
            "archaeological_site",
            "castle",
            "fort",
            "monastery",
            "palace",
            "square",
            "stadium",
        ),
        (200, 2.5),
    ),
    **dict.fromkeys(("botanical_garden", "cemetery", "garden", "street"), (300, 2.0)),
    **dict.fromkeys(("amusement_park", "zoo"), (350, 1.0)),
    **dict.fromkeys(("cliff", "dam", "waterfall"), (400, 3.0)),
    "old_town": (450, 1.0),
    **dict.fromkeys(("beach", "cape", "island", "park"), (500, 3.0)),
    "world_heritage": (800, 1.0),
    **dict.fromkeys(("mountain", "volcano"), (1500, 8.0)),
    **dict.fromkeys(
        ("canyon", "fjord", "glacier", "lake", "landscape", "national_park"),
        (2000, 6.0),
    ),
    **dict.fromkeys(("nature_reserve", "valley"), (2000, 6.0)),
}

# Fame is measured by the Wikipedias that have an article on a sight: with this many, it is seen from
# as far as its ground reaches. Nature is larger, and fewer people write about it.
ARTICLES = 40
ARTICLES_OF_NATURE = 15
LEAST_FACTOR = 0.8
NATURE_M = 500
# A person stands beside a building, not in its middle.
MARGIN = 1.3

# In a city people take photos of everything: what is large ends at its edge, but for its nearest ground.
LARGE_CITY_INHABITANTS = 20_000
REACH_IN_CITIES_M = 500
# So far outside of all towns and villages, a sight reaches at least as far: as its car park.
LONELY_M = 500

# Names of parks with the positions of places nearby: they count nowhere far.
UNSURE_SOURCE = "gnpark"
UNSURE_REACH_M = 1000


def main(out: Path) -> None:
    """Write the table from the file beside it, the most popular sight first."""
    with out.with_name("sights.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows.sort(key=lambda row: (-_popularity(row), row["name"]))
    city_edges_m = 1000 * edge_distances_km(*_degrees(rows), LARGE_CITY_INHABITANTS)
    reaches_m = np.array([_reach_m(row) for row in rows])
    reaches_m = np.minimum(reaches_m, np.maximum(city_edges_m, REACH_IN_CITIES_M))
    is_lonely = 1000 * edge_distances_km(*_degrees(rows), 0) > LONELY_M
    reaches_m = np.where(is_lonely, np.maximum(reaches_m, LONELY_M), reaches_m)
    latitudes, longitudes = (
        (10_000 * axis).round().astype("<i4") for axis in _degrees(rows)
    )
    columns = {
        "names": text_column([row["name"] for row in rows]),
        "other_names": text_column([_other_names(row) for row in rows]),
        "kind_names": text_column(list(KINDS)),
        "kinds": np.array(
            [list(KINDS).index(row["kind"]) for row in rows],
            dtype="u1",
        ),
        "popularities": np.array([min(255, _popularity(row)) for row in rows]).astype(
            "u1"
        ),
        "latitudes": latitudes,
        "longitudes": longitudes,
        "sizes_m": np.array([KINDS[row["kind"]][0] for row in rows], dtype="<u2"),
        "reaches_m": reaches_m.astype("<u2"),
    }
    write_columns(out, columns)


def _popularity(row: dict[str, str]) -> float:
    return max(1.0, float(row["popularity"] or 1))


def _degrees(rows: Sequence[dict[str, str]]) -> tuple[Floats, Floats]:
    latitudes = np.array([float(row["latitude"]) for row in rows])
    longitudes = np.array([float(row["longitude"]) for row in rows])
    return latitudes, longitudes


def _reach_m(row: dict[str, str]) -> float:
    size_m, farthest = KINDS[row["kind"]]
    if row["source"] == UNSURE_SOURCE:
        return min(size_m, UNSURE_REACH_M)
    articles = ARTICLES_OF_NATURE if size_m >= NATURE_M else ARTICLES
    margin = 1.0 if size_m >= NATURE_M else MARGIN
    return (
        size_m * margin * min(farthest, max(LEAST_FACTOR, _popularity(row) / articles))
    )


def _other_names(row: dict[str, str]) -> str:
    # The names by language, as `de=Kölner Dom`, and those without one, as `=Kölner Dom`.
    names = json.loads(row["names"] or "{}")
    return "\t".join(
        f"{'' if key == 'alt' else key}={name}" for key, name in names.items()
    )


if __name__ == "__main__":
    main(Path(__file__).with_name("sights.npz"))
