"""torchvision's classification networks, by name, with their last layer taken off."""

import sys
from contextlib import redirect_stdout

from torch import Tensor, nn
from torch.nn import functional
from torchvision import models
from torchvision.models import GoogLeNet, Inception3

from trainer.backbones.described import TENSORFLOW, Convention, Normalisation, normalisation_of
from trainer.backbones.sources import Built, State
from trainer.errors import WeightsUnavailable

CLASSES = 1000
"""Of ImageNet, which all of torchvision's weights were learned on."""
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Second classifiers of GoogLeNet and Inception, of use only while these were learned from nothing."""


def network_names() -> list[str]:
    names: list[str] = models.list_models(module=models)
    return names


def build(name: str, convention: Convention) -> Built:
    network: nn.Module = models.get_model(name, weights=None, **_arguments(name))
    if isinstance(network, GoogLeNet):
        network.__class__ = _GoogLeNetFeatures
    elif isinstance(network, Inception3):
        network.__class__ = _InceptionFeatures
    last = _take_off_last_layer(network)
    if convention == "tensorflow":
        _pad_like_tensorflow(network)
    return Built(network, (f"{last}.", *AUXILIARY), _normalisation(name, convention), _learned_at(name))


def published_state(name: str) -> tuple[str, State]:
    choice = models.get_model_weights(name).DEFAULT
    try:
        with redirect_stdout(sys.stderr):  # torch says that it downloads, and stdout is for results alone
            return f"torchvision:{choice}", choice.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise WeightsUnavailable(backbone=name, reason=str(error).splitlines()[0]) from error


def _normalisation(name: str, convention: Convention) -> Normalisation:
    if convention == "tensorflow":
        return TENSORFLOW
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    return normalisation_of(transforms.mean, transforms.std)


def _learned_at(name: str) -> int:
    (side,) = models.get_model_weights(name).DEFAULT.transforms().crop_size
    return int(side)


def _arguments(name: str) -> dict[str, object]:
    if name in {"googlenet", "inception_v3"}:
        # Their published weights want the pixels on another scale, and know how to get them there.
        return {"aux_logits": False, "init_weights": False, "transform_input": True}
    if name.startswith("vit_"):
        return {"image_size": _learned_at(name)}
    return {}


def _take_off_last_layer(network: nn.Module) -> str:
    """Put nothing in the place of the layer that has an output per class, and of a dropout right before it; the layer's name."""
    name: str = [name for name, module in network.named_modules() if _outputs(module) == CLASSES][-1]
    folder, _, own = name.rpartition(".")
    parent = network.get_submodule(folder)
    children = list(parent.named_children())
    before = children[[child for child, _ in children].index(own) - 1]
    if isinstance(before[1], nn.Dropout):
        # How a head is kept from learning by heart is for the recipe to say.
        parent.set_submodule(before[0], nn.Identity())
    parent.set_submodule(own, nn.Identity())
    return name


def _outputs(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):
        return module.out_features
    return (
        module.out_channels if isinstance(module, nn.Conv2d) else 0
    )  # SqueezeNet's classifier is a convolution


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


class _GoogLeNetFeatures(GoogLeNet):  # type: ignore[misc]  # torchvision has no types
    """Gives features alone; scripted, torchvision's own gives three outputs always."""

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self._forward(self._transform_input(images))[0]
        return features


class _InceptionFeatures(Inception3):  # type: ignore[misc]
    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self._forward(self._transform_input(images))[0]
        return features
