"""The second look at images whose score is near the threshold: the mean with that of their mirror images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tagger.model.backends.protocol import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tagger.model.artifact import Range
    from tagger.photos.decoding import Pixels


def look_again(
    outputs: Outputs, images: Sequence[Pixels], near: Range, forward: Callable[[list[Pixels]], Outputs]
) -> Outputs:
    """The outputs of images, with mean scores where the highest is in the range `near`, without its end."""
    highest, (least, limit) = outputs.scores.max(axis=1), near
    rows = np.flatnonzero((highest >= least) & (highest < limit))
    if not len(rows):
        return outputs
    scores = outputs.scores.copy()
    scores[rows] = (scores[rows] + forward([images[row][:, ::-1] for row in rows.tolist()]).scores) / 2
    return Outputs(scores, outputs.embeddings)
