"""Sketches of embeddings: nearly the same images are the most similar ones."""

import numpy as np
import pytest

from tagger.model.artifact import BackgroundStatistics
from tagger.teaching.classifiers import Embeddings, quantize, restore
from tagger.teaching.similarity import DIMENSIONS, SketchSpace


def drawn(random: np.random.Generator, number: int, dimension: int) -> Embeddings:
    """Embeddings whose dimensions vary less and less, as those of a network."""
    spread = 1 / np.sqrt(np.arange(1, dimension + 1))
    mixed = np.linalg.qr(np.random.default_rng(1).standard_normal((dimension, dimension)))[0]
    return ((random.standard_normal((number, dimension)) * spread) @ mixed + 1).astype(np.float32)


@pytest.mark.parametrize("dimension", [8, 64, 300])
def test_axes_are_at_right_angles(dimension):
    space = SketchSpace.of(
        BackgroundStatistics.measured(drawn(np.random.default_rng(0), 2 * dimension, dimension))
    )
    expected = min(dimension, DIMENSIONS)
    assert np.allclose(space.axes.T @ space.axes, np.eye(expected), atol=1e-5)


@pytest.mark.parametrize("variances", [[0.0] * 100, [1.0] + [0.0] * 99, [1e6] * 3 + [1e-6] * 97])
def test_a_background_that_hardly_varies_has_axes(variances):
    covariance = np.diag(np.array(variances, np.float32))
    axes = SketchSpace.of(BackgroundStatistics(9, np.zeros(100, np.float32), covariance)).axes
    assert np.allclose(axes.T @ axes, np.eye(DIMENSIONS), atol=1e-4)


def test_rounding_changes_axes_little():
    random = np.random.default_rng(0)
    background = BackgroundStatistics.measured(drawn(random, 400, 300))
    noise = 1 + 1e-6 * random.standard_normal((300, 300)).astype(np.float32)
    other = BackgroundStatistics(400, background.mean, background.covariance * (noise + noise.T) / 2)
    assert np.allclose(SketchSpace.of(background).axes, SketchSpace.of(other).axes, atol=1e-3)


def test_the_most_similar_images_are_among_those_with_the_most_similar_sketches():
    random = np.random.default_rng(0)
    space = SketchSpace.of(BackgroundStatistics.measured(drawn(random, 1000, 300)))
    directions = space.directions(drawn(random, 3000, 300))
    sketches = restore(quantize(directions @ space.axes), DIMENSIONS)
    for row in range(20):
        best = np.argsort(-directions @ directions[row])[:20]
        likely = np.argsort(-sketches @ (directions[row] @ space.axes))[:300]
        assert len(np.intersect1d(best, likely)) >= 19
