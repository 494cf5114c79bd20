"""What a photo shows, in the words that are the same wherever it is shown."""

from collections.abc import Sequence

NO_LANDMARK = "No landmark"
NOT_A_LANDMARK = "Not a landmark"
"""Of a photo that a person put away."""


def headline(accepted: Sequence[str], guess: str | None) -> str:
    """Return the names of the accepted landmarks; without any, the best guess."""
    if accepted:
        return ", ".join(accepted)
    return f"Perhaps {guess}" if guess else NO_LANDMARK


def is_guess(scores: Sequence[float]) -> bool:
    """Return whether the first of the best scores is worth a guess.

    It is if the landmark is likelier than all that is not among them: other landmarks, and none at all.
    """
    return bool(scores) and scores[0] > 1.0 - sum(scores)
