"""The sight at which a photo was taken: known views, ordinary streets, wide errors, the ends of the map."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from support.examples import examples

from tagger import sights
from tagger.geo import distance_km
from tagger.sights import NO_SIGHT, cells_in_reach, cells_of, world_sights

PHONE_M = 20.0

VIEWS = {
    "Champ de Mars": (48.8556, 2.2986, "Eiffel Tower"),
    "Cour Napoléon": (48.8611, 2.3358, "Louvre Museum"),
    "Parvis Notre-Dame": (48.8534, 2.3480, "Notre-Dame de Paris"),
    "Great Court": (51.5194, -0.1270, "British Museum"),
    "Tower Bridge": (51.5055, -0.0754, "Tower Bridge"),
    "Piazza della Rotonda": (41.8990, 12.4768, "Pantheon"),
    "Bacino Orseolo": (45.4341, 12.3388, "St Mark's Basilica"),
    "Red Square": (55.7539, 37.6208, "Red Square"),
    "Giza plateau": (29.9792, 31.1342, "Great Pyramid of Giza"),
    "Causeway of Angkor": (13.4125, 103.8650, "Angkor Wat"),
    "Circular Quay": (-33.8568, 151.2140, "Sydney Opera House"),
    "Liberty Island": (40.6896, -74.0450, "Statue of Liberty"),
    "Mather Point": (36.0616, -112.1077, "Grand Canyon, South Rim"),
    "Corcovado": (-22.9519, -43.2100, "Christ the Redeemer"),
    "Sun Gate": (-13.1640, -72.5440, "Machu Picchu"),
    "Maclear's Beacon trail": (-33.9628, 18.4098, "Table Mountain"),
}
STREETS = {
    "Rue de la Convention, Paris": (48.8390, 2.2925),
    "Brixton, London": (51.4613, -0.1156),
    "Neukölln, Berlin": (52.4800, 13.4300),
    "Queens, New York": (40.7282, -73.7949),
    "Setagaya, Tokyo": (35.6464, 139.6533),
    "Marrickville, Sydney": (-33.9110, 151.1550),
    "a village in Hesse": (50.4700, 9.0300),
    "the Atlantic": (40.0, -40.0),
}


def _name_at(latitude: float, longitude: float, error_m: float = PHONE_M) -> str | None:
    position = (np.array([value]) for value in (latitude, longitude, error_m))
    index = int(world_sights().at(*position)[0])
    return None if index == NO_SIGHT else world_sights().names[index]


@pytest.mark.parametrize(("latitude", "longitude", "name"), VIEWS.values(), ids=VIEWS)
def test_where_people_stand_has_the_name_of_what_they_photograph(latitude, longitude, name):
    assert _name_at(latitude, longitude) == name


@pytest.mark.parametrize(("latitude", "longitude"), STREETS.values(), ids=STREETS)
def test_where_people_live_there_is_no_sight(latitude, longitude):
    assert _name_at(latitude, longitude) is None


def test_small_sights_come_before_their_park_also_across_the_date_line():
    assert _name_at(40.6896, -74.0450, error_m=100) == "Statue of Liberty"
    assert _name_at(40.6896, -74.0450, error_m=1000) is None
    assert _name_at(-2.3333, 34.8333, error_m=1000) == "Serengeti National Park"
    assert _name_at(44.4605, -110.8281) == "Old Faithful"
    cells, _ = cells_in_reach(np.array([-16.8]), np.array([179.99]), np.array([5000.0]))
    assert set(cells_of(np.array([-16.8, -16.8]), np.array([179.97, -179.98])).tolist()) <= set(
        cells.tolist()
    )


positions = st.tuples(
    st.floats(-90, 90) | st.sampled_from([-90.0, 48.8583, 90.0]),
    st.floats(-180, 180) | st.sampled_from([-180.0, 2.2945, 180.0]),
    st.floats(0, 50_000),
)


@given(st.lists(positions, max_size=20))
@examples(200)
def test_each_position_has_its_sight_alone_or_among_others_and_within_reach(rows):
    latitudes, longitudes, errors_m = np.array(rows).reshape(-1, 3).T
    table = world_sights()
    indices = table.at(latitudes, longitudes, errors_m)
    for row, index in zip(rows, indices.tolist(), strict=True):
        assert table.at(*(np.array([value]) for value in row)).tolist() == [index]
        if index != NO_SIGHT:
            found = table.sight(index)
            reach_km = table.reaches_m[index] / 1000
            assert distance_km(row[0], row[1], found.latitude, found.longitude) <= reach_km + 0.001
            assert row[2] <= reach_km * 1000


def test_many_positions_in_a_city_are_compared_in_blocks(monkeypatch):
    generator = np.random.default_rng(1)
    latitudes, longitudes = 48.86 + generator.normal(0, 0.02, 500), 2.34 + generator.normal(0, 0.03, 500)
    errors_m = np.full(500, PHONE_M)
    expected = world_sights().at(latitudes, longitudes, errors_m)
    assert 50 < np.count_nonzero(expected != NO_SIGHT) < 400
    monkeypatch.setattr(sights, "MAX_PAIRS", 100)
    assert world_sights().at(latitudes, longitudes, errors_m).tolist() == expected.tolist()
