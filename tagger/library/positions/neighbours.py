"""The positions that photos get from photos taken before and after: of the same camera, and of cameras that are used with it.

Clusters are compared exactly, with numpy alone: distances are chords through the earth. They order places as distances on the
ground do, obey the triangle inequality, and know neither poles nor a date line.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tagger.database.enums import PositionSource
from tagger.library.positions import estimation
from tagger.library.positions.companions import estimate_together
from tagger.library.positions.estimation import Floats
from tagger.library.positions.evidence import TRUST, Fix, Shot
from tagger.system.geo import EARTH_RADIUS_KM

Indices = npt.NDArray[np.intp]

_MAX_DISTANCES = 20_000
"""Of one matrix. More are halved first, because nearby positions have few candidates."""
_MIN_POSITIONS = 8
_ROUNDING_KM = 0.001


def nearest_discs(positions: Floats, centres: Floats, radii_km: Floats) -> Indices:
    """For each position, the index of the disc with the smallest distance from its centre less its radius: (N,).

    Branch and bound: the discs that can be nearest to any of a group of positions are those whose distance from the group's
    middle exceeds the smallest one by at most the group's diameter. Groups are halved until few discs are left.

    Args:
        positions: unit vectors (3, N).
        centres: unit vectors (3, M), M > 0.
        radii_km: (M,), 0 for points.
    """
    nearest = np.empty(positions.shape[1], dtype=np.intp)
    groups = [_Group(np.arange(positions.shape[1]), positions, np.arange(centres.shape[1]))]
    while groups:
        group = groups.pop()
        if not len(group.rows):
            continue
        low, high = group.points.min(axis=1), group.points.max(axis=1)
        discs = group.discs[_can_be_nearest(low, high, centres[:, group.discs], radii_km[group.discs])]
        if len(group.rows) * len(discs) <= _MAX_DISTANCES or len(group.rows) <= _MIN_POSITIONS:
            distances = chords_km(_cosines(group.points, centres[:, discs]))
            distances -= radii_km[discs]
            nearest[group.rows] = discs[distances.argmin(axis=1)]
        else:
            groups += [
                _Group(group.rows[half], group.points[:, half], discs)
                for half in _halves(group, int(np.argmax(high - low)))
            ]
    return nearest


@dataclass(frozen=True)
class _Group:
    """Positions near each other, and the discs that can be nearest to them."""

    rows: Indices  # (n,)
    points: Floats  # (3, n)
    discs: Indices


def _can_be_nearest(low: Floats, high: Floats, centres: Floats, radii_km: Floats) -> npt.NDArray[np.bool_]:
    """Which discs can be nearest to a position in the box between two corners."""
    middle = (low + high) / 2
    diameter_km = EARTH_RADIUS_KM * float(np.linalg.norm(high - low))
    squares = 1 + middle @ middle - 2 * _cosines(middle[:, None], centres)[0]
    distances = EARTH_RADIUS_KM * np.sqrt(np.maximum(0.0, squares)) - radii_km
    nearness: npt.NDArray[np.bool_] = distances <= distances.min() + diameter_km + _ROUNDING_KM
    return nearness


def _halves(group: _Group, axis: int) -> tuple[Indices, Indices]:
    """The group divided at its median of an axis."""
    order = np.argpartition(group.points[axis], len(group.rows) // 2)
    return order[: len(order) // 2], order[len(order) // 2 :]


def _cosines(positions: Floats, others: Floats) -> Floats:
    """The cosines of the angles between unit vectors (3, n) and (3, m): (n, m). Not by BLAS: its threads wait longer than they work."""
    return np.asarray(np.einsum("in,im->nm", positions, others))


def chords_km(cosines: Floats) -> Floats:
    """The lengths of chords between points of the sphere, from the cosines of the angles between them."""
    squares = np.maximum(0.0, 2 - 2 * cosines)
    return EARTH_RADIUS_KM * np.sqrt(squares, out=squares)


def ground_km(positions: Floats, others: Floats) -> Floats:
    """The great-circle distances between the points of two lists of unit vectors, both (3, N)."""
    half_chords = np.linalg.norm(positions - others, axis=0) / 2
    distances: Floats = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, half_chords))
    return distances


def estimate_fixes(cameras: Sequence[Sequence[Shot]], max_gap_s: float) -> dict[int, Fix]:
    """Estimates by photo id, of photos of cameras that are used together.

    An anchor by a camera's GPS keeps its position, even if others contradict it. Photos whose time is not known in UTC are estimated from
    those of their own camera.
    """
    lines = [[shot for shot in shots if shot.at is not None and shot.is_original] for shots in cameras]
    found: dict[int, Fix] = {}
    for line in lines:
        companions = _anchors_in_utc(other for other in lines if other is not line)
        own = _sequence(line)
        if not companions or not all(photo.is_utc for photo in line):
            alone = estimation.estimate(own, max_gap_s)
            found |= _fixes(line, line, alone, {False} if companions else {False, True})
        if companions:
            together = estimate_together(own, _sequence(companions), max_gap_s)
            found |= _fixes(line, [*line, *companions], together, {True})
    return found


def _anchors_in_utc(lines: Iterator[Sequence[Shot]]) -> list[Shot]:
    anchors = [photo for line in lines for photo in line if photo.is_utc and photo.fix is not None]
    return sorted(anchors, key=lambda photo: (photo.at or 0.0, photo.photo_id))


def _sequence(photos: Sequence[Shot]) -> estimation.Sequence:
    nothing = (np.nan, np.nan, np.nan, 0)
    rows = [
        (photo.at, *((fix.latitude, fix.longitude, fix.error_m, TRUST[fix.source]) if fix else nothing))
        for photo in photos
        for fix in (photo.fix,)
    ]
    return estimation.sequence_of(rows)


def _fixes(
    line: Sequence[Shot],
    evidence: Sequence[Shot],
    found: estimation.Estimates,
    is_utc: Container[bool],
) -> dict[int, Fix]:
    """The estimates by photo id, of photos whose time is known in UTC, or is not."""
    located = [(line[index], index) for index in np.flatnonzero(np.isfinite(found.error_m)).tolist()]
    return {
        photo.photo_id: Fix(
            float(found.latitude[index]),
            float(found.longitude[index]),
            float(found.error_m[index]),
            PositionSource.NEIGHBOUR,
            _evidence(photo, evidence, int(found.before[index]), int(found.after[index])),
        )
        for photo, index in located
        if photo.is_utc in is_utc and not (photo.fix and photo.fix.source is PositionSource.CAMERA)
    }


def _evidence(photo: Shot, evidence: Sequence[Shot], before: int, after: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, anchor in (("before", before), ("after", after)):
        if anchor >= 0:
            seconds = abs((evidence[anchor].at or 0.0) - (photo.at or 0.0))
            found |= {name: evidence[anchor].photo_id, f"{name}_s": round(seconds)}
    return found
