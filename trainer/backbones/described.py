"""What a run keeps of its backbone, so that the same network can be built again."""

from dataclasses import dataclass
from typing import Literal

Convention = Literal["tensorflow", "torchvision", "timm"]
"""Whose way a network computes in; TensorFlow pads strided convolutions on the right and bottom only."""


@dataclass(frozen=True)
class Normalisation:
    """What is taken off a pixel of 0…255 and what it is divided by, per channel."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


TENSORFLOW = Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@dataclass(frozen=True)
class Backbone:
    """Which network, by whose convention, where its weights came from (a digest for a file), what it takes and gives.

    The defaults are those of MobileNetV2 from TensorFlow.
    """

    architecture: str
    convention: Convention
    weights: str
    features: int = 1280
    normalisation: Normalisation = TENSORFLOW
    folded: bool = False  # batch norms are worked into the convolutions


def normalisation_of(mean: tuple[float, ...], deviation: tuple[float, ...]) -> Normalisation:
    """From figures for pixels of 0…1, as published weights state them."""
    return Normalisation(_times_255(mean), _times_255(deviation))


def _times_255(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = (round(255 * value, 4) for value in values)
    return red, green, blue
