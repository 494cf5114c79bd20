"""A backbone by its name: built, filled with weights, and tried out once."""

import difflib
import logging
from pathlib import Path

import torch
from torch import nn

from trainer.backbones import own, torchvision_networks
from trainer.backbones.described import Backbone, Convention
from trainer.backbones.files import WeightsFile, read_weights
from trainer.backbones.folding import fold_structure, folded
from trainer.backbones.rounding import round_to_half
from trainer.backbones.scratch_network import FEATURES
from trainer.backbones.sources import Built, Source, State
from trainer.errors import BackboneUnknown, SizeUnsuitable, TimmMissing, WeightsUnsuitable

TIMM = "timm/"
FILES_FROM_TENSORFLOW = {"mobilenet_v2"}
"""A safetensors file for these comes from TensorFlow, unless its metadata says otherwise."""

log = logging.getLogger("trainer")


def load_backbone(architecture: str, weights: Path | None, size: int) -> tuple[Backbone, nn.Module]:
    """The pretrained network for images of `size`, from a file or else as published, in evaluation mode.

    Its weights are rounded to half precision, as they will be stored.

    Raises:
        BackboneUnknown, TimmMissing, WeightsUnsuitable, WeightsUnavailable, SizeUnsuitable: with what to change.
    """
    source, name = _source_of(architecture)
    if weights is None:
        origin, state = source.published_state(name)
        convention: Convention = "timm" if architecture.startswith(TIMM) else "torchvision"
    else:
        file = read_weights(weights, architecture)
        origin, state = file.digest, file.state
        convention = _convention(architecture, file)
        log.info("%s: weights from %s, learned as %s does it", architecture, weights.name, convention)
    built = source.build(name, convention)
    _fill(built, state, architecture, weights)
    features = _try_out(built, architecture, size)
    simpler = folded(built.network, size)
    network = simpler or built.network
    round_to_half(network)
    backbone = Backbone(architecture, convention, origin, features, built.normalisation, simpler is not None)
    return backbone, network


def own_backbone() -> tuple[Backbone, nn.Module]:
    """The network of our own, with random weights."""
    built = own.build(own.LANDMARK_CNN, "torchvision")
    return Backbone(own.LANDMARK_CNN, "torchvision", "none", FEATURES, built.normalisation), built.network


def build_network(backbone: Backbone) -> nn.Module:
    """The network with random weights, in evaluation mode: normalised images → features (B, F).

    Raises:
        BackboneUnknown, TimmMissing: it cannot be built here.
    """
    source, name = _source_of(backbone.architecture)
    network = source.build(name, backbone.convention).network.eval()
    return fold_structure(network) if backbone.folded else network


def require_backbone(architecture: str) -> None:
    """Make sure that there is such a network, before any work is done.

    Raises:
        BackboneUnknown, TimmMissing: with the names that are close.
    """
    _source_of(architecture)


def _source_of(architecture: str) -> tuple[Source, str]:
    """Who knows the network, and its name there."""
    if architecture == own.LANDMARK_CNN:
        return own, architecture
    prefix = TIMM if architecture.startswith(TIMM) else ""
    source = _timm(architecture) if prefix else torchvision_networks
    name = architecture.removeprefix(prefix)
    names = source.network_names()
    if name not in names:
        close = [prefix + other for other in difflib.get_close_matches(name, names, n=3)]
        raise BackboneUnknown(
            wanted=architecture, close=f" Close to it: {', '.join(close)}." if close else ""
        )
    return source, name


def _timm(architecture: str) -> Source:
    try:
        from trainer.backbones import timm_networks
    except ImportError as error:
        raise TimmMissing(backbone=architecture) from error
    return timm_networks


def _convention(architecture: str, file: WeightsFile) -> Convention:
    if architecture.startswith(TIMM):
        return "timm"
    return file.convention or ("tensorflow" if architecture in FILES_FROM_TENSORFLOW else "torchvision")


def _fill(built: Built, state: State, architecture: str, path: Path | None) -> None:
    kept = {name: values for name, values in state.items() if not name.startswith(built.left_off)}
    try:
        result = built.network.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        reason = "its tensors have other shapes"
        raise WeightsUnsuitable(
            path=path or "that are published", backbone=architecture, reason=reason
        ) from error
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        reason = (
            f"it lacks {len(missing)} tensors and has {len(result.unexpected_keys)} that do not belong there"
        )
        raise WeightsUnsuitable(path=path or "that are published", backbone=architecture, reason=reason)


@torch.inference_mode()
def _try_out(built: Built, architecture: str, size: int) -> int:
    """How many features the network gives for an image of `size`."""
    try:
        features = built.network.eval()(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".!")
        raise SizeUnsuitable(
            backbone=architecture, size=size, reason=reason, learned_at=built.learned_at
        ) from error
    return int(features.shape[1])
