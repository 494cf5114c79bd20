"""The ranges of a network's convolutions on photos, by which eight-bit backends scale their inputs."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tagger.model.artifact import Range

SAMPLE = 512
"""The number of photos. With 160, the embeddings of eight bits were as near to those of full precision."""


@torch.no_grad()
def convolution_ranges(network: nn.Module, batches: Iterable[Tensor]) -> tuple[Range, ...]:
    """The lowest and highest value that enters each convolution, in the order of computation, as means over the images.

    Means lose the few values that lie outside, and are nearer than the extremes of all images to what most images need.

    Args:
        network: images (B, …) → anything
        batches: images

    Returns:
        one range per convolution; empty if a convolution does not run exactly once, as its inputs have no single range
    """
    count = 0
    extremes: dict[nn.Module, list[Tensor]] = {}  # by convolution, (2, B) for each batch

    def observe(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].flatten(start_dim=1)
        extremes.setdefault(module, []).append(torch.stack([values.amin(dim=1), values.amax(dim=1)]))

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    handles = [module.register_forward_pre_hook(observe) for module in convolutions]
    try:
        for images in batches:
            network(images)
            count += 1
    finally:
        for handle in handles:
            handle.remove()
    if any(len(extremes.get(module, ())) != count for module in convolutions):
        return ()
    means = [torch.cat(parts, dim=1).double().mean(dim=1) for parts in extremes.values()]
    return tuple((low, high) for low, high in (mean.tolist() for mean in means))
