"""Positions in words: what people call the place, for known places, at borders, at sea and at the ends of the map."""

import csv
import importlib.resources
import math
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, strategies as st
from support.examples import examples

from tagger.errors import InstallationDamaged
from tagger.positions import cities
from tagger.positions.cities import City, find_cities, nearest_cities, nearest_discs, time_zone
from tagger.sights import world_sights
from tagger.sphere import chords_km, unit_vectors

LANDMARKS = list(
    csv.DictReader(Path("trainer/data/shipped-landmarks.csv").read_text(encoding="utf-8").splitlines())
)

# Of the landmarks' cities in GeoNames.
OTHER_NAMES = {
    "Washington, D.C.": "Washington",
    "Bà Nà Hills": "Bà Nà",
    "Ajloun": "\N{LEFT SINGLE QUOTATION MARK}Ajlūn",
    "Cologne": "Köln",
    "Hội An": "Hoi An",
    "Jerash": "Jarash",
    "Konark": "Konārka",
    "New Delhi": "Delhi",
    "New York": "New York City",
    "Sanchi": "Sānchi",
    "Thessaloniki": "Thessaloníki",
}
# Landmarks in a city next to a larger one, whose disc reaches them.
OTHER_CITIES = {
    "basilica-of-bom-jesus": "Corlim",  # Old Goa has fewer than 5,000 inhabitants
    "bhaktapur-durbar-square": "Kathmandu",
    "geisel-library": "La Jolla",
    "khajuraho": "Khajuraho Group of Monuments",
    "mount-rushmore": "Rapid City",
    "patan-durbar-square": "Kathmandu",
    "pyramids-of-giza": "Cairo",
    "wagah-border": "Chugānwān",
}
# Landmarks whose nearest city is in another country.
ACROSS_THE_BORDER = {"dead-sea": "Israel", "matterhorn": "Italy", "niagara-falls": "United States"}

positions = st.tuples(
    st.floats(-90, 90) | st.sampled_from([-90.0, 90.0]),
    st.floats(-180, 180) | st.sampled_from([-180.0, 180.0]),
)


def city_of(latitude: float, longitude: float) -> City | None:
    return nearest_cities(np.array([latitude]), np.array([longitude]))[0]


def name_of(latitude: float, longitude: float) -> str | None:
    city = city_of(latitude, longitude)
    return city and city.name


def test_landmarks_are_in_their_country_and_city_and_no_more_are_found_than_the_limit():
    found = nearest_cities(
        *(np.array([float(row[axis]) for row in LANDMARKS]) for axis in ("latitude", "longitude"))
    )
    assert [city and city.country for city in found] == [
        ACROSS_THE_BORDER.get(row["slug"], row["country"]) for row in LANDMARKS
    ]
    named = [(row, city) for row, city in zip(LANDMARKS, found, strict=True) if row["city"]]
    assert [city and city.name for _, city in named] == [
        OTHER_CITIES.get(row["slug"], OTHER_NAMES.get(row["city"], row["city"])) for row, _ in named
    ]
    assert [len(find_cities("san", limit)) for limit in (0, 1, 7)] == [0, 1, 7]
    assert find_cities("no city of this name", 7) == []


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        (48.8940, 2.2873, ("Paris", "Île-de-France", "France")),  # Levallois-Perret
        (35.6595, 139.7005, ("Tokyo", "Tokyo", "Japan")),  # Shibuya
        (
            -4.2699,
            15.2712,
            ("Brazzaville", "Brazzaville", "Republic of the Congo"),
        ),  # Kinshasa is across the river
        (52.3600, 4.8852, ("Amsterdam", "North Holland", "Netherlands")),
        (41.9027, 12.4541, ("Vatican City", None, "Vatican City")),
    ],
)
def test_known_places_have_the_names_that_people_use(latitude, longitude, expected):
    city = city_of(latitude, longitude)
    assert city
    assert (city.name, city.region, city.country) == expected


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [(90, 0), (-90, 120), (30, -40), (-30, -130), (-78, 166), (math.nan, 1), (1, math.inf)],
)
def test_the_open_sea_the_poles_and_unknown_numbers_have_no_city(latitude, longitude):
    assert city_of(latitude, longitude) is None


