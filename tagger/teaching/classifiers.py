"""Classifiers of taught landmarks: they find a landmark's photos by embeddings, from a few examples.

Knows nothing of SQL or of photos.

Strangers, photos of anything else, have the mean m and the covariance C in the space of embeddings, which the
file of the model contains. After the transformation z = S^-1/2 (x - m) with S = 0.9 C + mean(diag C) I they
have about the mean 0 and the covariance 1 in all directions ("Discriminative decorrelation", Hariharan et
al., 2012). The direction u of a landmark is a ridge regression with strangers as negatives without end: it
minimises |u|² + Σ (t - u·z)² / λ, with t = 1 for examples and t = 0 for rejected photos. Only products of
examples are needed for it, and for what each example would have if it had been left out (Allen, 1974).

A photo's resemblance u·z / |u| is then turned into a probability. How much strangers vary is measured on the
library itself, and so is the share of the landmark's photos there: the fewer there are, the more a photo has
to resemble the examples.

The front and the back of a church have little in common. So the likeness e·z / |e| of a photo and the example
e that is nearest to it counts beside what all examples have in common. A classifier has a column of weights
for each such example, and the greatest of their sums is the log-odds of the photo.

The database stores embeddings with 4 bits for each dimension, between the lowest and the highest value.

That teaches as well as 16 bits, and takes a quarter of the space (see docs/explanation/teaching.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tagger.model.artifact import BackgroundStatistics


Embeddings = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
STORED = np.dtype("<f4")

# How much the examples count. More of the identity helps single examples, less of it helps twenty.
COVARIANCE_SHARE, IDENTITY_SHARE = 0.9, 1.0
# λ, the noise of an example, in parts of a stranger's mean squared length |z|².
NOISE = 0.6
# Examples this similar are copies, and count once. Different photos of a landmark have 0.1 to 0.5.
DUPLICATE_COSINE = 0.9
# Examples of each kind that are used: evenly spread ones of more. The time grows with the third
# power.
MAX_EXAMPLES = 1000
# Examples that photos are compared with one by one: evenly spread ones of more, as each costs time.
MAX_COLUMNS = 16

# Photos that are compared at once with all classifiers: 64 MB for 500 landmarks.
BLOCK = 1000

# The standard deviation of strangers' resemblance. Statistics say 1, but the identity makes it
# less.
ASSUMED_SPREAD = 0.82
# What is assumed of a library counts as much as so many of its photos.
ASSUMED_STRANGERS = 100
# Photos with more resemblance may show the landmark, and are not measured as strangers.
STRANGERS_BELOW = 3.0
# Strangers are measured between their median and this quantile, so many normal deviations above it.
UPPER_QUANTILE, UPPER_DEVIATION = 0.9, 1.2816

# Fitted to half of 102 landmarks on a network that knows none, and to half of 21 left out of a model;
# the other halves tested them. Resemblance is in deviations of strangers.
# How much a landmark's other photos resemble a single example.
EXPECTED_OF_ONE = 5.1
# Left-out examples are averaged with so many of this resemblance: each is judged by one example
# less.
PRIOR_EXAMPLES, PRIOR_RESEMBLANCE = 1.5, 9.9
LOGIT_AT_CENTRE, LOGIT_PER_DEVIATION, LOGIT_PER_EXPECTED = -4.6, 1.47, -0.40
# Added for a single example, of which nobody can tell how typical it is.
CAUTION_WITH_ONE = -0.8

# What the nearest example adds to the log-odds, for each deviation by which it is more like the
# photo than look-alikes are. On each half of 14 places without a label, recall grows by a tenth.
LOGIT_PER_LIKENESS, USUAL_LIKENESS = 2.0, 4.8

# The share of a landmark's photos for which the logit is fitted, assumed of an unknown library.
ASSUMED_SHARE = 0.01
LARGEST_SHARE = 0.5
SHARE_ROUNDS, SHARE_TOLERANCE = 50, 1e-7


@dataclass(frozen=True)
class EmbeddingSpace:
    """The embeddings of one model: `mean` (D,), and `root` (D, D), by which the strangers are transformed.

    Making it takes 0.2 s for D = 1,280, so make it once for many landmarks.
    """

    mean: Matrix
    root: Embeddings
    noise: float

    @classmethod
    def of(cls, background: BackgroundStatistics) -> Self:
        covariance = background.covariance.astype(np.float64)
        variance = float(covariance.diagonal().mean()) or 1.0
        regularised = (
            COVARIANCE_SHARE * covariance
            + IDENTITY_SHARE * variance * np.eye(len(covariance))
        )
        precision = np.linalg.inv(regularised).astype(np.float64)
        noise = NOISE * (float(np.vdot(precision, covariance)) or 1.0)
        # In half of the time that doubles take, and as exact as four bits are.
        root = np.linalg.cholesky(precision).astype(np.float32)
        return cls(background.mean.astype(np.float64), root, noise)

    def transform(self, embeddings: Embeddings) -> Embeddings:
        """The transformed photos z, (N, D). What is learned from some is learned from these alone."""
        return (embeddings - self.mean.astype(np.float32)) @ self.root

    def untransformed(
        self,
        weights: Embeddings,
        bias: Embeddings,
    ) -> tuple[Embeddings, Embeddings]:
        """The weights (D, C) and bias (C,) for embeddings, from those for transformed photos."""
        weights = self.root @ weights
        return weights, (bias - self.mean @ weights).astype(np.float32)


def lengths(vectors: Floats) -> Floats:
    """The lengths (N,) of vectors (N, D), 1 instead of 0."""
    norms: Floats = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    norms[norms == 0] = 1
    return norms


@dataclass(frozen=True)
class Classifier:
    """Scores photos by their embeddings: the greatest of C sums, by `weights` (D, C) and `bias` (C,).

    A classifier that release 1.0 learned has one column.
    """

    weights: Embeddings
    bias: Embeddings

    def scores(self, embeddings: Embeddings) -> Embeddings:
        """The probability that each photo shows the landmark.

        Args:
            embeddings: (N, D).

        Returns:
            (N,), 0 to 1.
        """
        return _sigmoid(self.logits(embeddings))

    def logits(self, embeddings: Embeddings) -> Embeddings:
        """The log-odds of these scores, (N,)."""
        return SeveralClassifiers.joined([self]).logits(embeddings)[:, 0]

    def at_share(self, share: float) -> Self:
        """The classifier for a library with this share of the landmark's photos, not `ASSUMED_SHARE`."""
        shift = np.float32(log_odds(share) - log_odds(ASSUMED_SHARE))
        return replace(self, bias=self.bias + shift)

    def to_bytes(self) -> bytes:
        """The weights and the bias of each column as little-endian float32."""
        return np.vstack([self.weights, self.bias]).T.astype(STORED).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, dimension: int) -> Self:
        """Restore a classifier.

        Raises:
            ValueError: the data is not that of a classifier, or has values that are not finite.
        """
        columns = (
            np.frombuffer(
                data,
                STORED,
            )
            .astype(np.float32)
            .reshape(-1, dimension + 1)
        )
        if not len(columns) or not np.isfinite(columns).all():
            raise ValueError("this is not a classifier with finite values")
        return cls(columns[:, :-1].T, columns[:, -1])


