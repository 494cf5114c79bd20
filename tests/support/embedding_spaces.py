"""The embedding space of a model's background statistics, computed once in this process.

The product computes it once for each update of taught landmarks. Tests teach a few models again and again,
and inverting their covariance would take longer than the rest of most updates.
"""

import hashlib

from tagger.model.artifact import BackgroundStatistics
from tagger.teaching.classifiers import EmbeddingSpace


def share_embedding_spaces() -> None:
    """Let equal statistics have one space, from now on."""
    compute = EmbeddingSpace.of
    spaces: dict[bytes, EmbeddingSpace] = {}

    def shared(background: BackgroundStatistics) -> EmbeddingSpace:
        digest = hashlib.blake2b(background.mean.tobytes() + background.covariance.tobytes()).digest()
        if digest not in spaces:
            space = compute(background)
            space.mean.flags.writeable = space.precision.flags.writeable = False
            spaces[digest] = space
        return spaces[digest]

    EmbeddingSpace.of = staticmethod(shared)  # type: ignore[method-assign,assignment]
