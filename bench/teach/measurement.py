"""What taught landmarks find: each landmark alone, the other landmarks' photos being part of the library."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.photos import photos_in
from tagger.library.teaching.classifiers import (
    SUGGESTED_SCORE,
    EmbeddingSpace,
    calibrate,
    fit_direction,
    quantize,
    restore,
)
from tagger.library.teaching.learning import LIBRARY_SAMPLE
from tagger.model.predictions import TAUGHT_THRESHOLD
from trainer.embeddings import EmbeddingModel

PRECISION = 0.95
LEAST_SOUGHT = 3
"""Photos of a landmark besides the examples. With fewer, its precision says little."""

Values = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Collection:
    """All photos of the benchmark, N of them.

    `landmark` is the index of the landmark to be taught; -1 if a photo shows none.
    `source` is the index of the folder that was named.
    """

    embeddings: Values  # (N, D), as they are stored
    space: EmbeddingSpace
    landmarks: list[str]
    landmark: Positions  # (N,)
    sources: list[str]
    source: Positions  # (N,)


def read_collection(model_file: Path, places: Path, others: list[Path]) -> Collection:
    """Compute the embeddings of all photos.

    Args:
        model_file: a model of format 2.
        places: has a folder for each landmark to be taught.
        others: folders of photos of anything else. Folders in them with the name of a landmark are left out.

    Raises:
        ModelRefused, EmbeddingsMissing: the model cannot be used, or has no embeddings.
    """
    model = EmbeddingModel.load(model_file, "cpu")
    taught = photos_in(places)
    names = [file.relative_to(places).parts[0] for file in taught]
    landmarks = sorted(set(names))
    files = [taught, *(_without(folder, landmarks) for folder in others)]
    nothing = [-1] * sum(map(len, files[1:]))
    readable, embeddings = model.embed_files([file for part in files for file in part])
    return Collection(
        embeddings=restore(quantize(embeddings), model.facts.dimension),
        space=model.space,
        landmarks=landmarks,
        landmark=np.array([*map(landmarks.index, names), *nothing], np.int64)[readable],
        sources=[folder.name for folder in (places, *others)],
        source=np.repeat(np.arange(len(files)), list(map(len, files)))[readable],
    )


def _without(folder: Path, landmarks: list[str]) -> list[Path]:
    """The photos of a folder that are not in one with the name of a landmark."""
    return [
        file for file in photos_in(folder) if not set(file.relative_to(folder).parts[:-1]) & set(landmarks)
    ]


@dataclass(frozen=True)
class Draw:
    """One landmark and the photos that it is taught from."""

    landmark: int
    examples: Positions


@dataclass(frozen=True)
class Ranking:
    """The library, all photos but the examples, with the scores of a taught landmark."""

    scores: Values  # (M,)
    is_right: Truth  # (M,)
    source: Positions  # (M,)

    @property
    def average_precision(self) -> float:
        """The mean of the precisions at each photo of the landmark."""
        return float(self._precisions[self._ranked].mean())

    @property
    def recall(self) -> float:
        """The largest recall at `PRECISION`: what the best threshold for this landmark would find."""
        return float((self._found / self._found[-1])[self._precisions >= PRECISION].max(initial=0.0))

    @property
    def accepted_recall(self) -> float:
        return float((self.scores[self.is_right] >= TAUGHT_THRESHOLD).mean())

    @property
    def suggested_recall(self) -> float:
        """With the suggestions."""
        return float((self.scores[self.is_right] >= SUGGESTED_SCORE).mean())

    @property
    def accepted(self) -> tuple[int, int]:
        """How many photos got the tag, and how many of them rightly."""
        accepted = self.scores >= TAUGHT_THRESHOLD
        return int(accepted.sum()), int((accepted & self.is_right).sum())

    @property
    def false_suggestions(self) -> int:
        return int(
            ((self.scores >= SUGGESTED_SCORE) & (self.scores < TAUGHT_THRESHOLD) & ~self.is_right).sum()
        )

    def false_tags_of_10_000(self, source: int) -> float:
        """False tags for each 10,000 photos of a folder that do not show the landmark."""
        others = (self.source == source) & ~self.is_right
        return 10_000 * int((self.scores[others] >= TAUGHT_THRESHOLD).sum()) / max(int(others.sum()), 1)

    @cached_property
    def _ranked(self) -> Truth:
        ranked: Truth = self.is_right[np.argsort(-self.scores, kind="stable")]
        return ranked

    @property
    def _found(self) -> Positions:
        return self._ranked.cumsum()

    @property
    def _precisions(self) -> npt.NDArray[np.float64]:
        precisions: npt.NDArray[np.float64] = self._found / np.arange(1, len(self._found) + 1)
        return precisions


class Teaching:
    """Teaches landmarks of a collection."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    def draws(self, examples: int, count: int) -> Iterator[Draw]:
        """Draw examples `count` times for each landmark that has enough photos. They are the same in each call."""
        for landmark in range(len(self.collection.landmarks)):
            own = np.flatnonzero(self.collection.landmark == landmark)
            generator = np.random.default_rng([examples, landmark])
            for _ in range(count if len(own) >= examples + LEAST_SOUGHT else 0):
                yield Draw(landmark, generator.permutation(own)[:examples])

    def rank(self, draw: Draw) -> Ranking:
        """Teach a landmark and score the library, all photos but the examples."""
        collection = self.collection
        library = np.setdiff1d(np.arange(len(collection.landmark)), draw.examples)
        sample = library
        if len(library) > LIBRARY_SAMPLE:
            sample = np.random.default_rng(0).choice(library, LIBRARY_SAMPLE, replace=False)
        embeddings = collection.embeddings
        direction = fit_direction(collection.space, embeddings[draw.examples], embeddings[:0])
        classifier = calibrate(direction, embeddings[sample])
        scores = classifier.scores(embeddings[library])
        return Ranking(scores, collection.landmark[library] == draw.landmark, collection.source[library])
