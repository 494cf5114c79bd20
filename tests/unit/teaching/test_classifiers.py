"""Classifiers of taught landmarks, and the sketches that find similar images."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from support.examples import examples

from tagger.model import SUGGESTED_SCORE, TAUGHT_THRESHOLD
from tagger.model.artifact import BackgroundStatistics
from tagger.teaching import similarity
from tagger.teaching.classifiers import (
    LOGIT_PER_LIKENESS,
    MAX_COLUMNS,
    NOISE,
    Classifier,
    Embeddings,
    EmbeddingSpace,
    SeveralClassifiers,
    calibrate,
    fit_direction,
    quantize,
    restore,
    share_of,
)
from tagger.teaching.similarity import DIMENSIONS, SketchSpace, group_directions, merge_groups

DIMENSION = 64

Values = npt.NDArray[np.float32]

NONE: Values = np.zeros((0, DIMENSION), np.float32)


def strangers(count: int, seed: int = 0) -> Values:
    """(count, D), with a different variance in each direction."""
    drawn = np.random.default_rng(seed).normal(size=(count, DIMENSION)) * np.linspace(0.5, 2, DIMENSION)
    return drawn.astype(np.float32)


SPACE = EmbeddingSpace.of(BackgroundStatistics.measured(strangers(3000, seed=9)))


def learn(space: EmbeddingSpace, positives: Values, negatives: Values, library: Values) -> Classifier:
    positives, negatives, library = map(space.transform, (positives, negatives, library))
    direction = fit_direction(space, positives, negatives)
    classifier = calibrate(direction, library @ direction.weights)
    weights, bias = space.untransformed(classifier.weights, classifier.bias)
    return Classifier(weights, bias).at_share(share_of(classifier.logits(library)))


def photos_of_landmark(count: int, landmark: int = 1, seed: int = 0, spread: float = 0.6) -> Values:
    """(count, D), around a centre that is as far from the strangers' as a stranger."""
    centre = strangers(1, seed=1000 + landmark)
    return centre + spread * strangers(count, seed=100 * landmark + seed)


def test_more_examples_and_both_sides_find_more_photos_and_no_strangers():
    others = strangers(2000, seed=1)
    library = np.concatenate([others, photos_of_landmark(40, seed=1)])

    classifier = learn(SPACE, photos_of_landmark(5), NONE, library)

    assert (classifier.scores(photos_of_landmark(100, seed=2)) >= SUGGESTED_SCORE).mean() > 0.9
    assert (classifier.scores(others) >= TAUGHT_THRESHOLD).mean() < 0.001
    nothing_in_common = learn(SPACE, strangers(5, seed=2), NONE, others)
    assert (nothing_in_common.scores(others) >= TAUGHT_THRESHOLD).mean() < 0.002
    photos = photos_of_landmark(200, seed=2, spread=1.0)
    library = np.concatenate([strangers(2000, seed=1), photos[:50]])

    found = [
        (
            learn(SPACE, photos_of_landmark(count, spread=1.0), NONE, library).scores(photos)
            >= TAUGHT_THRESHOLD
        ).mean()
        for count in (1, 5, 20)
    ]

    assert found[0] < found[1] < found[2]
    sides = [photos_of_landmark(30, side, seed=1) for side in (1, 2)]
    others = strangers(2000, seed=1)
    examples = np.concatenate([photos_of_landmark(4, landmark=1), photos_of_landmark(4, landmark=2)])

    classifier = learn(SPACE, examples, NONE, np.concatenate([others, *sides]))

    for side in sides:
        assert (classifier.scores(side) >= SUGGESTED_SCORE).mean() > 0.5
    assert (classifier.scores(others) >= TAUGHT_THRESHOLD).mean() < 0.001


