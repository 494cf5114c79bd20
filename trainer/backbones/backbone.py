"""The description of a backbone, the protocol of network sources, and changes to networks."""

import copy
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trainer.errors import BackboneUnusable

# Whose conventions a network follows. TensorFlow pads strided convolutions only right and at the
# bottom.
Convention = Literal["tensorflow", "torchvision", "timm"]
# Tensors by name, as in a network's `state_dict`.
State = dict[str, Tensor]
# The highest relative difference of features after fusion, which changes the order of roundings.
FUSION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Normalisation:
    """Per channel, the mean to subtract from pixels of 0…255, and the deviation to divide by."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


CENTRED = Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@dataclass(frozen=True)
class Backbone:
    """A network as recorded in a run, so that it can be built again.

    `weights` is their origin: the digest of a file, or the name of published weights. `features` is F, the
    number of features. `expansions` has the channels of each one if the network was pruned, as that of the
    shipped model.
    """

    architecture: str
    convention: Convention
    weights: str
    features: int = 1280
    normalisation: Normalisation = CENTRED
    folded: bool = False  # batch norms are fused into convolutions
    expansions: tuple[int, ...] = ()


@dataclass(frozen=True)
class FeatureNetwork:
    """A network without its classifier, with random weights, and the facts about its published weights."""

    network: nn.Module  # normalised images (B, 3, H, W) → features (B, F)
    classifier_prefixes: tuple[str, ...]  # of tensor names in the weights that belong to removed layers
    normalisation: Normalisation
    training_size: int  # side of the images that the weights were trained on, in pixels


class NetworkSource(Protocol):
    """A module that builds networks by name; `name` is always one of `network_names`."""

    def network_names(self) -> list[str]: ...

    def build(self, name: str, convention: Convention, /) -> FeatureNetwork: ...

    def published_state(self, name: str) -> tuple[str, State]:
        """The name of the published weights, and the weights.

        Raises:
            BackboneUnusable: they could not be downloaded.
        """
        ...


def download_failed(backbone: str, reason: str) -> BackboneUnusable:
    """The error of a `published_state` that cannot be downloaded."""
    return BackboneUnusable(
        backbone=backbone,
        reason=f"its pretrained weights could not be downloaded: {reason}",
        remedy="Connect to the network, or pass a file with --weights",
    )


def scale_normalisation(mean: tuple[float, ...], deviation: tuple[float, ...]) -> Normalisation:
    """Convert published values, which are for pixels of 0…1."""
    return Normalisation(_times_255(mean), _times_255(deviation))


def _times_255(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = (round(255 * value, 4) for value in values)
    return red, green, blue


def fuse_batch_norms(network: nn.Module, size: int) -> nn.Module | None:
    """Return a copy of `network`, in evaluation mode, with batch norms fused; None if that is impossible.

    A batch norm with fixed statistics is a factor and an offset per channel, which the preceding convolution
    can apply. Training is a third faster, small batches do no harm, and rounding to bfloat16 changes less.
    Pairs are found by their order in the network; the result is checked to give the same features.
    """
    fused = fuse_in_place(copy.deepcopy(network).eval())
    if any(isinstance(module, nn.BatchNorm2d) for module in fused.modules()):
        return None
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        actual, expected = fused(images), network.eval()(images)
    return fused if bool((actual - expected).norm() <= FUSION_TOLERANCE * expected.norm()) else None


def fuse_in_place(network: nn.Module) -> nn.Module:
    """Fuse every batch norm that follows a convolution, in place."""
    previous: tuple[str, nn.Module] | None = None
    for name, module in list(network.named_children()):
        if (
            previous
            and isinstance(previous[1], nn.Conv2d)
            and isinstance(module, nn.BatchNorm2d)
            and module.running_mean is not None  # else it measures each batch
            and module.num_features == previous[1].out_channels
        ):
            setattr(network, previous[0], fuse_conv_bn_eval(previous[1], module))
            activation = getattr(
                module, "act", None
            )  # timm's batch norms include the activation that follows
            setattr(network, name, activation if isinstance(activation, nn.Module) else nn.Identity())
        else:
            fuse_in_place(module)
        previous = (name, module)
    return network


class SamePadded(nn.Conv2d):
    """A convolution with stride 2 that pads images of even sides less at the top and left, or not at all."""

    def forward(self, images: Tensor) -> Tensor:
        total = self.kernel_size[0] - 2
        before = total // 2
        after = total - before
        convolved: Tensor = self._conv_forward(
            functional.pad(images, (before, after, before, after)), self.weight, self.bias
        )
        return convolved


def pad_like_tensorflow(network: nn.Module) -> None:
    """Change the padding of all convolutions with stride 2, in place. Others pad alike in both frameworks."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2) and module.kernel_size[0] > 1:
            module.__class__ = SamePadded
            module.padding = (0, 0)


def expansions(network: nn.Module) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
    """The full convolution of each of timm's fused blocks, and the one of 1 x 1 after it, in order."""
    blocks: list[Any] = [module for module in network.modules() if hasattr(module, "conv_exp")]
    return [(block.conv_exp, block.conv_pwl) for block in blocks if isinstance(block.se, nn.Identity)]


def narrow(first: nn.Conv2d, second: nn.Conv2d, channels: int) -> None:
    """Leave only so many channels between two convolutions."""
    first.weight = nn.Parameter(first.weight[:channels].detach())
    if first.bias is not None:
        first.bias = nn.Parameter(first.bias[:channels].detach())
    second.weight = nn.Parameter(second.weight[:, :channels].detach())
    first.out_channels = second.in_channels = channels
