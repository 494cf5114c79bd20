"""Many places on the earth at once, with numpy: points of the unit sphere, and shipped tables of places."""

import importlib.resources
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tagger.errors import InstallationDamaged
from tagger.geo import EARTH_RADIUS_KM

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[Any]]
_Table = TypeVar("_Table")


def read_shipped(name: str, read: Callable[[Columns], _Table]) -> _Table:
    """A table in tagger/shipped, made of its columns.

    Raises:
        InstallationDamaged: the file is not what was shipped.
    """
    file = importlib.resources.files("tagger") / "shipped" / name
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as columns:
            return read(dict(columns))
    except Exception as error:  # the archive has a checksum of each column: no damage is read as other places
        raise InstallationDamaged(path=file) from error


def texts_of(column: npt.NDArray[Any]) -> list[str]:
    """The texts of a column, which has them in UTF-8, a line each."""
    return column.tobytes().decode().split("\n")


def unit_vectors(latitude: Floats, longitude: Floats) -> Floats:
    """Positions in degrees, both (N,), as points of the unit sphere: (3, N)."""
    phi, lambda_ = np.radians(latitude), np.radians(longitude)
    return np.stack(
        [np.cos(phi) * np.cos(lambda_), np.cos(phi) * np.sin(lambda_), np.sin(phi)]
    )


def chords_km(cosines: Floats) -> Floats:
    """The lengths of chords between points of the sphere, from the cosines of the angles between them."""
    squares = np.maximum(0.0, 2 - 2 * cosines)
    return EARTH_RADIUS_KM * np.sqrt(squares, out=squares)


def ground_km(positions: Floats, others: Floats) -> Floats:
    """The great-circle distances between the points of two lists of unit vectors, both (3, N)."""
    half_chords = np.linalg.norm(positions - others, axis=0) / 2
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, half_chords)))
