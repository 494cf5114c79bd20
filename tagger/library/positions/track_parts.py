"""Divides the points of a track into parts, each in order of time and complete in itself, without outliers and duplicates.

A part alone tells where somebody was at any time within it: it begins with the last point of the part before. Points pass through in
flat memory, so that they are sorted within some thousands only: of a longer disorder, parts overlap. A segment that begins before
the last point begins a new line: two people's tracks may be in one file.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from tagger.library.positions.estimation import MAX_SPEED_M_S, distances_m
from tagger.library.positions.gpx import PointCounts, Points, SegmentPiece

PART_POINTS = 4096
PART_S = 86_400.0
"""The longest time of a part, so that an index on the ends of parts finds those of a given time."""
OUTLIER_POINTS = 8
"""The most successive points that are outliers together."""
_HELD_POINTS = 2 * OUTLIER_POINTS
"""The last points wait for the next ones, which show whether they are outliers."""

Truth = npt.NDArray[np.bool_]


def divide_track(pieces: Iterable[SegmentPiece], counts: PointCounts) -> Iterator[Points]:
    """Yield the parts of a track. Outliers and duplicates are left out and counted."""
    line: list[Points] = []
    size = 0
    latest = -np.inf
    for piece in pieces:
        if piece.is_start and piece.points[0, 0] < latest:
            yield from _last_parts(line, counts)
            line, size, latest = [], 0, -np.inf
        line.append(piece.points)
        size += len(piece.points)
        latest = max(latest, piece.points[:, 0].max())
        if size > 2 * PART_POINTS:
            points = _clean(np.concatenate(line), counts)
            start = 0
            for start, end in _bounds(points[:, 0]):
                if end > len(points) - _HELD_POINTS:
                    break
                yield _ascending(points[start:end])
            line = [points[start:]]
            size = len(line[0])
    yield from _last_parts(line, counts)


def are_too_fast(first: Points, second: Points) -> Truth:
    """Between which points (N, 3) nobody can have travelled. Times are often whole seconds."""
    seconds = np.maximum(np.abs(second[:, 0] - first[:, 0]), 1.0)
    distances = distances_m(first[:, 1], first[:, 2], second[:, 1], second[:, 2])
    return np.asarray(distances > MAX_SPEED_M_S * seconds)


def _last_parts(line: list[Points], counts: PointCounts) -> Iterator[Points]:
    if line:
        points = _clean(np.concatenate(line), counts)
        for start, end in _bounds(points[:, 0]):
            yield _ascending(points[start:end])


def _bounds(at: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """The parts of points with these times, ascending or descending. The last one may be short."""
    start = end = 0
    while end < len(at):
        end = start + int(
            np.searchsorted(np.abs(at[start : start + PART_POINTS] - at[start]), PART_S, "right")
        )
        yield start, end
        is_connected = end < len(at) and abs(at[end] - at[end - 1]) <= PART_S
        start = end - 1 if is_connected else end


def _clean(points: Points, counts: PointCounts) -> Points:
    """The points in the direction in which they were read, without outliers and with one of each time."""
    is_backwards = points[0, 0] > points[-1, 0]
    points = points[np.argsort(points[:, 0], kind="stable")]
    is_outlier = _outliers(points)
    points = points[~is_outlier]
    is_duplicate = np.diff(points[:, 0], prepend=-np.inf) == 0
    points = points[~is_duplicate]
    counts.outliers += int(is_outlier.sum())
    counts.duplicates += int(is_duplicate.sum())
    return points[::-1] if is_backwards else points


def _outliers(points: Points) -> Truth:
    """Which points (N, 3) in order of time lie between a jump and the jump back."""
    is_outlier: Truth = np.zeros(len(points), np.bool_)
    jumps = np.flatnonzero(are_too_fast(points[:-1], points[1:])) + 1
    back = _jumps_back(points, jumps)
    number = 0
    while number < len(jumps):
        if back[number]:
            is_outlier[jumps[number] : jumps[number + back[number]]] = True
        number += back[number] + 1
    return is_outlier


def _jumps_back(points: Points, jumps: npt.NDArray[np.intp]) -> list[int]:
    """How many jumps after each one the track is back where it was before; 0: not within OUTLIER_POINTS."""
    back = np.zeros(len(jumps), np.intp)
    for ahead in range(min(OUTLIER_POINTS, len(jumps) - 1), 0, -1):
        first, last = jumps[:-ahead], jumps[ahead:]
        is_back = (last - first <= OUTLIER_POINTS) & ~are_too_fast(points[first - 1], points[last])
        back[:-ahead][is_back] = ahead
    return back.tolist()


def _ascending(points: Points) -> Points:
    return points if points[0, 0] <= points[-1, 0] else points[::-1]
