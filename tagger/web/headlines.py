"""What a photo shows, in the words that are the same wherever it is shown."""

from collections.abc import Sequence

from tagger.query import TaggedPhoto
from tagger.web.http.number_format import percent

NO_LANDMARK = "No landmark"
NOT_A_LANDMARK = "Not a landmark"
"""Of a photo that a person put away."""


def headline(accepted: Sequence[str], guess: str | None) -> str:
    """Return the names of the accepted landmarks; without any, the best guess."""
    if accepted:
        return ", ".join(accepted)
    return f"Perhaps {guess}" if guess else NO_LANDMARK


def with_score(text: str, score: float) -> str:
    """`Perhaps Mucem, 56 %`."""
    return f"{text}, {percent(score)}"


def guess_text(photo: TaggedPhoto) -> str:
    """Return what a photo without a landmark perhaps shows, and its score; empty if there is no guess."""
    guess = photo.guess
    return "" if guess is None else with_score(headline((), guess.name), guess.score or 0.0)
