"""The odds that the distance between a photo and a landmark gives.

What was measured for them, and what is assumed: docs/explanation/positions.md.
"""

from collections.abc import Sequence

import numpy as np

from tagger.landmarks.landmarks import REACHES_KM, UNKNOWN_EXTENT
from tagger.positions.estimation import Floats

# The odds near a landmark. Photos that a model mistakes for it often show its neighbours.
MOST = 5.0
# The odds on the other side of the world: one camera in 500 says a position that is grossly wrong.
LEAST = 0.002


def position_odds(distance_km: Floats, error_km: Floats, extents: Sequence[str | None]) -> Floats:
    """P(distance | right) / P(distance | wrong) of N photos and landmarks.

    Of the distances in REACHES_KM, the odds are MOST up to the first one, 1 between the second and the third
    one, and LEAST from the fourth one on. Between these, their logarithm is proportional to that of the
    distance. Of the nearest and the farthest distance that the error of a position allows, the odds closer to
    1 count; 1 if the two disagree.
    """
    nearest = np.maximum(distance_km - error_km, 0.0)
    farthest = distance_km + error_km
    odds = np.ones(len(distance_km))
    of_extent = np.array([extent if extent in REACHES_KM else UNKNOWN_EXTENT for extent in extents])
    for extent in REACHES_KM:
        chosen = of_extent == extent
        least, most = _odds_at(farthest[chosen], extent), _odds_at(nearest[chosen], extent)
        odds[chosen] = np.where(most < 1.0, most, np.maximum(least, 1.0))
    return odds


def _odds_at(distance_km: Floats, extent: str) -> Floats:
    odds = np.array([MOST, 1.0, 1.0, LEAST])
    known = np.log(REACHES_KM[extent])
    return np.asarray(np.exp(np.interp(np.log(np.maximum(distance_km, 1e-6)), known, np.log(odds))))
