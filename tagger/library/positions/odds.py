"""How much a photo's position says about a landmark in it: the odds by which it is likelier if the tag is right. Knows nothing of SQL.

By Bayes' rule, the odds of a tag are those of its score times P(distance | right) / P(distance | wrong), where the distance is from
where the camera stood to the landmark. What was measured for it, and what is assumed: docs/explanation/positions.md.
"""

from collections.abc import Sequence

import numpy as np

from tagger.library.catalog.landmark_reaches import REACHES_KM, UNKNOWN_EXTENT
from tagger.library.positions.estimation import Floats

MOST = 5.0
"""The odds near a landmark. The photos that a model mistakes for it show more often its neighbour than a place anywhere."""
LEAST = 0.002
"""The odds on the other side of the world: one camera in 500 says a position that is grossly wrong."""
SURE_SCORE = 0.99
"""A higher score counts as this: no score is known to be right more often."""
LEAST_SCORE = 0.5
"""A tag with a lower score is not accepted wherever the photo was taken, if its score alone is not enough."""


def position_odds(distance_km: Floats, error_km: Floats, extents: Sequence[str | None]) -> Floats:
    """P(distance | right) / P(distance | wrong) of N photos and landmarks.

    Of the distances in REACHES_KM, the odds are MOST up to the first one, 1 between the second and the third one, and LEAST from
    the fourth one on. Between these, their logarithm is proportional to that of the distance.
    A photo is as near to the landmark, and as far from it, as the error of its position allows. Only what both say counts.
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


def weighed(score: float, odds: float) -> float:
    """The probability of a tag with this calibrated score, after the odds of its position."""
    capped = min(score, SURE_SCORE)
    return capped * odds / (capped * odds + 1.0 - capped)


def is_accepted(score: float, odds: float, threshold: float, *, by_score: bool) -> bool:
    """Whether a tag is accepted, which by its score alone it is or is not.

    Odds above 1 never take a tag away, and odds below 1 never give one.
    """
    if by_score:
        return odds >= 1.0 or weighed(score, odds) >= threshold
    return odds > 1.0 and score >= LEAST_SCORE and weighed(score, odds) >= threshold


def _odds_at(distance_km: Floats, extent: str) -> Floats:
    odds = np.array([MOST, 1.0, 1.0, LEAST])
    known = np.log(REACHES_KM[extent])
    return np.asarray(np.exp(np.interp(np.log(np.maximum(distance_km, 1e-6)), known, np.log(odds))))
