"""Pretrained networks without their classifiers: images in, one vector of features per image out.

Two conventions differ in what a network expects: TensorFlow's (pixels scaled to -1…1, strided convolutions padded on
the right and bottom only) and torchvision's (ImageNet mean and deviation, symmetric padding).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blake3 import blake3
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from trainer.errors import WeightsUnavailable, WeightsUnsuitable

Convention = Literal["tensorflow", "torchvision"]


@dataclass(frozen=True)
class Architecture:
    """A torchvision network: the name of its last module, which is taken off, and the width of what is left."""

    classifier: str
    features: int


ARCHITECTURES = {
    "mobilenet_v2": Architecture("classifier", 1280),
    "mobilenet_v3_large": Architecture("classifier", 960),
    "efficientnet_b0": Architecture("classifier", 1280),
    "resnet18": Architecture("fc", 512),
    "resnet50": Architecture("fc", 2048),
}
FILE_CONVENTIONS: dict[str, Convention] = {"mobilenet_v2": "tensorflow"}
"""What weights from a file expect, where it is not torchvision's: MobileNetV2's come from TensorFlow."""


@dataclass(frozen=True)
class Normalisation:
    """What is taken off a pixel of 0…255 and what it is divided by, per channel."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


NORMALISATIONS: dict[Convention, Normalisation] = {
    "tensorflow": Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "torchvision": Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}


@dataclass(frozen=True)
class Backbone:
    """Which network, by whose convention, and where its weights came from (a digest for a file)."""

    architecture: str
    convention: Convention
    weights: str

    @property
    def features(self) -> int:
        return ARCHITECTURES[self.architecture].features

    @property
    def normalisation(self) -> Normalisation:
        return NORMALISATIONS[self.convention]


def load_backbone(architecture: str, weights: Path | None) -> tuple[Backbone, nn.Module]:
    """The pretrained network, from a safetensors file or else from torchvision, in evaluation mode.

    Its convolutions are rounded to half precision, as they will be stored, so that what is measured is what is shipped.

    Raises:
        WeightsUnsuitable, WeightsUnavailable: with the reason.
    """
    if weights is None:
        backbone, network = _from_torchvision(architecture)
    else:
        backbone, network = _from_file(architecture, weights)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.half().float()
    return backbone, network


def build_network(backbone: Backbone) -> nn.Module:
    """The network with random weights: uint8-scaled images normalised → features (B, F)."""
    network: nn.Module = getattr(models, backbone.architecture)(weights=None)
    setattr(network, ARCHITECTURES[backbone.architecture].classifier, nn.Identity())
    if backbone.convention == "tensorflow":
        _pad_like_tensorflow(network)
    return network.eval()


class LowerRightPadded(nn.Conv2d):
    """A strided convolution that pads images of even sides as TensorFlow's "same" does: right and bottom only."""

    def forward(self, images: Tensor) -> Tensor:
        padded = functional.pad(images, (0, 1, 0, 1))
        convolved: Tensor = self._conv_forward(padded, self.weight, self.bias)
        return convolved


def _pad_like_tensorflow(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2) and module.kernel_size == (3, 3):
            module.__class__ = LowerRightPadded
            module.padding = (0, 0)


def _from_file(architecture: str, path: Path) -> tuple[Backbone, nn.Module]:
    try:
        state = {name: values.float() for name, values in load_file(path).items()}
        digest = blake3(path.read_bytes()).hexdigest()
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or f"it is not a safetensors file ({error})"
        raise WeightsUnsuitable(path=path, backbone=architecture, reason=reason) from error
    backbone = Backbone(architecture, FILE_CONVENTIONS.get(architecture, "torchvision"), f"blake3:{digest}")
    network = build_network(backbone)
    classifier = ARCHITECTURES[architecture].classifier
    state = {name: values for name, values in state.items() if not name.startswith(f"{classifier}.")}
    try:
        result = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = "its tensors have other shapes"
        raise WeightsUnsuitable(path=path, backbone=architecture, reason=reason) from error
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        reason = (
            f"it lacks {len(missing)} tensors and has {len(result.unexpected_keys)} that do not belong there"
        )
        raise WeightsUnsuitable(path=path, backbone=architecture, reason=reason)
    return backbone, network


def _from_torchvision(architecture: str) -> tuple[Backbone, nn.Module]:
    choice = models.get_model_weights(architecture).DEFAULT
    try:
        state = choice.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise WeightsUnavailable(backbone=architecture, reason=str(error).splitlines()[0]) from error
    backbone = Backbone(architecture, "torchvision", f"torchvision:{choice}")
    network = build_network(backbone)
    classifier = ARCHITECTURES[architecture].classifier
    network.load_state_dict({name: v for name, v in state.items() if not name.startswith(f"{classifier}.")})
    return backbone, network