@dataclass(frozen=True)
class SeveralClassifiers:
    """The columns of classifiers side by side: `weights` (D, C) and `bias` (C,), each from its start on."""

    weights: Embeddings
    bias: Embeddings
    starts: Sequence[int]

    @classmethod
    def of(cls, stored: Sequence[bytes], dimension: int) -> Self:
        """Those of stored classifiers, of which there is at least one."""
        return cls.joined(
            [
                Classifier.from_bytes(
                    data,
                    dimension,
                )
                for data in stored
            ]
        )

    @classmethod
    def joined(cls, classifiers: Sequence[Classifier]) -> Self:
        """These classifiers, of which there is at least one."""
        return cls(
            np.hstack([each.weights for each in classifiers]),
            np.concatenate([each.bias for each in classifiers]),
            [0, *accumulate(len(each.bias) for each in classifiers[:-1])],
        )

    def scores(self, embeddings: Embeddings) -> Embeddings:
        """The scores (N, L) of photos by each of L classifiers."""
        return _sigmoid(self.logits(embeddings))

    def logits(self, embeddings: Embeddings) -> Embeddings:
        """The log-odds of these scores, (N, L)."""
        logits = np.empty((len(embeddings), len(self.starts)), np.float32)
        for start in range(0, len(embeddings), BLOCK):
            rows = slice(start, start + BLOCK)
            logits[rows] = np.maximum.reduceat(
                embeddings[rows] @ self.weights + self.bias,
                self.starts,
                axis=1,
            )
        return logits


