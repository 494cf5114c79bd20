"""timm's networks, by name, without their classifiers. The only module that imports timm, which is an extra."""

import sys
from contextlib import redirect_stdout
from typing import Any

import timm

from trainer.backbones.described import Convention, normalisation_of
from trainer.backbones.sources import Built, State
from trainer.errors import WeightsUnavailable


def network_names() -> list[str]:
    """Every network, alone and with each of its published weights (`NAME.WEIGHTS`)."""
    return [*timm.list_models(), *timm.list_pretrained()]


def build(name: str, _convention: Convention) -> Built:
    network = _create(name, pretrained=False)
    known = network.pretrained_cfg
    classifiers = known["classifier"] or ()
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    return Built(
        network,
        left_off=tuple(f"{classifier}." for classifier in names),
        normalisation=normalisation_of(known["mean"], known["std"]),
        learned_at=int(known["input_size"][-1]),
    )


def published_state(name: str) -> tuple[str, State]:
    try:
        with redirect_stdout(sys.stderr):  # results are to be alone on stdout, whatever a download says
            network = _create(name, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsUnavailable(backbone=f"timm/{name}", reason=_first_sentence(error)) from error
    config = network.pretrained_cfg
    return f"timm:{config['architecture']}.{config['tag']}", network.state_dict()


def _create(name: str, *, pretrained: bool) -> Any:
    return timm.create_model(name, pretrained=pretrained, num_classes=0, scriptable=True, exportable=True)


def _first_sentence(error: Exception) -> str:
    return str(error).strip().splitlines()[0].partition(". ")[0]
