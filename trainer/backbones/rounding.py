"""Weights in half precision: rounded before anything is learned on top of them, so that what is measured is what is shipped."""

import torch
from torch import nn

STORED_IN_HALF = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)
"""An artifact holds the weights of these in half precision, and all else, as the statistics of batch norms, in full."""


@torch.no_grad()
def round_to_half(network: nn.Module) -> None:
    """Round what an artifact stores in half precision; storing it then loses nothing."""
    for module in network.modules():
        if isinstance(module, STORED_IN_HALF):
            for parameter in module.parameters():
                parameter.copy_(parameter.half())
