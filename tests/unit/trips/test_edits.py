"""Trips after people renamed, split and merged them."""
# ruff: noqa: DTZ001 - cameras record no time zone

from datetime import datetime

from hypothesis import given, strategies as st
from support.trip_visits import ARLES, HAMBURG, NICE, Shot, contains, everyday, libraries, shots, visits

from tagger.database import TripEditKind
from tagger.trips import TripEdit, TripReference
from tagger.trips.grouping import Trip, group_trips

IN_FIRST, IN_SECOND = TripReference(1, datetime(2019, 5, 5, 12)), TripReference(1, datetime(2019, 6, 1, 12))
NAMED = TripEdit(1, TripEditKind.RENAME, IN_FIRST, name="Honeymoon")
SPLIT = TripEdit(2, TripEditKind.SPLIT, IN_FIRST, split_at=datetime(2019, 5, 5))
MERGED = TripEdit(3, TripEditKind.MERGE, IN_FIRST, other=IN_SECOND)


def edited(*edits: TripEdit, more: tuple[list[Shot], ...] = ()) -> list[Trip]:
    """Four days, and two days a month later, after these edits."""
    first, second = shots("2019-05-03", "2019-05-06", ARLES, NICE), shots("2019-06-01", "2019-06-02", NICE)
    return group_trips(visits(everyday(HAMBURG, 2018), first, second, *more), edits)


def days(trips: list[Trip]) -> list[tuple[str | None, int, int]]:
    return [(trip.given_name, trip.first.day, trip.last.day) for trip in trips]


def test_edits_name_split_and_merge_trips():
    named = edited(NAMED, more=(shots("2019-05-01", "2019-05-02", ARLES),))
    assert days(named) == [("Honeymoon", 1, 6), (None, 1, 2)]
    assert named[0].id == "2019-05-01-arles"
    assert days(edited(NAMED, TripEdit(2, TripEditKind.RENAME, IN_FIRST)))[0] == (None, 3, 6)
    parts = edited(NAMED, SPLIT)
    found = [(trip.given_name, *(day.day for day in trip.days)) for trip in parts]
    assert found == [("Honeymoon", 3, 4), (None, 5, 6), (None, 1, 2)]
    late = TripEdit(3, TripEditKind.SPLIT, IN_SECOND, split_at=datetime(2019, 6, 1))
    assert edited(MERGED, late)[0].dates == "3\N{EN DASH}6 May 2019"
    assert parts[0].contains(TripReference(1, datetime(2019, 5, 4, 23)))
    assert parts[0].name == "Arles and Nice"
    (trip,) = edited(MERGED)
    assert (trip.first.day, trip.last.day) == (3, 2)
    assert trip.contains(TripReference(1, datetime(2019, 5, 15)))
    home = shots("2019-05-15", "2019-05-15", HAMBURG)
    (trip,) = edited(MERGED, more=(home, everyday(HAMBURG)))
    assert not trip.contains(TripReference(1, home[0].at))
    merged = TripEdit(4, TripEditKind.MERGE, TripReference(1, datetime(2019, 5, 4)), other=IN_FIRST)
    before, after = edited()[0], edited(SPLIT, merged)[0]
    assert (after.id, after.spans, after.places) == (before.id, before.spans, before.places)
    (trip,), parts = edited(MERGED), edited()
    assert [part.contains(trip.moment) for part in parts] == [True, False]
    assert not any(part.contains(TripReference(1, datetime(2019, 5, 15))) for part in parts)
    gone = TripReference(1, datetime(2017, 5, 5))
    edits = [TripEdit(1, kind, gone, "x", datetime(2019, 5, 5), gone) for kind in TripEditKind]
    assert edited(*edits) == edited()


moments = st.builds(
    TripReference, st.integers(1, 3), st.datetimes(datetime(2018, 1, 1), datetime(2020, 12, 31))
)
midnights = st.dates(datetime(2018, 1, 1).date(), datetime(2020, 12, 31).date()).map(
    lambda day: datetime(day.year, day.month, day.day)
)
edits = st.builds(TripEdit, st.just(1), st.sampled_from(TripEditKind), moments, st.none(), midnights, moments)


@given(libraries(), st.lists(edits, max_size=5))
def test_a_photo_is_on_one_trip_at_most(found, changes):
    before, trips = group_trips(visits(found)), group_trips(visits(found), changes)
    for shot in found:
        assert sum(contains(trip, shot) for trip in trips) <= 1
        assert any(contains(trip, shot) for trip in trips) >= any(contains(trip, shot) for trip in before)
    assert len({trip.id for trip in trips}) == len(trips)
