"""Fixed views of a photo to learn a head on: plain, mirrored, closer, and both. No chance is involved."""

import torch
from torch import Tensor
from torch.nn import functional

VIEWS = ("plain", "mirrored", "closer", "closer, mirrored")
PLAIN = VIEWS[:1]
CLOSER = 7 / 8
"""The part of each side that a closer view keeps."""


def views_of(images: Tensor, views: tuple[str, ...] = VIEWS) -> Tensor:
    """Those views of every image, in the order of `VIEWS`.

    Args:
        images: uint8 (B, 3, H, W)
        views: all of `VIEWS`, or `PLAIN`

    Returns:
        uint8 (V, B, 3, H, W)
    """
    if views == PLAIN:
        return images[None]
    closer = _closer(images)
    return torch.stack([images, images.flip(3), closer, closer.flip(3)])


def _closer(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    top, left = round(height * (1 - CLOSER) / 2), round(width * (1 - CLOSER) / 2)
    middle = images[:, :, top : height - top, left : width - left].float()
    scaled = functional.interpolate(middle, size=(height, width), mode="bilinear")
    return scaled.round().clamp(0, 255).to(torch.uint8)
