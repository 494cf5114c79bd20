"""Prune a backbone: take channels out of its widest convolutions, then train the rest to give its maps.

Those are the full convolutions of timm's fused blocks ("EfficientNet-EdgeTPU", Gupta and Akin, 2020): each
widens the map of pixels to several times its channels, and one of 1 x 1 narrows it again. They have most of
such a network's multiply-adds, and many of their channels say the same.
"""

import copy
import logging
import math
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.model.devices import Device
from trainer.backbones.backbone import Backbone, expansions, multiply_adds, narrow
from trainer.errors import BackboneUnusable
from trainer.learning.batches import TrainingSet
from trainer.learning.classifier import Encoder
from trainer.progress import photo_counter

CHANNEL_STEP = 16
"""Processors compute channels in groups of 16, so that fewer of a group save nothing."""
LEAST_SHARE = 0.25
BATCHES, PIXELS_OF_MAP = 12, 96
"""The maps that channels are chosen by: of so many batches, so many pixels each. 300 numbers suffice."""
LEARNING_RATE, WARM_UP = 1e-3, 0.2

log = logging.getLogger("trainer")


def prune(
    backbone: Backbone,
    encoder: Encoder,
    millions: int,
    views: TrainingSet,
    sizes: tuple[int, ...],
    size: int,
    device: Device,
) -> tuple[Backbone, Encoder]:
    """Return the backbone with at most so many multiply-adds, trained to give the maps that it gave.

    Args:
        backbone: its description
        encoder: the backbone itself
        millions: of multiply-adds, at most
        views: photos to train with; their labels do not matter
        sizes: the side of the views for every epoch, in pixels
        size: side of the model's input, in pixels
        device: where to train

    Raises:
        BackboneUnusable: it cannot be pruned, or not as far.
    """
    widths = _choose_widths(backbone, encoder.network, millions * 1_000_000, size)
    whole, pruned = encoder.eval(), copy.deepcopy(encoder)
    images = torch.cat([batch.images for batch in islice(views.epoch(0, size), BATCHES)])
    for number, width in enumerate(widths):
        _remove_channels(whole, pruned, number, width, images)
    log.info("pruned to %.0f million multiply-adds", multiply_adds(pruned.network, size) / 1e6)
    _train(whole, pruned, views, sizes, device)
    return replace(backbone, expansions=tuple(widths)), pruned


def _choose_widths(backbone: Backbone, network: nn.Module, limit: int, size: int) -> list[int]:
    """The channels that each expansion keeps: the same share of all, as large as the limit allows."""
    pairs = expansions(network) if backbone.folded else []
    if not pairs:
        raise _not_pruned(backbone, "it has no fused blocks, whose channels could be left out")
    trial = copy.deepcopy(network)
    for percent in range(100, int(100 * LEAST_SHARE), -1):
        widths = [
            CHANNEL_STEP * max(1, round(percent / 100 * first.out_channels / CHANNEL_STEP))
            for first, _ in pairs
        ]
        for pair, width in zip(expansions(trial), widths, strict=True):
            narrow(*pair, torch.arange(min(width, pair[0].out_channels)))
        least = multiply_adds(trial, size)
        if least <= limit:
            return widths
    raise _not_pruned(
        backbone, f"a quarter of its expansions leaves {math.ceil(least / 1e6)} million multiply-adds"
    )


def _not_pruned(backbone: Backbone, reason: str) -> BackboneUnusable:
    return BackboneUnusable(
        backbone=backbone.architecture,
        reason=f"it cannot be pruned: {reason}",
        remedy="Leave out --multiply-adds, or allow more",
    )


@torch.no_grad()
def _remove_channels(whole: Encoder, pruned: Encoder, number: int, width: int, images: Tensor) -> None:
    """Keep those channels of an expansion from which the whole network's narrowed map can be predicted best.

    Channels are removed one by one, each time the one whose loss costs least; the 1 x 1 convolution becomes
    the least squares fit ("Channel Pruning for Accelerating Very Deep Neural Networks", He et al., 2017).
    """
    first, second = expansions(pruned.network)[number]
    inputs, _ = _maps_at(pruned, second, images)  # what earlier expansions lost is lost here, too
    _, outputs = _maps_at(whole, expansions(whole.network)[number][1], images)
    kept, weight, bias = best_subset(inputs, outputs, width)
    narrow(first, second, kept)
    second.weight, second.bias = nn.Parameter(weight[:, :, None, None]), nn.Parameter(bias)


