"""The metric of the Google Landmarks challenges, GAP (global average precision), on their photos of several landmarks and of none."""

from collections.abc import Mapping
from dataclasses import dataclass

Solution = Mapping[str, frozenset[int]]
"""The landmarks that each photo shows, by photo id; none for ordinary photos."""


@dataclass(frozen=True)
class Guess:
    """The one landmark that a photo probably shows."""

    landmark_id: int
    score: float


def global_average_precision(guesses: Mapping[str, Guess], solution: Solution) -> float:
    """GAP: sort the guesses by score, sum the precision at each right one, and divide by the number of photos with a landmark.

    Among equal scores, the lower photo id comes first, as in the challenges.

    Args:
        guesses: by photo id; photos may lack one, and photos that are not in the solution do not count
        solution: of all photos that count

    Returns:
        0 to 1; 0 if no photo shows a landmark
    """
    ranked = sorted((-guess.score, photo_id) for photo_id, guess in guesses.items() if photo_id in solution)
    right, total = 0, 0.0
    for rank, (_, photo_id) in enumerate(ranked, start=1):
        if guesses[photo_id].landmark_id in solution[photo_id]:
            right += 1
            total += right / rank
    return total / (sum(map(bool, solution.values())) or 1)