def test_neither_the_date_line_nor_a_position_without_a_city_separates_others_from_theirs():
    assert name_of(-16.8, 179.99) == name_of(-16.8, -179.99) == "Savusavu"
    assert name_of(-16.8, 180) == name_of(-16.8, -180)
    found = nearest_cities(np.array([48.8584, 90.0, 41.8902]), np.array([2.2945, 0.0, 12.4922]))
    assert [city and city.name for city in found] == ["Paris", None, "Rome"]
    assert nearest_cities(np.array([]), np.array([])) == []


@given(
    st.lists(positions, min_size=1, max_size=60),
    st.lists(st.tuples(positions, st.floats(0, 3000)), min_size=1, max_size=300),
)
@examples(8)
def test_the_nearest_disc_is_that_of_all_distances(degrees, discs):
    points = unit_vectors(*np.array(degrees).T)
    centres = unit_vectors(*np.array([centre for centre, _ in discs]).T)
    radii = np.array([radius for _, radius in discs])
    every = chords_km(points.T @ centres) - radii
    found = nearest_discs(points, centres, radii)
    assert every[np.arange(len(degrees)), found] == pytest.approx(every.min(axis=1), abs=0.01)


def test_no_city_of_the_table_is_inside_of_a_larger_one():
    table = cities._load()
    for country in range(len(table.countries)):
        rows = np.flatnonzero(table.place_countries[: len(table.names)] == country)
        centres, radii = table.places[:, rows], table.radii_km[rows]
        found = nearest_discs(centres, centres, radii)
        distances = chords_km(np.sum(centres * centres[:, found], axis=0)) - radii[found]
        assert (distances >= -radii - 0.05).all()  # the table's coordinates are rounded to 11 m


# --- by name


@pytest.mark.parametrize(
    ("text", "city", "country"),
    [
        ("pari", "Paris", "France"),
        ("são paul", "São Paulo", "Brazil"),
        ("SAO PAUL", "São Paulo", "Brazil"),
        ("orange, fr", "Orange", "France"),
        ("paris, tex", "Paris", "United States"),
    ],
)
def test_a_city_is_found_by_the_start_of_its_name(text, city, country):
    found = find_cities(text, 3)[0]
    assert (found.name, found.country) == (city, country)


@given(st.text(max_size=20))
def test_any_text_may_be_searched_for(text):
    assert len(find_cities(text, 2)) <= 2


@pytest.mark.parametrize(
    ("name", "load", "place"),
    [
        *(("cities.npz", cities._load, place) for place in (50, 100_000, 300_000, 500_000, 690_000)),
        ("sights.npz", world_sights, 50_000),
    ],
)
def test_a_damaged_table_gives_no_other_places(tmp_path, monkeypatch, name, load, place):
    shipped = importlib.resources.files("tagger") / "shipped" / name
    data = bytearray(shipped.read_bytes())
    data[place] ^= 4
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / name).write_bytes(data)
    monkeypatch.setattr("importlib.resources.files", lambda _package: tmp_path)
    with pytest.raises(InstallationDamaged, match=f"{tmp_path}/shipped/{name}.*Install tagger again"):
        load.__wrapped__()


@pytest.mark.parametrize(
    ("latitude", "longitude", "zone"),
    [
        (48.8584, 2.2945, "Europe/Paris"),
        (36.0544, -112.1401, "America/Phoenix"),
        (-31.9505, 115.8605, "Australia/Perth"),
        (0.0, -30.0, "Etc/GMT+2"),
        (-30.0, -0.1, "Etc/GMT+0"),
        (35.0, -169.9, "Etc/GMT+11"),
        (30.0, 180.0, "Etc/GMT-12"),
        (-80.0, 95.0, "Etc/GMT-6"),
    ],
)
def test_the_time_zone_of_a_position(latitude, longitude, zone):
    assert time_zone(latitude, longitude) == zone


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_every_position_has_a_time_zone(latitude, longitude):
    offset = datetime(2024, 1, 1, tzinfo=ZoneInfo(time_zone(latitude, longitude))).utcoffset()
    assert offset is not None
    assert abs(offset) <= timedelta(hours=14)
