"""Mixtures of the photos of a batch, with targets to match: they keep a network from being sure where nothing is known.

Mixup (Zhang et al., 2018, arXiv:1710.09412) blends two photos; CutMix (Yun et al., 2019, arXiv:1905.04899) puts a part of one into the other.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Mixing:
    """The shares of batches that are mixed either way, and how much of the right answer goes to all others."""

    mixup: float = 0.3
    cutmix: float = 0.3
    smoothing: float = 0.1


def mixed(
    images: Tensor, targets: Tensor, classes: int, how: Mixing, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A batch, each photo perhaps mixed with another, and the chance that each class is right.

    Args:
        images: float (B, 3, H, W), changed in place
        targets: int64 (B,)
        classes: C
        how: the shares
        generator: all chance comes from it

    Returns:
        float (B, 3, H, W) and float32 (B, C), whose rows sum to 1
    """
    sure = functional.one_hot(targets, classes).float()
    wanted = sure * (1 - how.smoothing) + how.smoothing / classes
    lot = generator.random()
    if lot < how.mixup:
        return _blended(images, wanted, generator)
    if lot < how.mixup + how.cutmix:
        return _patched(images, wanted, generator)
    return images, wanted


def _blended(images: Tensor, wanted: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    part = float(generator.beta(0.4, 0.4))
    return torch.lerp(images.flip(0), images, part), torch.lerp(wanted.flip(0), wanted, part)


def _patched(images: Tensor, wanted: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    height, width = images.shape[2:]
    share = float(generator.random()) ** 0.5  # of each side, so that areas are uniform
    tall, wide = int(height * share), int(width * share)
    top, left = int(generator.integers(0, height - tall + 1)), int(generator.integers(0, width - wide + 1))
    others = images.flip(0)
    images[:, :, top : top + tall, left : left + wide] = others[:, :, top : top + tall, left : left + wide]
    part = 1 - tall * wide / (height * width)
    return images, torch.lerp(wanted.flip(0), wanted, part)