def test_rejected_photos_and_rare_landmarks_score_less_and_copies_count_once():
    library = np.concatenate([strangers(500, seed=1), photos_of_landmark(20, seed=1)])
    examples = photos_of_landmark(5)
    lookalikes = photos_of_landmark(10, seed=3, spread=1.0)
    unseen = photos_of_landmark(1, seed=4)

    before = learn(SPACE, examples, NONE, library)
    after = learn(SPACE, examples, lookalikes[:1], library)

    assert after.scores(lookalikes[:1])[0] < before.scores(lookalikes[:1])[0]
    assert after.scores(unseen)[0] > SUGGESTED_SCORE
    examples, photos = photos_of_landmark(5), photos_of_landmark(200, seed=2)
    rare = strangers(10_000, seed=1)
    frequent = np.concatenate([strangers(500, seed=1), photos_of_landmark(500, seed=3)])

    assert (
        learn(SPACE, examples, NONE, rare).scores(photos).mean()
        < learn(SPACE, examples, NONE, frequent).scores(photos).mean()
    )
    library, examples = strangers(500, seed=1), photos_of_landmark(3)
    copies = np.concatenate([examples, examples[:1] + np.float32(0.01), examples])

    once, repeated = learn(SPACE, examples, NONE, library), learn(SPACE, copies, NONE, library)

    # Processors round products of three rows, and of seven, differently.
    np.testing.assert_allclose(once.weights, repeated.weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(once.bias, repeated.bias, rtol=1e-4)


def test_photos_near_one_of_very_different_examples_are_found():
    dimension = 400  # as many as networks have
    space = EmbeddingSpace(np.zeros(dimension), np.eye(dimension, dtype=np.float32), NOISE * dimension)
    examples, others, noise = (
        np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
        for seed, count in enumerate((10, 2000, 100))
    )
    photos = np.float32(0.45) * np.repeat(examples, 10, axis=0) + np.float32(0.7) * noise
    direction = fit_direction(space, examples, examples[:0])

    resemblances = others @ direction.weights
    calibrated = (calibrate(direction, resemblances, logit) for logit in (0, LOGIT_PER_LIKENESS))
    linear, nearest = (each.at_share(share_of(each.logits(others))) for each in calibrated)

    above_strangers = [(each.scores(photos) > each.scores(others).max()).mean() for each in (linear, nearest)]
    assert above_strangers[0] < 0.5
    assert above_strangers[1] > 0.8
    assert (nearest.scores(photos) >= TAUGHT_THRESHOLD).mean() > 0.8
    assert (nearest.scores(others) >= TAUGHT_THRESHOLD).mean() < 0.001


def test_comparisons_are_with_few_examples_and_can_be_ended():
    classifier = learn(SPACE, photos_of_landmark(40, spread=1.0), NONE, strangers(200, seed=1))

    assert classifier.weights.shape == (DIMENSION, MAX_COLUMNS)
    compared: list[int] = []
    group_directions(directions(1000, 4, 1), 0.9, compared.append)
    assert compared == [512, 1000]


def test_classifiers_give_the_same_scores_side_by_side_stored_and_of_an_older_release():
    library, photos = strangers(200, seed=1), photos_of_landmark(50, seed=2)
    several = [learn(SPACE, photos_of_landmark(count), NONE, library) for count in (1, 3, 2)]

    stored = [each.to_bytes() for each in several]
    scores = SeveralClassifiers.of(stored, DIMENSION).scores(photos)

    for column, each, data in zip(scores.T, several, stored, strict=True):
        np.testing.assert_allclose(column, each.scores(photos), rtol=1e-4)
        restored = Classifier.from_bytes(data, DIMENSION)
        np.testing.assert_array_equal(restored.scores(photos), each.scores(photos))
    weights, photos = strangers(1, seed=3)[0], photos_of_landmark(20, seed=2)

    restored = Classifier.from_bytes(np.append(weights, -2.5).astype("<f4").tobytes(), DIMENSION)

    expected = 1 / (1 + np.exp(2.5 - photos @ weights))
    np.testing.assert_allclose(restored.scores(photos), expected, rtol=1e-4, atol=1e-6)


def test_without_examples_or_variance_nothing_is_learned():
    with pytest.raises(ValueError, match="without an example"):
        learn(SPACE, NONE, NONE, NONE)
    constant = np.ones((10, 3), np.float32)
    space = EmbeddingSpace.of(BackgroundStatistics.measured(constant))

    assert np.isfinite(learn(space, constant[:1], constant[:1], constant).scores(constant)).all()


@pytest.mark.parametrize("variances", [(-1, 2.8), (-1, -2)])
def test_a_space_that_cannot_be_used_is_refused(variances):
    covariance = np.diag(variances).astype(np.float32)
    photos = np.array([[1, 2], [3, 4]], np.float32)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"not finite|[Ss]ingular|definite"):
        learn(EmbeddingSpace.of(BackgroundStatistics(9, photos[0], covariance)), photos, photos[:0], photos)


