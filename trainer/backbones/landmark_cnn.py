"""Our own convolutional network, trained from random weights on a few thousand photos.

Shapes are for images of 128 x 128 pixels. Any size works, ideally a multiple of 32.
"""

import torch
from torch import Tensor, nn

from trainer.backbones.backbone import Normalisation

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
            first = Block(width, wider, stride=1 if number == 0 else 2)
            stages.append(nn.Sequential(first, *(Block(wider, wider, 1) for _ in range(blocks - 1))))
            width = wider
        self.stages = nn.Sequential(*stages)  # (B, 512, 4, 4)
        self.pool = GeneralisedMean()  # (B, 512)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Float (B, 3, H, W) → features (B, 512)."""
        features: Tensor = self.pool(self.stages(self.stem(images)))
        return features


class Block(nn.Module):
    """Two convolutions, channel weighting and a residual connection (He et al., 2015)."""

    def __init__(self, width: int, wider: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(width, wider, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(wider, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider))
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
        return images.float().clamp(min=1e-4).pow(3).mean(dim=(2, 3)).pow(1 / 3).to(images.dtype)


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
    return nn.Sequential(pool, nn.Conv2d(width, wider, 1, bias=False), nn.BatchNorm2d(wider))


@torch.no_grad()
def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, Block):
            # Each block starts as its shortcut alone, so a deep network starts as a shallow one.
            nn.init.zeros_(module.second[1].get_parameter("weight"))
