"""What an unknown photo perhaps shows: the model's best prediction, if it is worth a guess."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row


def is_guess(scores: Sequence[float]) -> bool:
    """Whether the first of the best scores is worth a guess.

    It is if the landmark is likelier than all that is not among them: other landmarks, and none at all.
    """
    return bool(scores) and scores[0] > 1.0 - sum(scores)


def best_guess(tags: Sequence[Row[Any]]) -> Row[Any] | None:
    """The guess among a photo's effective tags, best first; None if one is accepted, or if a verdict spoke against it."""
    if any(tag.accepted for tag in tags):
        return None
    predicted = [tag for tag in tags if tag.score is not None and tag.source != "taught"]
    if not is_guess([tag.score for tag in predicted]):
        return None
    best = predicted[0]
    return best if best.verdict is None else None