@dataclass(frozen=True)
class Direction:
    """What examples say of a landmark: a transformed photo z resembles it by `weights`·z, in lengths of u.

    It is like each of C examples by `nearest`·z. `expected` is what the landmark's other photos should have
    on average, `examples` how many different examples there are.
    """

    weights: Embeddings  # (D,)
    nearest: Embeddings  # (D, C)
    examples: int
    expected: float


def classifier_bytes(dimension: int) -> int:
    """The size of a column of a stored classifier."""
    return STORED.itemsize * (dimension + 1)


def fit_direction(
    space: EmbeddingSpace,
    positives: Embeddings,
    negatives: Embeddings,
) -> Direction:
    """Learn a landmark from examples.

    Args:
        space: that of the model.
        positives: (P, D) with P ≥ 1, photos of the landmark, transformed.
        negatives: (N, D), rejected photos, transformed. Those that do not resemble the landmark do harm.

    Raises:
        ValueError: there are no positives, or the space is so flat that nothing can be computed.
    """
    if not len(positives):
        raise ValueError("a landmark cannot be learned without an example")
    # Photos that are copies of an earlier one count once.
    several = evenly(positives, MAX_EXAMPLES).astype(np.float64)
    alike = several @ several.T
    least = DUPLICATE_COSINE * np.outer(lengths(several), lengths(several))
    is_copy = np.triu(alike > least, 1).any(axis=0)
    examples = several[~is_copy]
    rows = np.concatenate([examples, evenly(negatives, MAX_EXAMPLES)])  # (E, D)
    targets = np.arange(len(rows)) < len(examples)
    products = rows @ rows.T
    inverse = np.linalg.inv(products + space.noise * np.eye(len(rows)))
    coefficients = inverse @ targets
    length = float(np.sqrt(coefficients @ products @ coefficients)) or 1.0
    left_out = (targets - coefficients / inverse.diagonal())[: len(examples)] / length
    weights = coefficients @ rows / length
    expected = EXPECTED_OF_ONE
    if len(left_out) > 1:
        total = left_out.sum() + PRIOR_EXAMPLES * PRIOR_RESEMBLANCE
        expected = float(total / (len(left_out) + PRIOR_EXAMPLES))
    # The weights of the likeness to single examples.
    compared = evenly(examples, MAX_COLUMNS)
    nearest = compared / lengths(compared)[:, np.newaxis]
    return Direction(
        weights.astype(np.float32),
        nearest.T.astype(np.float32),
        len(examples),
        expected,
    )


def calibrate(
    direction: Direction,
    resemblances: Floats,
    logit_per_likeness: float = LOGIT_PER_LIKENESS,
) -> Classifier:
    """The classifier of a landmark for a library with `ASSUMED_SHARE` of its photos, of transformed photos.

    Args:
        direction: that of the landmark.
        resemblances: (M,), products with its weights of a sample of some thousands of other photos.
        logit_per_likeness: what the nearest example counts. With 0, all columns are the same.

    Raises:
        ValueError: the values are so large that nothing can be computed.
    """
    centre, spread = _measure_strangers(resemblances)
    slope = LOGIT_PER_DEVIATION / spread
    weights = (
        slope * direction.weights[:, np.newaxis]
        + logit_per_likeness * direction.nearest
    )
    # The log-odds of a photo without resemblance.
    expected = (direction.expected - centre) / spread
    caution = CAUTION_WITH_ONE if direction.examples == 1 else 0.0
    bias = LOGIT_AT_CENTRE + LOGIT_PER_EXPECTED * expected + caution
    bias -= slope * centre + logit_per_likeness * USUAL_LIKENESS
    biases = np.full(weights.shape[1], bias, np.float32)
    classifier = Classifier(weights.astype(np.float32), biases)
    if not (
        np.isfinite(classifier.weights).all() and np.isfinite(classifier.bias).all()
    ):
        raise ValueError("what was learned has values that are not finite")
    return classifier


