"""Geometry on the earth for many positions at once, with numpy: points of the unit sphere."""

import numpy as np
import numpy.typing as npt

from tagger.geo import EARTH_RADIUS_KM

Floats = npt.NDArray[np.float64]


def unit_vectors(latitude: Floats, longitude: Floats) -> Floats:
    """Positions in degrees, both (N,), as points of the unit sphere: (3, N)."""
    phi, lambda_ = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(phi) * np.cos(lambda_), np.cos(phi) * np.sin(lambda_), np.sin(phi)])


def chords_km(cosines: Floats) -> Floats:
    """The lengths of chords between points of the sphere, from the cosines of the angles between them."""
    squares = np.maximum(0.0, 2 - 2 * cosines)
    return EARTH_RADIUS_KM * np.sqrt(squares, out=squares)


def ground_km(positions: Floats, others: Floats) -> Floats:
    """The great-circle distances between the points of two lists of unit vectors, both (3, N)."""
    half_chords = np.linalg.norm(positions - others, axis=0) / 2
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, half_chords)))
