"""What a collection of networks has to provide to be a source of backbones."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from trainer.backbones.described import Convention, Normalisation

State = dict[str, Tensor]
"""Tensors by name, as a network's `state_dict` has them."""


@dataclass(frozen=True)
class Built:
    """A network without its classifier, with random weights, and what is known of its published ones."""

    network: nn.Module  # normalised images (B, 3, H, W) → features (B, F)
    left_off: tuple[str, ...]  # how the names of the tensors begin that are not for it
    normalisation: Normalisation
    learned_at: int  # side of the images, in pixels


class Source(Protocol):
    """A module that knows networks by name; `name` is always one of `network_names`."""

    def network_names(self) -> list[str]: ...

    def build(self, name: str, convention: Convention) -> Built: ...

    def published_state(self, name: str) -> tuple[str, State]:
        """What the published weights are called, and the weights.

        Raises:
            WeightsUnavailable: they could not be fetched.
        """
        ...
