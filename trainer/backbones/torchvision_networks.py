"""torchvision's classification networks without their last layer."""

import sys
from contextlib import redirect_stdout

from torch import nn
from torchvision import models

from trainer.backbones.backbone import (
    Convention,
    FeatureNetwork,
    State,
    download_failed,
    scale_normalisation,
)

# The classes of ImageNet, on which all weights of torchvision were trained.
CLASSES = 1000
# They have several outputs when scripted, and scale pixels inside.
UNSUPPORTED = {"googlenet", "inception_v3"}


def network_names() -> list[str]:
    return [name for name in models.list_models(module=models) if name not in UNSUPPORTED]


def build(name: str, _convention: Convention = "torchvision") -> FeatureNetwork:
    arguments = {"image_size": _training_size(name)} if name.startswith("vit_") else {}
    network: nn.Module = models.get_model(name, weights=None, **arguments)
    last = _remove_last_layer(network)
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    normalisation = scale_normalisation(transforms.mean, transforms.std)
    return FeatureNetwork(network, (f"{last}.",), normalisation, _training_size(name))


def published_state(name: str) -> tuple[str, State]:
    weights = models.get_model_weights(name).DEFAULT
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results only, not for download messages
            return f"torchvision:{weights}", weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise download_failed(name, str(error).splitlines()[0]) from error


def _training_size(name: str) -> int:
    (side,) = models.get_model_weights(name).DEFAULT.transforms().crop_size
    return int(side)


def _remove_last_layer(network: nn.Module) -> str:
    """Replace the layer with an output per class, and a dropout before it, by nothing; returns its name.

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
