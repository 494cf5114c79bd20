"""Weights in bfloat16, rounded so that what a depthwise convolution gives stays the same on average.

A depthwise kernel has some nine weights that are all a channel's. Each rounded to the nearest, their errors add up to
one that is the same in every photo: neighbouring pixels are alike, so what counts is the sum of the weights. Rounding
some of them to the other side keeps the sum (measured by `python -m bench.runners`: of the photos that bfloat16 had
named otherwise than float32, half are left). Ordinary convolutions average over many channels and need no such care.
"""

import torch
from torch import Tensor


@torch.no_grad()
def round_kernels(module: torch.nn.Module) -> None:
    """Round the depthwise kernels of a network to values that bfloat16 holds exactly, in place."""
    for parameter in module.parameters():
        if parameter.dim() == 4 and parameter.shape[1] == 1 and parameter.shape[2] * parameter.shape[3] > 1:
            kernels = keep_sums(parameter.detach().float().flatten(1))
            parameter.copy_(kernels.reshape(parameter.shape))


def keep_sums(weights: Tensor) -> Tensor:
    """Rows of float32 (N, K) rounded to bfloat16, each up or down, so that their sums change least; float32 (N, K).

    Greedy: from the nearest values on, the weight whose other side mends a row's sum most is turned over, until none does.
    """
    nearest = weights.bfloat16().float()
    other = _other_side(weights, nearest)
    is_exact = nearest == weights  # these stay: a sum is not mended with weights that have no error
    rounded = nearest.clone()
    for _ in range(weights.shape[1]):
        error = (rounded - weights).sum(dim=1)
        is_settled = is_exact | (rounded != nearest)
        turned = (error[:, None] + other - nearest).abs().masked_fill(is_settled, torch.inf)
        least, place = turned.min(dim=1)
        better = (least < error.abs()).nonzero().squeeze(1)
        if not len(better):
            break
        rounded[better, place[better]] = other[better, place[better]]
    return rounded


def _other_side(weights: Tensor, nearest: Tensor) -> Tensor:
    """The bfloat16 neighbours on the far side of the weights: one step in the upper half of a float32."""
    outwards = (nearest - weights) * weights.sign() <= 0
    step = torch.where(outwards, 0x10000, -0x10000).to(torch.int32)
    return (nearest.view(torch.int32) + step).view(torch.float32)
