"""timm's networks without their classifiers. The only module that imports timm, an optional extra."""

import sys
from contextlib import redirect_stdout
from typing import Any

import timm
from torch import nn

from trainer.backbones.backbone import (
    Convention,
    FeatureNetwork,
    Normalisation,
    State,
    download_failed,
    pad_like_tensorflow,
    scale_normalisation,
)

EDGETPU = "mobilenet_edgetpu_100"
EDGETPU_NORMALISATION = Normalisation((128.0, 128.0, 128.0), (127.0, 127.0, 127.0))


def network_names() -> list[str]:
    """Every network, alone and with each of its published weights (`NAME.WEIGHTS`)."""
    return [*timm.list_models(), *timm.list_pretrained()]


def build(name: str, convention: Convention) -> FeatureNetwork:
    network = _create(name, pretrained=False)
    config = network.pretrained_cfg
    normalisation = scale_normalisation(config["mean"], config["std"])
    if convention == "tensorflow":
        pad_like_tensorflow(network)
        if name == EDGETPU:
            normalisation = EDGETPU_NORMALISATION
            network.blocks[0][0].bn1.act = nn.Identity()  # timm has a ReLU where Google's network has none
    classifiers = config["classifier"] or ()
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    return FeatureNetwork(
        network,
        classifier_prefixes=tuple(f"{classifier}." for classifier in names),
        normalisation=normalisation,
        training_size=int(config["input_size"][-1]),
    )


def published_state(name: str) -> tuple[str, State]:
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results only, not for download messages
            network = _create(name, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        first_sentence = str(error).strip().splitlines()[0].partition(". ")[0]
        raise download_failed(f"timm/{name}", first_sentence) from error
    config = network.pretrained_cfg
    return f"timm:{config['architecture']}.{config['tag']}", network.state_dict()


def _create(name: str, *, pretrained: bool) -> Any:
    return timm.create_model(name, pretrained=pretrained, num_classes=0, scriptable=True, exportable=True)
