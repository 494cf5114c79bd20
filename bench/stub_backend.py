"""A backend whose forward passes return at once: the pipeline without its model.

`bench.gpu` registers it as an extension of the programs that it starts.
"""

import numpy as np

from bench.rig import SHIPPED
from tagger.model.artifact import read_manifest
from tagger.model.backends import Images, Outputs

MOST_IMAGES = 1024
# The score of each fifth photo's landmark.
TAGGED, SHARE_TAGGED = 0.9, 5


class StubBackend:
    name = "stub"

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        manifest = read_manifest(SHIPPED)
        count, dimension = (
            len(manifest.labels),
            manifest.embedding.dimension if manifest.embedding else 0,
        )
        self._scores = np.full((MOST_IMAGES, count), 0.1 / count, np.float32)
        self._scores[::SHARE_TAGGED, 0] = TAGGED
        random = np.random.default_rng(1)
        self._embeddings = random.standard_normal((MOST_IMAGES, dimension)).astype(
            np.float32
        )

    def forward(self, images: Images) -> Outputs:
        return Outputs(
            self._scores[: len(images)],
            self._embeddings[: len(images)],
        )

    def free_memory(self) -> None:
        """Nothing is kept."""


def make(_module: object, _device: object, _size: int, at_once: int) -> StubBackend:
    return StubBackend(at_once)
