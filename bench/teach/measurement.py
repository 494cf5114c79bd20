"""What taught landmarks find: each landmark alone, the others' photos being part of the library."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.teach.collection import Collection, Positions, Values
from tagger.places.classifiers import ACCEPTED_SCORE, SUGGESTED_SCORE, Classifier, EmbeddingSpace, learn
from tagger.places.learning import LIBRARY_SAMPLE

PRECISION = 0.95
LEAST_SOUGHT = 3
"""Photos of a landmark besides the examples. With fewer, its precision says little."""
VERDICTS = 10

Truth = npt.NDArray[np.bool_]


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
        return float((self.scores[self.is_right] >= ACCEPTED_SCORE).mean())

    @property
    def suggested_recall(self) -> float:
        """With the suggestions."""
        return float((self.scores[self.is_right] >= SUGGESTED_SCORE).mean())

    @property
    def accepted(self) -> tuple[int, int]:
        """How many photos got the tag, and how many of them rightly."""
        accepted = self.scores >= ACCEPTED_SCORE
        return int(accepted.sum()), int((accepted & self.is_right).sum())

    @property
    def false_suggestions(self) -> int:
        return int(((self.scores >= SUGGESTED_SCORE) & (self.scores < ACCEPTED_SCORE) & ~self.is_right).sum())

    def false_tags_of_10_000(self, source: int) -> float:
        """False tags for each 10,000 photos of a folder that do not show the landmark."""
        others = (self.source == source) & ~self.is_right
        return 10_000 * int((self.scores[others] >= ACCEPTED_SCORE).sum()) / max(int(others.sum()), 1)

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
        self._space = EmbeddingSpace.of(collection.background)

    def draws(self, examples: int, count: int) -> Iterator[Draw]:
        """Draw examples `count` times for each landmark that has enough photos. They are the same in each call."""
        for landmark in range(len(self.collection.landmarks)):
            own = np.flatnonzero(self.collection.landmark == landmark)
            generator = np.random.default_rng([examples, landmark])
            for _ in range(count if len(own) >= examples + LEAST_SOUGHT else 0):
                yield Draw(landmark, generator.permutation(own)[:examples])

    def rank(self, draw: Draw) -> Ranking:
        """Teach a landmark and score the library."""
        library = self._without(draw.examples)
        classifier = self.learned(draw.examples, draw.examples[:0], library)
        return self._ranking(draw.landmark, library, self._scores(classifier, library))

    def rank_after_verdicts(self, draw: Draw) -> Ranking:
        """Teach a landmark, answer the best `VERDICTS` photos that it does not accept, and teach it again."""
        library = self._without(draw.examples)
        scores = self._scores(self.learned(draw.examples, draw.examples[:0], library), library)
        suggested = library[np.argsort(-np.where(scores < ACCEPTED_SCORE, scores, -1))[:VERDICTS]]
        is_right = self.collection.landmark[suggested] == draw.landmark
        positives = np.concatenate([draw.examples, suggested[is_right]])
        negatives = suggested[~is_right]
        rest = np.setdiff1d(library, suggested)
        scores = self._scores(self.learned(positives, negatives, rest), library)
        scores[np.isin(library, positives)] = 1.0  # confirmed tags stay
        scores[np.isin(library, negatives)] = 0.0
        return self._ranking(draw.landmark, library, scores)

    def learned(self, positives: Positions, negatives: Positions, library: Positions) -> Classifier:
        """The classifier that is learned from these photos of the collection."""
        embeddings = self.collection.embeddings
        if len(library) > LIBRARY_SAMPLE:
            library = np.random.default_rng(0).choice(library, LIBRARY_SAMPLE, replace=False)
        return learn(self._space, embeddings[positives], embeddings[negatives], embeddings[library])

    def _without(self, examples: Positions) -> Positions:
        return np.setdiff1d(np.arange(len(self.collection.landmark)), examples)

    def _scores(self, classifier: Classifier, library: Positions) -> Values:
        return classifier.scores(self.collection.embeddings[library])

    def _ranking(self, landmark: int, library: Positions, scores: Values) -> Ranking:
        return Ranking(scores, self.collection.landmark[library] == landmark, self.collection.source[library])


@dataclass(frozen=True)
class Top1:
    """Shares of photos whose right landmark has the highest score among the model's and all taught ones."""

    taught: float
    known: float
    known_before: float


def top1(teaching: Teaching, examples: int, draws: int, odds: float = 1) -> Top1:
    """Teach all landmarks at once and compare their scores with the model's, as a mean of several draws.

    The odds of taught landmarks are multiplied by `odds`: their scores assume that few photos show them, the model's that
    half of all photos show one of its landmarks.
    """
    drawn = list(teaching.draws(examples, draws))
    results = [_top1(teaching, drawn[number::draws], odds) for number in range(draws)]
    return Top1(*np.mean([(result.taught, result.known, result.known_before) for result in results], axis=0))


def _top1(teaching: Teaching, drawn: list[Draw], odds: float) -> Top1:
    collection = teaching.collection
    examples = np.concatenate([draw.examples for draw in drawn])
    library = np.setdiff1d(np.arange(len(collection.landmark)), examples)
    taught = np.stack(
        [
            teaching.learned(draw.examples, np.setdiff1d(examples, draw.examples), library).scores(
                collection.embeddings
            )
            for draw in drawn
        ],
        axis=1,
    )  # (N, T)
    weighted = odds * taught / (1 - taught + odds * taught)
    labels = collection.scores.shape[1]
    best = np.concatenate([collection.scores, weighted], axis=1).argmax(axis=1)
    is_known = collection.label >= 0
    shares = []
    for number, draw in enumerate(drawn):
        rest = library[collection.landmark[library] == draw.landmark]
        shares.append(float((best[rest] == labels + number).mean()))
    right = collection.label[is_known]
    if not len(right):
        return Top1(float(np.mean(shares)), float("nan"), float("nan"))
    before = collection.scores[is_known].argmax(axis=1)
    return Top1(
        float(np.mean(shares)), float((best[is_known] == right).mean()), float((before == right).mean())
    )
