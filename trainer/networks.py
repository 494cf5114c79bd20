"""Networks without classifiers: normalised images in, one feature vector per image out.

Describes a backbone as a run records it, fuses and narrows networks, and has our own network.
"""

import copy
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trainer import BackboneUnusable

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
    # Tensor names in the weights that belong to removed layers begin so.
    classifier_prefixes: tuple[str, ...]
    normalisation: Normalisation
    training_size: int  # side of the images that the weights were trained on, in pixels


class NetworkSource(Protocol):
    def network_names(self) -> list[str]: ...

    def build(self, name: str, convention: Convention, /) -> FeatureNetwork: ...

    def published_state(self, name: str) -> tuple[str, State]:
        """The name of the published weights, and the weights.

        Raises:
            BackboneUnusable: they could not be downloaded.
        """


def download_failed(backbone: str, reason: str) -> BackboneUnusable:
    return BackboneUnusable(
        backbone=backbone,
        reason=f"its pretrained weights could not be downloaded: {reason}",
        remedy="Connect to the network, or pass a file with --weights",
    )


def scale_normalisation(
    mean: tuple[float, ...], deviation: tuple[float, ...]
) -> Normalisation:
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
    images = torch.randn(
        2,
        3,
        size,
        size,
        generator=torch.Generator().manual_seed(0),
    )
    with torch.no_grad():
        actual, expected = fused(images), network.eval()(images)
    return (
        fused
        if bool((actual - expected).norm() <= FUSION_TOLERANCE * expected.norm())
        else None
    )


def fuse_in_place(network: nn.Module) -> nn.Module:
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
            # The batch norms of timm include the activation that follows.
            activation = getattr(module, "act", None)
            setattr(
                network,
                name,
                activation if isinstance(activation, nn.Module) else nn.Identity(),
            )
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
            functional.pad(images, (before, after, before, after)),
            self.weight,
            self.bias,
        )
        return convolved


def pad_like_tensorflow(network: nn.Module) -> None:
    """Change the padding of all convolutions with stride 2, in place. Others pad alike in both frameworks."""
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.stride == (2, 2)
            and module.kernel_size[0] > 1
        ):
            module.__class__ = SamePadded
            module.padding = (0, 0)


def expansions(network: nn.Module) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
    """The full convolution of each of timm's fused blocks, and the one of 1 x 1 after it, in order."""
    blocks: list[Any] = [
        module for module in network.modules() if hasattr(module, "conv_exp")
    ]
    return [
        (block.conv_exp, block.conv_pwl)
        for block in blocks
        if isinstance(block.se, nn.Identity)
    ]


def narrow(first: nn.Conv2d, second: nn.Conv2d, channels: int) -> None:
    first.weight = nn.Parameter(first.weight[:channels].detach())
    if first.bias is not None:
        first.bias = nn.Parameter(first.bias[:channels].detach())
    second.weight = nn.Parameter(second.weight[:, :channels].detach())
    first.out_channels = second.in_channels = channels


# Our own convolutional network, trained from random weights on a few thousand photos.
#
# Shapes are for images of 128 x 128 pixels. Any size works, ideally a multiple of 32.

LANDMARK_CNN = "landmark_cnn"
WIDTHS = (64, 128, 256, 512)
BLOCKS = (2, 2, 2, 2)
FEATURES = WIDTHS[-1]
# Normalised photos have a mean of about 0 and a deviation of about 1.
NORMALISATION = Normalisation((127.5, 127.5, 127.5), (63.75, 63.75, 63.75))


class LandmarkCNN(nn.Module):
    """Normalised images, float (B, 3, 128, 128) → features (B, 512).

    Four stages, each of which halves the sides and doubles the channels, so that all cost about the same.
    11.3 million parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        # Three small convolutions cover one of 7 x 7 ("bag of tricks", He et al., 2018).
        self.stem = nn.Sequential(
            _convolution(3, 32, stride=2),  # (B, 32, 64, 64)
            _convolution(32, 32),
            _convolution(32, WIDTHS[0]),  # (B, 64, 64, 64)
            nn.MaxPool2d(3, stride=2, padding=1),  # (B, 64, 32, 32)
        )
        stages, width = [], WIDTHS[0]
        for number, (wider, blocks) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
            first = ResidualBlock(width, wider, stride=1 if number == 0 else 2)
            stages.append(
                nn.Sequential(
                    first,
                    *(ResidualBlock(wider, wider, 1) for _ in range(blocks - 1)),
                )
            )
            width = wider
        self.stages = nn.Sequential(*stages)  # (B, 512, 4, 4)
        self.pool = GeneralisedMean()  # (B, 512)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Float (B, 3, H, W) → features (B, 512)."""
        features: Tensor = self.pool(self.stages(self.stem(images)))
        return features


class ResidualBlock(nn.Module):
    """Two convolutions, channel weighting and a residual connection (He et al., 2015)."""

    def __init__(self, width: int, wider: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(width, wider, stride=stride)
        self.second = nn.Sequential(
            nn.Conv2d(wider, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider)
        )
        self.weighting = SqueezeExcitation(wider)
        self.around = _shortcut(width, wider, stride)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """Float (B, C, H, W) → (B, C', H', W')."""
        residual = self.weighting(self.second(self.first(images)))
        activated: Tensor = self.activation(residual + self.around(images))
        return activated


class SqueezeExcitation(nn.Module):
    """Weight channels by the content of the whole image ("squeeze and excitation", Hu et al., 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),  # (B, C, 1, 1)
            nn.Conv2d(width, width // 8, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width // 8, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Float (B, C, H, W) → the same shape."""
        weighted: Tensor = images * self.weights(images)
        return weighted


class GeneralisedMean(nn.Module):
    """Pool between average and maximum: a landmark fills part of the image (Radenović et al., 2018).

    The power, 3, is the usual choice for landmarks.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Non-negative float (B, C, H, W) → (B, C)."""
        return (
            images.float()
            .clamp(min=1e-4)
            .pow(3)
            .mean(dim=(2, 3))
            .pow(1 / 3)
            .to(images.dtype)
        )


def _convolution(width: int, wider: int, stride: int = 1) -> nn.Sequential:
    # No bias: the batch norm has one.
    return nn.Sequential(
        nn.Conv2d(width, wider, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(wider),
        nn.ReLU(inplace=True),
    )


def _shortcut(width: int, wider: int, stride: int) -> nn.Module:
    if stride == 1 and width == wider:
        return nn.Identity()
    # Pool first: a strided convolution of 1 x 1 uses only one pixel in four.
    pool = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
    return nn.Sequential(
        pool,
        nn.Conv2d(width, wider, 1, bias=False),
        nn.BatchNorm2d(wider),
    )


@torch.no_grad()
def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, ResidualBlock):
            # Each block starts as its shortcut alone, so a deep network starts as a shallow one.
            nn.init.zeros_(module.second[1].get_parameter("weight"))
