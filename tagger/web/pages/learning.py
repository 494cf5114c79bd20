"""View model of what is learned of a landmark: from how many photos, what was found, and what is to review."""

from dataclasses import dataclass

from tagger.errors import TaggerError
from tagger.library.catalog.landmarks import Landmark
from tagger.library.catalog.registered_models import RegisteredModel
from tagger.library.teaching.suggestions import COUNT_LIMIT, count_to_review
from tagger.library.teaching.teaching import TaughtState, examples_of, taught_state
from tagger.web.state import AppState

LEAST_EXAMPLES = 3
"""From this many confirmed photos on, a page offers to learn the landmark."""


@dataclass(frozen=True)
class Learning:
    """`examples`: the photos that the landmark was learned from. `result`: what came of it; None if it is not asked for."""

    examples: int
    to_review: int
    can_learn: bool
    result: TaughtState | None

    @property
    def to_review_text(self) -> str:
        """The number of entries to review, as far as they are counted."""
        return f"{COUNT_LIMIT - 1}+" if self.to_review >= COUNT_LIMIT else str(self.to_review)


def learning_of(state: AppState, landmark: Landmark, *, with_result: bool = False) -> Learning:
    """Return what is learned of the landmark now. `with_result` also counts what was found."""
    to_review = count_to_review(state.database, landmark.id)
    model = teachable_model(state)
    if model is None:
        return Learning(0, to_review, False, None)
    confirmed, examples = examples_of(state.database, model, landmark)
    result = taught_state(state.database, model, landmark) if with_result else None
    return Learning(examples, to_review, confirmed >= LEAST_EXAMPLES, result)


def teachable_model(state: AppState) -> RegisteredModel | None:
    """Return the model in use; None if there is none, or it gives no embeddings."""
    try:
        model = state.model()
    except TaggerError:  # a page about photos works without a model
        return None
    return None if model.manifest.embedding is None else model
