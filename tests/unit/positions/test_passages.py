"""Passages of photos without GPS: the same whether each is judged by all photos around it, or on one line."""
# ruff: noqa: DTZ001 - cameras know no time zone

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.positions import measured_positions
from tagger.positions.measured_positions import GpsInterval, _passages_of

PLACES = [(48.85, 2.29), (48.86, 2.30), (41.9, 12.5), (-33.9, 151.2)]
GAP_S = 6 * 3600.0


@dataclass(frozen=True)
class Photo:
    """What a photo says of its time and position, as a row."""

    id: int
    taken_at: datetime
    utc_offset_s: int | None
    latitude: float | None
    longitude: float | None
    origin: str | None = None
    clock_offset_s: int | None = None
    gps_error_m: float | None = None
    gps_source: str = "camera"
    clock_source: str | None = None

    @property
    def content_id(self) -> int:
        return self.id


@st.composite
def lines(draw: st.DrawFn) -> list[Photo]:
    """Photos of a camera in order of their local times, often at the same time or in the same place."""
    clock_offset_s = draw(st.sampled_from([None, None, 3600, 90_000]))
    offsets = st.sampled_from(draw(st.sampled_from([[3600], [3600, 7200], [None, 3600, -28_800]])))
    places = st.sampled_from(draw(st.sampled_from([PLACES[:2], PLACES])))
    at = datetime(2024, 5, 1, 9)
    found = []
    for number in range(draw(st.integers(2, 12))):
        at += timedelta(minutes=draw(st.sampled_from([0, 1, 30, 600, 2000, 4000])))
        latitude, longitude = draw(places) if draw(st.booleans()) else (None, None)
        offset_s = draw(offsets) if latitude is not None or draw(st.booleans()) else None
        origin = draw(st.sampled_from([None, None, None, "edited"])) if latitude is not None else None
        found.append(Photo(number, at, offset_s, latitude, longitude, origin, clock_offset_s))
    return found


def passages_of(patch: pytest.MonkeyPatch, line: Sequence[Photo]) -> list[GpsInterval]:
    patch.setattr(measured_positions, "read_photos", lambda *_: line)
    run: Any = [photo for photo in line if photo.latitude is None]
    connection: Any = None
    return list(_passages_of(connection, 1, run, GAP_S)) if run else []


@given(lines())
def test_a_line_says_what_the_photos_around_each_say(line: Sequence[Photo]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        found = passages_of(patch, line)
        patch.setattr(measured_positions, "_consistent_line", lambda *_: None)
        assert found == passages_of(patch, line)


def test_photos_with_gps_are_placed_in_time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    placed = []
    shots_of = measured_positions.shots_of
    monkeypatch.setattr(
        measured_positions, "shots_of", lambda rows, fixes: placed.extend(rows) or shots_of(rows, fixes)
    )
    at = datetime(2024, 5, 1, 9)
    line = [
        Photo(n, at + timedelta(minutes=n), 3600, *(PLACES[0] if n % 2 else (None, None))) for n in range(400)
    ]
    assert len(passages_of(monkeypatch, line)) == 200
    assert len(placed) < 5 * len(line)