examples_of_any_kind = st.integers(0, 4).flatmap(
    lambda count: arrays(np.float32, (count, DIMENSION), elements=st.floats(-8, 8, width=32))
)


@examples(8)
@given(examples_of_any_kind.filter(len), examples_of_any_kind, examples_of_any_kind)
def test_scores_are_probabilities_whatever_the_examples(positives, negatives, library):
    scores = learn(SPACE, positives, np.concatenate([negatives, positives[:1]]), library).scores(positives)

    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()


@examples(4)
@given(st.permutations(range(6)))
def test_the_order_of_examples_does_not_matter(order):
    examples, library = photos_of_landmark(6), strangers(200, seed=1)

    ordered, permuted = learn(SPACE, examples, NONE, library), learn(SPACE, examples[order], NONE, library)

    np.testing.assert_allclose(permuted.scores(library), ordered.scores(library), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"\0" * 9, np.full(3, np.nan, np.float32).tobytes()])
def test_damaged_classifiers_are_refused(data):
    with pytest.raises(ValueError):
        Classifier.from_bytes(data, 2)


def directions(count: int, dimension: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    lengths: np.ndarray = np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn / lengths


@examples(8)
@given(st.integers(0, 80), st.integers(2, 5), st.integers(0, 1000), st.floats(-1, 1), st.integers(1, 40))
def test_each_photo_is_in_one_group_and_like_its_first(count, dimension, seed, least, block):
    rows = directions(count, dimension, seed)
    before, similarity.BLOCK = similarity.BLOCK, block
    try:
        groups = group_directions(rows, least)
    finally:
        similarity.BLOCK = before
    assert sorted(index for group in groups for index in group) == list(range(count))
    for group in groups:
        first = rows[group[0]]
        assert all(float(rows[index] @ first) >= least - 1e-4 for index in group[1:])
    firsts = rows[[group[0] for group in groups]]
    likeness = firsts @ firsts.T - 2 * np.eye(len(firsts), dtype=np.float32)
    assert not len(firsts) or likeness.max() <= least + 1e-4


def test_groups_of_one_place_are_joined_and_take_in_its_single_photos():
    places = directions(2, 64, seed=1)
    near = np.concatenate([place + 0.12 * strangers(10, seed=n) for n, place in enumerate(places)])
    rows = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    begun = [[0, 1, 2], [3, 4, 5, 6], [7], [8], [9], [10, 11], [12, 13, 14, 15, 16, 17, 18], [19]]
    merged = merge_groups(rows, begun, 0.2)
    assert sorted(merged) == [list(range(10)), list(range(10, 20))]
    assert merge_groups(rows, begun, 1.1) == [[], [], [], []]
    assert merge_groups(rows, [[0], [1]], 0.2) == []


def drawn(random: np.random.Generator, number: int, dimension: int) -> Embeddings:
    """Embeddings whose dimensions vary less and less, as those of a network."""
    spread = 1 / np.sqrt(np.arange(1, dimension + 1))
    mixed = np.linalg.qr(np.random.default_rng(1).standard_normal((dimension, dimension)))[0]
    return ((random.standard_normal((number, dimension)) * spread) @ mixed + 1).astype(np.float32)


def test_axes_are_at_right_angles_also_of_a_background_that_hardly_varies():
    for dimension in (8, 64, 300):
        background = BackgroundStatistics.measured(drawn(np.random.default_rng(0), 2 * dimension, dimension))
        axes = SketchSpace.of(background).axes
        assert np.allclose(axes.T @ axes, np.eye(min(dimension, DIMENSIONS)), atol=1e-5)
    for variances in ([0.0] * 100, [1.0] + [0.0] * 99, [1e6] * 3 + [1e-6] * 97):
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
