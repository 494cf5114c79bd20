"""Rounds weights to bfloat16 so that depthwise convolutions keep their mean output.

A depthwise kernel has about nine weights, all applied to one channel. If each is rounded to the nearest value, the errors
can add up to a bias that is the same for every photo: neighbouring pixels are alike, so the sum of the weights is what
counts. Rounding some weights the other way keeps the sum. Of the photos whose best
label bfloat16 changes, half remain. Ordinary convolutions average over many channels and need no correction.
"""

import torch
from torch import Tensor


@torch.no_grad()
def round_kernels(module: torch.nn.Module) -> None:
    """Round the depthwise kernels of a network to values that bfloat16 represents exactly, in place."""
    for parameter in module.parameters():
        if parameter.dim() == 4 and parameter.shape[1] == 1 and parameter.shape[2] * parameter.shape[3] > 1:
            kernels = round_keeping_sums(parameter.detach().float().flatten(1))
            parameter.copy_(kernels.reshape(parameter.shape))


def round_keeping_sums(weights: Tensor) -> Tensor:
    """Round rows of float32 (N, K) to bfloat16, each weight up or down, so that the rows' sums change least; float32 (N, K).

    Greedy: start from the nearest values and repeatedly flip the weight that corrects its row's sum most.
    """
    nearest = weights.bfloat16().float()
    other = _other_neighbour(weights, nearest)
    is_exact = nearest == weights  # never flipped: they have no rounding error
    rounded = nearest.clone()
    for _ in range(weights.shape[1]):
        error = (rounded - weights).sum(dim=1)
        is_final = is_exact | (rounded != nearest)
        flipped_error = (error[:, None] + other - nearest).abs().masked_fill(is_final, torch.inf)
        least_error, column = flipped_error.min(dim=1)
        rows = (least_error < error.abs()).nonzero().squeeze(1)
        if not len(rows):
            break
        rounded[rows, column[rows]] = other[rows, column[rows]]
    return rounded


def _other_neighbour(weights: Tensor, nearest: Tensor) -> Tensor:
    """The bfloat16 values on the other side of the weights: one step in the upper half of a float32."""
    is_outwards = (nearest - weights) * weights.sign() <= 0
    step = torch.where(is_outwards, 0x10000, -0x10000).to(torch.int32)
    return (nearest.view(torch.int32) + step).view(torch.float32)
