"""Batches of an epoch and their views: weights, mixed images, and randomness from seed and epoch alone."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from support.examples import examples
from support.training_photos import noise_squares, training_set
from torch import Tensor

from tagger.photos.decoding import Pixels
from trainer.learning.loop import Augmentation, Batch, MixOptions, TrainingSet, augment, mix, sample_rows

TARGETS = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2]
PHOTO = noise_squares(1, 64).image(0)
NOTHING = Augmentation(
    least_area=1.0,
    distortion=1.0,
    light=0.0,
    tint=0.0,
    coarse_share=0.0,
    jpeg_share=0.0,
    grey_share=0.0,
    framed_share=0.0,
)
SHARES = st.sampled_from([0.0, 0.5, 1.0])


@examples(8)
@given(
    weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=40).map(np.array),
    count=st.integers(1, 200),
    seed=st.integers(0, 2**32),
)
def test_every_row_is_drawn_as_often_as_it_is_due(weights, count, seed):
    chosen = sample_rows(weights, count, np.random.default_rng(seed))

    assert chosen.shape == (count,)
    due = count * weights / weights.sum()
    times = np.bincount(chosen, minlength=len(weights))
    assert (np.abs(times - due) < 1 + 1e-6).all()
    assert np.array_equal(chosen, sample_rows(weights, count, np.random.default_rng(seed)))


def test_batches_are_views_with_their_targets_and_the_same_only_of_one_seed_and_epoch():
    photos = training_set(TARGETS)
    batches = list(photos.epoch(1, 32))

    assert len(batches) == photos.steps == 2
    for batch in batches:
        assert batch.images.shape == (4, 3, 32, 32)
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.targets.dtype == torch.int64
    assert next(photos.epoch(1, 64)).images.shape == (4, 3, 64, 64)
    first = whole_epoch(photos, 1)
    assert torch.equal(first, whole_epoch(training_set(TARGETS), 1))
    assert not torch.equal(first, whole_epoch(photos, 2))
    assert not torch.equal(first, whole_epoch(training_set(TARGETS, seed=1), 1))


def test_epoch_left_early_leaves_no_threads():
    batches: Iterator[Batch] = training_set(TARGETS * 20, batch_size=2).epoch(1, 32)
    next(batches)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("views")]
    batches.close()  # type: ignore[attr-defined]  # a generator
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("views")]


def whole_epoch(photos: TrainingSet, number: int) -> torch.Tensor:
    return torch.cat([batch.images for batch in photos.epoch(number, 32)])


@examples(10)
@given(
    targets=st.lists(st.integers(0, 4), min_size=1, max_size=7),
    shares=st.sampled_from([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (1.0, 1.0)]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_answers_sum_to_one_and_images_stay_in_range(targets, shares, smoothing, seed):
    options = MixOptions(*shares, smoothing)
    images, mixed_targets = mix_photos(targets, options, seed)

    assert images.shape == (len(targets), 3, 32, 32)
    assert images.dtype == mixed_targets.dtype == torch.float32
    assert mixed_targets.shape == (len(targets), 5)
    torch.testing.assert_close(mixed_targets.sum(dim=1), torch.ones(len(targets)))
    assert bool((mixed_targets >= 0).all())
    assert images.min() >= 0
    assert images.max() <= 255 + 1e-3  # a blend is rounded
    same_images, same_targets = mix_photos(targets, options, seed)
    assert torch.equal(images, same_images)
    assert torch.equal(mixed_targets, same_targets)


def test_without_mixing_or_alterations_photos_are_as_they_were():
    images, mixed_targets = mix_photos([1, 0], MixOptions(0.0, 0.0, 0.1), 0)

    assert torch.equal(images, photos(2))
    torch.testing.assert_close(mixed_targets[0], torch.tensor([0.02, 0.92, 0.02, 0.02, 0.02]))
    views = {view(NOTHING, seed).tobytes() for seed in range(12)}

    assert views == {PHOTO.tobytes(), PHOTO[:, ::-1].tobytes()}


def mix_photos(targets: list[int], options: MixOptions, seed: int) -> tuple[Tensor, Tensor]:
    return mix(photos(len(targets)), torch.tensor(targets), 5, options, np.random.default_rng(seed))


def photos(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=generator).float()


@examples(8)
@given(
    side=st.sampled_from([32, 33, 96]),
    size=st.sampled_from([32, 64]),
    options=st.builds(
        Augmentation,
        least_area=st.floats(0.01, 1.0),
        distortion=st.floats(1.0, 4.0),
        light=st.floats(0.0, 1.0),
        coarse_share=SHARES,
        jpeg_share=SHARES,
        grey_share=SHARES,
        tint=st.floats(0.0, 1.0),
        framed_share=SHARES,
        turned_share=SHARES,
        tilted_share=SHARES,
    ),
    seed=st.integers(0, 2**63 - 1),
)
def test_view_has_its_shape_and_comes_again_from_the_same_chance(side, size, options, seed):
    photo = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    before = photo.copy()
    view = augment(photo, size, options, np.random.default_rng(seed))

    assert view.shape == (size, size, 3)
    assert view.dtype == np.uint8
    assert np.array_equal(view, augment(photo, size, options, np.random.default_rng(seed)))
    assert np.array_equal(photo, before)


@pytest.mark.parametrize(
    "share",
    [
        *("tint", "coarse_share", "jpeg_share", "grey_share"),
        *("framed_share", "turned_share", "tilted_share"),
    ],
)
def test_each_alteration_shows(share):
    options = Augmentation(**{**vars(NOTHING), share: 1.0})
    plain = (PHOTO, PHOTO[:, ::-1])

    for seed in range(5):
        changed = view(options, seed)
        assert not any(np.array_equal(changed, one) for one in plain)
    if share == "grey_share":
        assert np.ptp(changed.astype(int), axis=2).max() <= 1


def view(options: Augmentation, seed: int) -> Pixels:
    return augment(PHOTO, 64, options, np.random.default_rng(seed))