def evenly(rows: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _measure_strangers(resemblances: Floats) -> tuple[float, float]:
    # The centre and the spread of the resemblance of photos that are probably not of the landmark.
    strangers = resemblances[resemblances < STRANGERS_BELOW]
    if not len(strangers):
        return 0.0, ASSUMED_SPREAD
    weight = len(strangers) / (len(strangers) + ASSUMED_STRANGERS)
    centre, upper = np.quantile(strangers, (0.5, UPPER_QUANTILE))
    spread = (upper - centre) / UPPER_DEVIATION
    return float(weight * centre), float(
        weight * spread + (1 - weight) * ASSUMED_SPREAD
    )


def share_of(logits: Floats) -> float:
    """Estimate the share of the landmark's photos by expectation maximisation (Saerens et al., 2002).

    Args:
        logits: (M,), those of the library's sample by the classifier at `ASSUMED_SHARE`.
    """
    share = ASSUMED_SHARE
    for _ in range(SHARE_ROUNDS):
        before = share
        probabilities = _sigmoid(logits + log_odds(share) - log_odds(ASSUMED_SHARE))
        expected = float(probabilities.sum()) + ASSUMED_SHARE * ASSUMED_STRANGERS
        share = min(expected / (len(logits) + ASSUMED_STRANGERS), LARGEST_SHARE)
        if math.isclose(share, before, rel_tol=SHARE_TOLERANCE):
            break
    return share


def log_odds(share: float) -> float:
    return math.log(share / (1 - share))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits))  # does not overflow


# A stored embedding begins with its lowest and highest value.
BOUNDS_BYTES = 2 * STORED.itemsize
_LEVELS = 15


def quantize(embeddings: Embeddings) -> list[bytes]:
    """What is stored for embeddings (N, D): the two bounds, then one byte for a dimension of each half."""
    low, high = (
        embeddings.min(
            axis=1,
            keepdims=True,
        ),
        embeddings.max(axis=1, keepdims=True),
    )
    step = np.where(high > low, (high - low) / _LEVELS, 1)
    levels = np.clip(
        np.rint((embeddings - low) / step),
        0,
        _LEVELS,
    ).astype(np.uint8)
    half = _packed_bytes(embeddings.shape[1])
    packed = levels[:, :half] << 4
    packed[:, : levels.shape[1] - half] |= levels[:, half:]
    bounds = np.hstack([low, high]).astype(STORED)
    return [
        bound.tobytes() + row.tobytes()
        for bound, row in zip(
            bounds,
            packed,
            strict=True,
        )
    ]


def restore(rows: Sequence[bytes], dimension: int) -> Embeddings:
    """The embeddings (N, D) of stored rows.

    Raises:
        ValueError: a row has another dimension.
    """
    size = embedding_bytes(dimension)
    if not {size}.issuperset(map(len, rows)):
        raise ValueError(
            f"a stored embedding has not the {size} bytes of {dimension} dimensions"
        )
    return restore_joined(b"".join(rows), dimension)


def restore_joined(data: bytes, dimension: int) -> Embeddings:
    """The embeddings (N, D) of stored rows that follow each other."""
    stored = np.frombuffer(
        data,
        np.uint8,
    ).reshape(-1, embedding_bytes(dimension))
    bounds = stored[:, :BOUNDS_BYTES].copy().view(STORED).astype(np.float32)
    packed, half = stored[:, BOUNDS_BYTES:], _packed_bytes(dimension)
    embeddings = np.empty((len(stored), dimension), np.float32)
    embeddings[:, :half] = packed >> 4
    embeddings[:, half:] = packed[:, : dimension - half] & _LEVELS
    low, high = bounds[:, :1], bounds[:, 1:]
    embeddings *= (high - low) / _LEVELS
    embeddings += low
    return embeddings


def embedding_bytes(dimension: int) -> int:
    return BOUNDS_BYTES + _packed_bytes(dimension)


def _packed_bytes(dimension: int) -> int:
    return (dimension + 1) // 2
