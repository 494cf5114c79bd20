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

The database stores embeddings with 4 bits for each dimension, between the lowest and the highest value.

That teaches as well as 16 bits, and takes a quarter of the space (see docs/explanation/teaching.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing import Self

    from tagger.model.artifact import BackgroundStatistics


Values = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
STORED = np.dtype("<f4")

# How much the examples count. More of the identity helps single examples, less of it helps twenty.
COVARIANCE_SHARE, IDENTITY_SHARE = 0.9, 1.0
NOISE = 0.6
"""λ, the noise of an example, in parts of a stranger's mean squared length |z|²."""
DUPLICATE_COSINE = 0.9
"""Examples this similar are copies, and count once. Different photos of a landmark have 0.1 to 0.5."""
MAX_EXAMPLES = 1000
"""Examples of each kind that are used: evenly spread ones of more. The time grows with the third power."""

ASSUMED_SPREAD = 0.82
"""The standard deviation of strangers' resemblance. Statistics say 1, but the identity makes it less."""
ASSUMED_STRANGERS = 100
"""What is assumed of a library counts as much as so many of its photos."""
STRANGERS_BELOW = 3.0
"""Photos with more resemblance may show the landmark, and are not measured as strangers."""
UPPER_QUANTILE, UPPER_DEVIATION = 0.9, 1.2816
"""Strangers are measured between their median and this quantile, so many normal deviations above it."""

# Fitted to half of 102 landmarks on a network that knows none, and to half of 21 left out of a model;
# the other halves tested them. Resemblance is in deviations of strangers.
EXPECTED_OF_ONE = 5.1
"""How much a landmark's other photos resemble a single example."""
PRIOR_EXAMPLES, PRIOR_RESEMBLANCE = 1.5, 9.9
"""Left-out examples are averaged with so many of this resemblance: each is judged by one example less."""
LOGIT_AT_CENTRE, LOGIT_PER_DEVIATION, LOGIT_PER_EXPECTED = -4.6, 1.47, -0.40
CAUTION_WITH_ONE = -0.8
"""Added for a single example, of which nobody can tell how typical it is."""

ASSUMED_SHARE = 0.01
"""The share of a landmark's photos for which the logit is fitted, assumed of an unknown library."""
LARGEST_SHARE = 0.5
SHARE_ROUNDS = 50


@dataclass(frozen=True)
class EmbeddingSpace:
    """The embeddings of one model: `mean` (D,), and `precision` (D, D), the inverse covariance of strangers.

    Making it takes 0.2 s for D = 1,280, so make it once for many landmarks.
    """

    mean: Matrix
    precision: Matrix
    noise: float

    @classmethod
    def of(cls, background: BackgroundStatistics) -> Self:
        """The space of a model with these background statistics."""
        covariance = background.covariance.astype(np.float64)
        variance = float(covariance.diagonal().mean()) or 1.0
        regularised = COVARIANCE_SHARE * covariance + IDENTITY_SHARE * variance * np.eye(len(covariance))
        precision = np.linalg.inv(regularised).astype(np.float64)
        noise = NOISE * (float(np.vdot(precision, covariance)) or 1.0)
        return cls(background.mean.astype(np.float64), precision, noise)


@dataclass(frozen=True)
class Classifier:
    """Scores photos by their embeddings: `weights` (D,). Several together: `weights` (D, C), `bias` (C,)."""

    weights: Values
    bias: float | Values

    def scores(self, embeddings: Values) -> Values:
        """The probability that each photo shows the landmark, in the library that was given to `calibrate`.

        Args:
            embeddings: (N, D).

        Returns:
            (N,) or (N, C), 0 to 1.
        """
        return np.asarray(_sigmoid(embeddings @ self.weights + np.asarray(self.bias, np.float32)))

    def to_bytes(self) -> bytes:
        """The weights and the bias as little-endian float32."""
        return np.append(self.weights, self.bias).astype(STORED).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Restore a classifier.

        Raises:
            ValueError: the data is not that of a classifier, or has values that are not finite.
        """
        values = np.frombuffer(data, STORED).astype(np.float32)
        if len(values) < 2 or not np.isfinite(values).all():
            raise ValueError("this is not a classifier with finite values")
        return cls(values[:-1], float(values[-1]))


@dataclass(frozen=True)
class Direction:
    """What examples say of a landmark: a photo x resembles it by `weights`·x - `offset`, in lengths of u.

    `expected` is what the landmark's other photos should have on average, `examples` how many different
    examples there are.
    """

    weights: Matrix  # (D,)
    offset: float
    examples: int
    expected: float


def classifier_bytes(dimension: int) -> int:
    """The size of a stored classifier."""
    return STORED.itemsize * (dimension + 1)


def fit_direction(space: EmbeddingSpace, positives: Values, negatives: Values) -> Direction:
    """Learn a landmark from examples.

    Args:
        space: that of the model.
        positives: (P, D) with P ≥ 1, photos of the landmark.
        negatives: (N, D), rejected photos. Those that do not resemble the landmark do harm.

    Raises:
        ValueError: there are no positives, or the space is so flat that nothing can be computed.
    """
    if not len(positives):
        raise ValueError("a landmark cannot be learned without an example")
    examples = _distinct(space, _at_most(positives) - space.mean)
    centred = np.concatenate([examples, _at_most(negatives) - space.mean])  # (E, D)
    targets = np.arange(len(centred)) < len(examples)
    products = centred @ space.precision @ centred.T  # (E, E), those of the transformed photos z
    inverse = np.linalg.inv(products + space.noise * np.eye(len(centred)))
    coefficients = inverse @ targets
    length = float(np.sqrt(coefficients @ products @ coefficients)) or 1.0
    left_out = (targets - coefficients / inverse.diagonal())[: len(examples)] / length
    weights = space.precision @ (coefficients @ centred) / length
    return Direction(weights, float(weights @ space.mean), len(examples), _expected(left_out))


def calibrate(direction: Direction, library: Values) -> Classifier:
    """The classifier of a landmark for a library.

    Args:
        direction: that of the landmark.
        library: (M, D), a random sample of some thousands of the library's other photos.

    Raises:
        ValueError: the values are so large that nothing can be computed.
    """
    resemblances = library @ direction.weights.astype(np.float32) - direction.offset
    centre, spread = _measure_strangers(resemblances)
    slope = LOGIT_PER_DEVIATION / spread
    intercept = _intercept(direction, centre, spread)
    share = _share_of_landmark(slope * resemblances + intercept)
    intercept += _log_odds(share) - _log_odds(ASSUMED_SHARE)
    weights = slope * direction.weights
    classifier = Classifier(weights.astype(np.float32), intercept - slope * direction.offset)
    if not np.isfinite([*classifier.weights, classifier.bias]).all():
        raise ValueError("what was learned has values that are not finite")
    return classifier


def _at_most(photos: Values) -> Values:
    if len(photos) <= MAX_EXAMPLES:
        return photos
    return photos[np.linspace(0, len(photos) - 1, MAX_EXAMPLES).astype(np.int64)]


def _distinct(space: EmbeddingSpace, centred: Matrix) -> Matrix:
    """The photos (P, D) without those that are copies of an earlier one."""
    products = centred @ space.precision @ centred.T
    lengths = np.sqrt(products.diagonal())
    is_copy = np.triu(products > DUPLICATE_COSINE * np.outer(lengths, lengths), 1).any(axis=0)
    return np.asarray(centred[~is_copy])


def _expected(left_out: Matrix) -> float:
    if len(left_out) == 1:
        return EXPECTED_OF_ONE
    total = left_out.sum() + PRIOR_EXAMPLES * PRIOR_RESEMBLANCE
    return float(total / (len(left_out) + PRIOR_EXAMPLES))


def _measure_strangers(resemblances: Floats) -> tuple[float, float]:
    """The centre and the spread of the resemblance of photos that are probably not of the landmark."""
    strangers = resemblances[resemblances < STRANGERS_BELOW]
    if not len(strangers):
        return 0.0, ASSUMED_SPREAD
    weight = len(strangers) / (len(strangers) + ASSUMED_STRANGERS)
    centre, upper = np.quantile(strangers, (0.5, UPPER_QUANTILE))
    spread = (upper - centre) / UPPER_DEVIATION
    return float(weight * centre), float(weight * spread + (1 - weight) * ASSUMED_SPREAD)


def _intercept(direction: Direction, centre: float, spread: float) -> float:
    """The log-odds of a photo without resemblance, in a library with `ASSUMED_SHARE` of the landmark."""
    expected = (direction.expected - centre) / spread
    caution = CAUTION_WITH_ONE if direction.examples == 1 else 0.0
    at_centre = LOGIT_AT_CENTRE + LOGIT_PER_EXPECTED * expected + caution
    return at_centre - LOGIT_PER_DEVIATION * centre / spread


def _share_of_landmark(logits: Floats) -> float:
    """Estimate the share of the landmark's photos by expectation maximisation (Saerens et al., 2002).

    Args:
        logits: (M,), those of the library's photos at `ASSUMED_SHARE`.
    """
    share = ASSUMED_SHARE
    for _ in range(SHARE_ROUNDS):
        probabilities = _sigmoid(logits + _log_odds(share) - _log_odds(ASSUMED_SHARE))
        expected = float(probabilities.sum()) + ASSUMED_SHARE * ASSUMED_STRANGERS
        share = min(expected / (len(logits) + ASSUMED_STRANGERS), LARGEST_SHARE)
    return share


def _log_odds(share: float) -> float:
    return math.log(share / (1 - share))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits))  # does not overflow


Embeddings = npt.NDArray[np.float32]

_BOUND = np.dtype("<f4")
BOUNDS_BYTES = 2 * _BOUND.itemsize
"""A stored embedding begins with its lowest and highest value."""
_LEVELS = 15


def quantize(embeddings: Embeddings) -> list[bytes]:
    """What is stored for embeddings (N, D): the two bounds, then one byte for a dimension of each half."""
    low, high = embeddings.min(axis=1, keepdims=True), embeddings.max(axis=1, keepdims=True)
    step = np.where(high > low, (high - low) / _LEVELS, 1)
    levels = np.clip(np.rint((embeddings - low) / step), 0, _LEVELS).astype(np.uint8)
    half = _packed_bytes(embeddings.shape[1])
    packed = levels[:, :half] << 4
    packed[:, : levels.shape[1] - half] |= levels[:, half:]
    bounds = np.hstack([low, high]).astype(_BOUND)
    return [bound.tobytes() + row.tobytes() for bound, row in zip(bounds, packed, strict=True)]


def restore(rows: Sequence[bytes], dimension: int) -> Embeddings:
    """The embeddings (N, D) of stored rows.

    Raises:
        ValueError: a row has another dimension.
    """
    size = embedding_bytes(dimension)
    if not {size}.issuperset(map(len, rows)):
        raise ValueError(f"a stored embedding has not the {size} bytes of {dimension} dimensions")
    stored = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), size)
    bounds = stored[:, :BOUNDS_BYTES].copy().view(_BOUND).astype(np.float32)
    packed, half = stored[:, BOUNDS_BYTES:], _packed_bytes(dimension)
    embeddings = np.empty((len(rows), dimension), np.float32)
    embeddings[:, :half] = packed >> 4
    embeddings[:, half:] = packed[:, : dimension - half] & _LEVELS
    low, high = bounds[:, :1], bounds[:, 1:]
    embeddings *= (high - low) / _LEVELS
    embeddings += low
    return embeddings


def embedding_bytes(dimension: int) -> int:
    """The size of a stored embedding."""
    return BOUNDS_BYTES + _packed_bytes(dimension)


def _packed_bytes(dimension: int) -> int:
    return (dimension + 1) // 2
