"""The nearest of many discs on the earth to each of many positions: exactly, with numpy alone.

Distances are chords through the earth. They order places as distances on the ground do, obey the triangle inequality, and know
neither poles nor a date line.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagger.system.geo import EARTH_RADIUS_KM

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_MAX_DISTANCES = 20_000
"""Of one matrix. More are halved first, because nearby positions have few candidates."""
_MIN_POSITIONS = 8
_ROUNDING_KM = 0.001


def unit_vectors(latitudes: Floats, longitudes: Floats) -> Floats:
    """Positions in degrees, both (N,), as points of the unit sphere: (3, N)."""
    phi, lambda_ = np.radians(latitudes), np.radians(longitudes)
    return np.stack([np.cos(phi) * np.cos(lambda_), np.cos(phi) * np.sin(lambda_), np.sin(phi)])


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
