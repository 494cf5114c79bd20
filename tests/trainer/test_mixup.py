"""Mixed batches of any size and share: images stay in range and targets sum to 1."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from torch import Tensor

from trainer.learning.batches import MixOptions, mix


@examples(20)
@given(
    targets=st.lists(st.integers(0, 4), min_size=1, max_size=7),
    shares=st.sampled_from([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (1.0, 1.0)]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_answers_sum_to_one_and_images_stay_in_range(
    targets: list[int], shares: tuple[float, float], smoothing: float, seed: int
) -> None:
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


def test_without_mixing_photos_are_as_they_were_and_answers_smoothed() -> None:
    images, mixed_targets = mix_photos([1, 0], MixOptions(0.0, 0.0, 0.1), 0)

    assert torch.equal(images, photos(2))
    torch.testing.assert_close(mixed_targets[0], torch.tensor([0.02, 0.92, 0.02, 0.02, 0.02]))


def test_answers_of_patched_photos_are_the_areas() -> None:
    for seed in range(20):
        black_and_white = torch.stack([torch.zeros(3, 32, 32), torch.full((3, 32, 32), 255.0)])
        generator = np.random.default_rng(seed)
        images, mixed_targets = mix(
            black_and_white, torch.tensor([0, 1]), 5, MixOptions(0.0, 1.0, 0.0), generator
        )
        white = (images == 255).float().mean(dim=(1, 2, 3))
        torch.testing.assert_close(mixed_targets[:, 1], white)


def mix_photos(targets: list[int], options: MixOptions, seed: int) -> tuple[Tensor, Tensor]:
    return mix(photos(len(targets)), torch.tensor(targets), 5, options, np.random.default_rng(seed))


def photos(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=generator).float()
