"""torchvision's classification networks without their last layer."""

import sys
from contextlib import redirect_stdout

from torch import Tensor, nn
from torchvision import models
from torchvision.models import GoogLeNet, Inception3

from trainer.backbones.backbone import (
    TENSORFLOW,
    Convention,
    FeatureNetwork,
    Normalisation,
    State,
    pad_like_tensorflow,
    scale_normalisation,
)
from trainer.errors import WeightsUnavailable

CLASSES = 1000
"""The classes of ImageNet, on which all weights of torchvision were trained."""
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Auxiliary classifiers of GoogLeNet and Inception, which are used only in training from random weights."""


def network_names() -> list[str]:
    names: list[str] = models.list_models(module=models)
    return names


def build(name: str, convention: Convention) -> FeatureNetwork:
    network: nn.Module = models.get_model(name, weights=None, **_arguments(name))
    if isinstance(network, GoogLeNet):
        network.__class__ = _GoogLeNetFeatures
    elif isinstance(network, Inception3):
        network.__class__ = _InceptionFeatures
    last = _remove_last_layer(network)
    if convention == "tensorflow":
        pad_like_tensorflow(network)
    normalisation = _normalisation(name, convention)
    return FeatureNetwork(network, (f"{last}.", *AUXILIARY), normalisation, _training_size(name))


def published_state(name: str) -> tuple[str, State]:
    weights = models.get_model_weights(name).DEFAULT
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results only, not for download messages
            return f"torchvision:{weights}", weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise WeightsUnavailable(backbone=name, reason=str(error).splitlines()[0]) from error


def _normalisation(name: str, convention: Convention) -> Normalisation:
    if convention == "tensorflow":
        return TENSORFLOW
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    return scale_normalisation(transforms.mean, transforms.std)


def _training_size(name: str) -> int:
    (side,) = models.get_model_weights(name).DEFAULT.transforms().crop_size
    return int(side)


def _arguments(name: str) -> dict[str, object]:
    if name in {"googlenet", "inception_v3"}:
        # Their published weights need pixels on another scale; `transform_input` converts them.
        return {"aux_logits": False, "init_weights": False, "transform_input": True}
    if name.startswith("vit_"):
        return {"image_size": _training_size(name)}
    return {}


def _remove_last_layer(network: nn.Module) -> str:
    """Replace the layer with an output per class, and a dropout right before it, by nothing; returns the layer's name.

    Dropout is up to the recipe.
    """
    last: str = [name for name, module in network.named_modules() if _outputs(module) == CLASSES][-1]
    parent_name, _, name = last.rpartition(".")
    parent = network.get_submodule(parent_name)
    children = list(parent.named_children())
    previous = children[[child for child, _ in children].index(name) - 1]
    if isinstance(previous[1], nn.Dropout):
        parent.set_submodule(previous[0], nn.Identity())
    parent.set_submodule(name, nn.Identity())
    return last


def _outputs(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else 0  # SqueezeNet ends in a convolution


class _GoogLeNetFeatures(GoogLeNet):  # type: ignore[misc]  # torchvision has no types
    """Returns features alone; torchvision's own forward always returns three outputs when scripted."""

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self._forward(self._transform_input(images))[0]
        return features


class _InceptionFeatures(Inception3):  # type: ignore[misc]
    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self._forward(self._transform_input(images))[0]
        return features
