"""Teaching as JSON, the same from the command line and the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tagger.library.catalog.landmarks import Landmark
    from tagger.library.teaching.teaching import TaughtState


def taught_document(landmark: Landmark, state: TaughtState, compared: int, seconds: float) -> dict[str, Any]:
    """What is known of a landmark after it was taught. `compared`: the number of images."""
    return {
        "landmark": landmark.slug,
        "examples": state.examples,
        "rejected": state.rejected,
        "compared": compared,
        "tagged": state.tagged,
        "suggested": state.suggested,
        "precision": state.precision,
        "seconds": round(seconds, 3),
    }
