"""Dividing tracks into parts: order, outliers, duplicates, lines that overlap, and how parts hang together."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st
from support.examples import examples
from support.gpx_files import Point, walk

from tagger.positions.tracks import (
    PART_POINTS,
    PART_S,
    PointCounts,
    Points,
    SegmentPiece,
    are_too_fast,
    divide_track,
)


def divide(*segments: Iterable[Point], piece: int = 1000) -> tuple[list[Points], PointCounts]:
    """The parts of segments, which come in pieces of so many points."""
    counts = PointCounts()

    def pieces() -> Iterable[SegmentPiece]:
        for segment in segments:
            points = np.array(segment, np.float64)
            for start in range(0, len(points), piece):
                counts.read += len(points[start : start + piece])
                yield SegmentPiece(points[start : start + piece], is_start=not start)

    parts = list(divide_track(pieces(), counts))
    for part in parts:
        assert 1 <= len(part) <= PART_POINTS
        assert (np.diff(part[:, 0]) > 0).all()
        assert part[-1, 0] - part[0, 0] <= PART_S
    return parts, counts


def points_of(parts: Iterable[Points]) -> list[tuple[float, ...]]:
    return sorted({tuple(point) for part in parts for point in part.tolist()})


def test_parts_follow_segments_in_order_of_time_and_have_at_most_a_day():
    (part,), counts = divide(walk(3), walk(3, start_s=100, latitude=48.1))
    assert part[:, 0].tolist() == [0, 10, 20, 100, 110, 120]
    assert counts.used == 6
    points = walk(4 * PART_POINTS, step_s=1)
    parts, counts = divide(points)
    assert len(parts) == 5
    assert all((before[-1] == after[0]).all() for before, after in pairwise(parts))
    assert points_of(parts) == sorted(points)
    assert counts.left_out == {}
    parts, _ = divide(walk(100, step_s=3600))
    assert [len(part) for part in parts] == [25, 25, 25, 25, 4]
    parts, _ = divide(walk(3, step_s=100_000))
    assert [len(part) for part in parts] == [1, 1, 1]
    points = walk(2000)
    shuffled = [points[number] for number in np.random.default_rng(0).permutation(2000)]
    (part,), _ = divide(shuffled)
    assert part.tolist() == [list(point) for point in points]


def test_segments_that_run_backwards_or_begin_earlier_keep_their_ways():
    points = walk(3 * PART_POINTS, step_s=1)
    parts, _ = divide(points[::-1])
    assert points_of(parts) == sorted(points)
    parts.sort(key=lambda part: float(part[0, 0]))
    assert all((before[-1] == after[0]).all() for before, after in pairwise(parts))
    ada, bob = walk(10, latitude=48), walk(10, start_s=5, latitude=52)
    parts, counts = divide(ada, bob)
    assert [points_of([part]) for part in parts] == [list(ada), list(bob)]
    assert counts.left_out == {}
    loop = [*walk(5), *((50 + 10 * number, *position) for number, (_, *position) in enumerate(walk(5)))]
    (part,), counts = divide([*loop, loop[3], (30, 48.0004, 2.0)])
    assert part.tolist() == [list(point) for point in loop]
    assert counts.left_out == {"duplicates": 2}


@pytest.mark.parametrize(("at", "length"), [(1, 1), (4090, 8), (4096, 5), (8995, 5)])
def test_a_jump_there_and_back_is_left_out(at, length):
    points = walk(9000 + length, step_s=1)
    there = range(at, at + length)
    jumping = [
        (seconds, -latitude, longitude) if number in there else (seconds, latitude, longitude)
        for number, (seconds, latitude, longitude) in enumerate(points)
    ]
    parts, counts = divide(jumping)
    assert counts.left_out == {"outliers": length}
    assert points_of(parts) == sorted(point for number, point in enumerate(points) if number not in there)


def test_outliers_are_left_out_and_airliners_are_possible():
    points = list(walk(20))
    points[5:8] = [(50, 10, 10), (60, -30, 70), (70, 10, 10)]
    points[9] = (90, 0, 0.5)
    (part,), counts = divide(points)
    assert len(part) == 16
    assert counts.left_out == {"outliers": 4}
    parts, counts = divide([*walk(20), *walk(20, start_s=200, latitude=-30), *walk(20, start_s=400)])
    assert (len(points_of(parts)), counts.left_out) == (60, {})
    start = np.array([[0.0, 50.0, 179.9]])
    for degrees, is_too_fast in ((0.1, False), (0.3, True)):
        end = np.array([[60.0, 50.0 + degrees, -179.9]])
        assert are_too_fast(start, end).tolist() == [is_too_fast]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3)), max_size=30).map(
            lambda points: [(float(seconds), 48 + place / 1e4, 2.0) for seconds, place in points]
        ),
        max_size=5,
    ),
    st.integers(1, 10),
)
@examples(13)
def test_every_time_of_a_file_is_in_a_part(segments, piece):
    parts, counts = divide(*segments, piece=piece)
    given_points = {point for segment in segments for point in segment}
    assert set(points_of(parts)) <= given_points
    assert {point[0] for point in points_of(parts)} == {point[0] for point in given_points}
    assert counts.used == sum(map(len, parts))
