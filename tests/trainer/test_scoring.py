"""The feature space and the score rule: valid for any features and for few photos."""

import pytest
import torch
from hypothesis import given, strategies as st
from support.examples import examples
from torch import Tensor

from trainer.evaluation import calibration_errors
from trainer.learning import classifier
from trainer.learning.classifier import (
    SECOND_LOOK,
    Neighbours,
    ScoreRule,
    Scoring,
    UnlearntPhotos,
    fit_logistic,
    fit_neighbours,
    fit_score_rule,
)

LABELS, FEATURES = 4, 20


class World:
    """Photos around one point per label. Ordinary photos are around a point at distance `off` from zero."""

    def __init__(self, *, apart: float = 4.0, off: float = 8.0, features: int = FEATURES) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.places = apart * self.noise(LABELS, features)
        self.ordinary_place = off * torch.ones(features) / features**0.5

    def noise(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def photos(self, per_label: int, ordinary: int = 0) -> tuple[Tensor, Tensor]:
        targets = torch.arange(LABELS).repeat_interleave(per_label)
        at_labels = self.places[targets] + self.noise(len(targets), self.places.shape[1])
        others = self.ordinary_place + self.noise(ordinary, self.places.shape[1])
        return torch.cat([at_labels, others]), torch.cat([targets, torch.full((ordinary,), LABELS)])

    def logits(self, features: Tensor) -> Tensor:
        """Logits of the labels, three times too confident."""
        return -1.5 * torch.cdist(features, self.places).square()


def unlearnt(logits: Tensor, features: Tensor, targets: Tensor, neighbours: Neighbours) -> UnlearntPhotos:
    """Validation photos whose mirror images look the same."""
    views = (torch.stack([each, each], dim=1) for each in (logits, features))
    return UnlearntPhotos(*views, targets, neighbours)


class FittedRule:
    """A score rule fitted to a world, from numbers of training, validation and ordinary photos."""

    def __init__(self, world: World, *, learned: int, validated: int, ordinary: int) -> None:
        self.world = world
        features, targets = world.photos(learned, ordinary)
        self.neighbours = fit_neighbours(features, targets, LABELS)
        features, targets = world.photos(validated, ordinary)
        self.rule = fit_score_rule(
            [unlearnt(world.logits(features), features, targets, self.neighbours)], LABELS
        )

    def scores(self, features: Tensor) -> Tensor:
        return Scoring(self.neighbours, LABELS, self.rule)(self.world.logits(features), features)


def at_distances(landmark: float, other: float | None, rule: ScoreRule, logits: list[float]) -> Tensor:
    """The scores of a photo at these distances from the only photo of label 0 and the only other one."""
    space = Neighbours(
        offset=torch.zeros(2),
        directions=torch.eye(2),
        landmarks=torch.tensor([[landmark, 0.0]]),
        labels=torch.zeros(1, dtype=torch.int64),
        others=torch.empty(0, 2) if other is None else torch.tensor([[0.0, other]]),
    )
    scores: Tensor = Scoring(space, LABELS, rule)(torch.tensor([logits]), torch.zeros(1, 2))
    return scores


@examples(19)
@given(
    logits=st.lists(st.floats(-1e6, 1e6, width=32), min_size=LABELS, max_size=LABELS + 2),
    landmark=st.floats(0, 1e4, width=32),
    other=st.none() | st.floats(0.125, 1e4, width=32),
    rule=st.builds(
        ScoreRule,
        temperature=st.floats(0.01, 100),
        width=st.floats(0.001, 10),
        reach=st.floats(0.001, 1000),
        slope=st.floats(0.1, 100),
        midpoint=st.floats(-5, 5),
    ),
)
def test_scores_are_chances_that_never_sum_to_more_than_one(logits, landmark, other, rule):
    scores = at_distances(landmark, other, rule, logits)

    assert scores.shape == (1, LABELS)
    assert bool((scores >= 0).all())
    assert float(scores.double().sum()) <= 1
    assert bool((at_distances(2 * landmark + 1, other, rule, logits) <= scores).all())
    nearer = 0.125 if other is None else other / 2
    assert bool((at_distances(landmark, nearer, rule, logits) <= scores).all())


def test_the_fitted_rule_is_calibrated_also_in_parts():
    world = World(apart=0.4, off=1.5)
    fitted = FittedRule(world, learned=60, validated=150, ordinary=150)
    features, targets = world.photos(300, 300 * LABELS)  # half are other photos
    top, labels = fitted.scores(features).max(dim=1)
    uncalibrated = torch.softmax(world.logits(features), dim=1)[:, :LABELS].max(dim=1).values

    error = calibration_errors(top[None], (labels == targets)[None]).item()
    assert error < 0.06
    assert error < 0.5 * calibration_errors(uncalibrated[None], (labels == targets)[None]).item()
    world = World()
    neighbours = fit_neighbours(*world.photos(20, 200), LABELS)
    photos, targets = world.photos(10, ordinary=100)
    logits = world.logits(photos)
    rows = torch.randperm(len(photos), generator=torch.Generator().manual_seed(1))
    parts = [unlearnt(logits[each], photos[each], targets[each], neighbours) for each in rows.split(40)]
    whole = fit_score_rule([unlearnt(logits, photos, targets, neighbours)], LABELS)

    divided = fit_score_rule(parts, LABELS)

    assert vars(divided) == pytest.approx(vars(whole), rel=1e-3)


@pytest.mark.parametrize(
    ("learned", "validated", "ordinary"), [(20, 5, 0), (20, 5, 1), (20, 5, 3), (1, 1, 0), (1, 1, 3)]
)
def test_few_photos_give_a_sane_rule(learned, validated, ordinary):
    fitted = FittedRule(World(), learned=learned, validated=validated, ordinary=ordinary)
    rule = fitted.rule
    assert all(0 < value < 1e6 for value in (rule.temperature, rule.width, rule.reach, rule.slope))
    assert abs(rule.midpoint) < 20
    scores = fitted.scores(fitted.world.places)
    assert bool(scores.isfinite().all())
    assert scores.argmax(dim=1).tolist() == list(range(LABELS))
    assert scores.diagonal().min() > 0.5
    far = fitted.scores(fitted.world.places + 1e4)
    assert far.sum(dim=1).max() < 0.1


def test_few_and_equal_photos_give_sane_scores():
    world = World()
    features, targets = world.photos(10)
    few = torch.cat([torch.arange(1), torch.arange(10, len(targets))])
    space = fit_neighbours(features[few], targets[few], LABELS)

    assert all(bool(values.isfinite().all()) for values in (space.offset, space.directions, space.landmarks))
    assert torch.bincount(space.labels).tolist() == [3, 10, 10, 10]
    world = World(off=2.0)
    fitted = FittedRule(world, learned=40, validated=30, ordinary=40)
    others = world.ordinary_place + world.noise(100, FEATURES)

    assert (fitted.scores(others).amax(dim=1) > 0.5).float().mean() < 0.05
    assert (fitted.scores(world.photos(30)[0]).amax(dim=1) > 0.5).float().mean() > 0.9
    values = torch.linspace(0, 1, 50, dtype=torch.float64)

    slope, midpoint = fit_logistic(values, values > 0.7, 0.7)
    assert 0 < slope < 1000
    assert midpoint == pytest.approx(0.7, abs=0.05)
    assert fit_logistic(values, values < 0.3, 0.7)[0] == classifier.LEAST_SLOPE
    features = torch.ones(8, 5)
    targets = torch.arange(8) % LABELS
    neighbours = fit_neighbours(features, targets, LABELS)
    rule = fit_score_rule([unlearnt(torch.zeros(8, LABELS), features, targets, neighbours)], LABELS)

    assert bool(Scoring(neighbours, LABELS, rule)(torch.zeros(8, LABELS), features).isfinite().all())


def test_the_model_keeps_a_limited_number_of_photos_evenly_spread(monkeypatch):
    world = World()
    photos, targets = world.photos(10, ordinary=30)
    whole = fit_neighbours(photos, targets, LABELS)
    monkeypatch.setattr(classifier, "MOST_POINTS", 20)
    space = fit_neighbours(photos, targets, LABELS)

    assert torch.equal(space.landmarks, whole.landmarks[::2])
    assert space.others.shape == (20, whole.others.shape[1])


def test_a_photo_near_the_threshold_is_looked_at_again_mirrored():
    """Between the limits, a photo has the mean of both scores; others keep theirs."""
    world = World()
    fitted = FittedRule(world, learned=20, validated=10, ordinary=200)
    photos, targets = world.photos(30, ordinary=300)
    mirrored = photos + 0.3 * world.noise(*photos.shape)
    features = torch.stack([photos, mirrored], dim=1)
    logits = torch.stack([world.logits(photos), world.logits(mirrored)], dim=1)
    scores = UnlearntPhotos(logits, features, targets, fitted.neighbours).scores(LABELS, fitted.rule)

    first, second = fitted.scores(photos), fitted.scores(mirrored)
    highest = first.amax(dim=1)
    least, limit = SECOND_LOOK
    is_near = (highest >= least) & (highest < limit)
    assert 0 < int(is_near.sum()) < len(photos)
    assert torch.allclose(scores[is_near], (first + second)[is_near] / 2)
    assert torch.equal(scores[~is_near], first[~is_near])
