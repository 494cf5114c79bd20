"""Embeddings of photos by a model file, from which indexes of landmarks are learned."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagger.errors import EmbeddingsMissing
from tagger.library.teaching.classifiers import EmbeddingSpace, Values
from tagger.model.artifact import file_digest, read_background, read_manifest
from tagger.model.devices import choose_device
from tagger.model.model import Model, load_model
from trainer.data.pixels import PhotoReader, decode_batches

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EmbeddingModel:
    """A loaded model, its digest, and the space of its embeddings."""

    model: Model
    space: EmbeddingSpace
    digest: str

    @classmethod
    def load(cls, file: Path, device: str) -> "EmbeddingModel":
        """Load a model file.

        Raises:
            ModelRefused, EmbeddingsMissing: it cannot be used, or is of format 1.
        """
        manifest, digest = read_manifest(file), file_digest(file)
        embedding = manifest.embedding
        if embedding is None:
            raise EmbeddingsMissing(name=manifest.name)
        space = EmbeddingSpace.of(read_background(file, digest, embedding))
        return cls(load_model(file, digest, manifest, choose_device(device, None)), space, digest)

    def embed(self, photos: Iterable[PhotoReader]) -> Iterator[tuple[Positions, Values]]:
        """Yield the positions (B,) and embeddings (B, D) of a few photos at a time. Skips unreadable ones, with a warning."""
        resize = self.model.manifest.input.resize
        for batch in decode_batches(photos, resize, self.model.batch_size):
            embeddings = self.model.outputs(batch.pixels).embeddings
            if embeddings is not None:  # as for every model that `load` accepts
                yield np.array(batch.positions, np.int64), embeddings