def _maps_at(encoder: Encoder, layer: nn.Conv2d, images: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of the maps before and after a layer: float32 (N, inputs) and (N, outputs)."""
    parts: list[tuple[Tensor, Tensor]] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        maps = [values.permute(0, 2, 3, 1).flatten(1, 2) for values in (inputs[0], output)]
        generator = torch.Generator().manual_seed(len(parts))  # the same pixels of each network
        pixels = torch.randint(maps[0].shape[1], (PIXELS_OF_MAP,), generator=generator)
        parts.append((maps[0][:, pixels].flatten(0, 1), maps[1][:, pixels].flatten(0, 1)))

    hook = layer.register_forward_hook(keep)
    for part in torch.split(images, 16):
        encoder(part)
    hook.remove()
    return torch.cat([before for before, _ in parts]), torch.cat([after for _, after in parts])


def best_subset(inputs: Tensor, outputs: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose `count` of the inputs from which the outputs are predicted best, by backward elimination.

    Args:
        inputs: float (N, C)
        outputs: float (N, D)
        count: of inputs to keep

    Returns:
        their numbers, int64 (count,), ascending; the function's weight, float32 (D, count), and bias, float32
        (D,)
    """
    channels = inputs.shape[1]
    rows = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1).double()
    gram, cross = rows.T @ rows, rows.T @ outputs.double()
    gram.diagonal().add_(1e-5 * gram.diagonal().mean())  # channels can be alike
    inverse = torch.linalg.inv(gram)
    solution = inverse @ cross
    alive = torch.ones(channels, dtype=torch.bool)
    for _ in range(channels - count):
        # By how much the squared error rises without each; then update as if it had never been there.
        cost = solution[:-1].square().sum(dim=1) / inverse.diagonal()[:-1]
        worst = int(cost.masked_fill(~alive, math.inf).argmin())
        alive[worst] = False
        column, pivot = inverse[:, worst].clone(), inverse[worst, worst].clone()
        solution -= torch.outer(column, solution[worst]) / pivot
        inverse -= torch.outer(column, column) / pivot
        inverse[worst, worst] = 1  # not 0, which divides
    kept = alive.nonzero().flatten()
    rows = torch.cat([kept, torch.tensor([channels])])
    solution = torch.linalg.solve(gram[rows][:, rows], cross[rows])
    return kept, solution[:-1].T.float(), solution[-1].float()


def _train(
    whole: Encoder, pruned: Encoder, views: TrainingSet, sizes: tuple[int, ...], device: Device
) -> None:
    """Train the pruned stages to give the map of the whole network ("FitNets", Romero et al., 2015)."""
    # torch's stubs lack it.
    whole.to(device.kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pruned.to(device.kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    (before, teacher), (_, student) = _stages(whole), _stages(pruned)
    optimiser = torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    autocast = torch.autocast(device.kind, device.dtype, enabled=device.dtype != torch.float32)
    epoch_photos = views.steps * views.batch_size
    with photo_counter("training", len(sizes) * epoch_photos) as counter:
        for number, size in enumerate(sizes, start=1):
            total = 0.0
            for step, batch in enumerate(views.epoch(number, size)):
                done = number - 1 + step / views.steps
                rise = min(1.0, (done + 0.01) / WARM_UP)
                for group in optimiser.param_groups:
                    group["lr"] = LEARNING_RATE * rise * 0.5 * (1 + math.cos(math.pi * done / len(sizes)))
                images = batch.images.to(device.kind)
                with autocast:
                    with torch.no_grad():
                        inputs = before(whole.normalised(images))
                        expected = teacher(inputs).float()
                    actual = student(inputs).float()
                loss = lost_variance(actual, expected)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += loss.item()
                counter.advance(len(images), f"epoch {number}, {total / (step + 1):.3f} of the variance lost")
            log.info(
                "after pruning, epoch %d of %d: the maps keep %.1f %% of their variance",
                number,
                len(sizes),
                100 * (1 - total / views.steps),
            )
    whole.cpu()
    pruned.cpu()


def _stages(encoder: Encoder) -> tuple[nn.Sequential, nn.Sequential]:
    """The layers of a network of timm before its first expansion, and its stages to the last one."""
    network: Any = encoder.network
    numbers = [number for number, stage in enumerate(network.blocks) if expansions(stage)]
    first, after = numbers[0], numbers[-1] + 1
    return (
        nn.Sequential(network.conv_stem, network.bn1, *network.blocks[:first]),
        nn.Sequential(*network.blocks[first:after]),
    )


def lost_variance(actual: Tensor, expected: Tensor) -> Tensor:
    """The mean squared difference of maps, float (B, C, H, W), as a share of each channel's variance."""
    variance = expected.var(dim=(0, 2, 3), keepdim=True)
    deviation = variance.clamp(
        min=1e-3 * float(variance.mean())
    ).sqrt()  # a channel can be the same everywhere
    return functional.mse_loss(actual / deviation, expected / deviation)
