"""What a photo shows, in the words that are the same wherever it is shown."""

from collections.abc import Sequence

from tagger.library.query.tagged_photos import TaggedPhoto
from tagger.system.text_format import percent

NO_LANDMARK = "No landmark"
NOT_A_LANDMARK = "Not a landmark"
"""Of a photo that a person put away."""


def headline(accepted: Sequence[str], guess: str | None, refusal: str | None = None) -> str:
    """Return the names of the accepted landmarks; without any, the best guess, or why it is refused: `Not Mucem: 9,560 km away by GPS`."""
    if accepted:
        return ", ".join(accepted)
    if guess and refusal:
        return f"Not {guess}: {refusal}"
    return f"Perhaps {guess}" if guess else NO_LANDMARK


def with_score(text: str, score: float) -> str:
    """`Perhaps Mucem, 56 %`."""
    return f"{text}, {percent(score)}"


def guess_text(photo: TaggedPhoto) -> str:
    """Return what a photo without a landmark perhaps shows, and its score, or why it does not; empty if there is no guess."""
    guess = photo.guess
    if guess is None:
        return ""
    words = headline((), guess.name, photo.refusal)
    return words if photo.refusal else with_score(words, guess.score or 0.0)
