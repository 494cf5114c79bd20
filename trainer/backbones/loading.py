"""Backbones by name: build the network, load its weights, and run it once."""

import difflib
import importlib.resources
import logging
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

import torch
from blake3 import blake3
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tagger.extensions import extra_missing
from tagger.model.artifact import file_digest, load_module, read_manifest
from trainer.backbones import torchvision_networks
from trainer.backbones.backbone import (
    Backbone,
    Convention,
    FeatureNetwork,
    NetworkSource,
    State,
    expansions,
    fuse_batch_norms,
    fuse_in_place,
    narrow,
)
from trainer.backbones.landmark_cnn import FEATURES, LANDMARK_CNN, NORMALISATION, LandmarkCNN
from trainer.errors import BackboneUnusable

TIMM = "timm/"
SHIPPED = "the shipped model"
SHIPPED_MODEL = Path(str(importlib.resources.files("tagger"))) / "shipped" / "landmarks.pt"
MODEL = ".pt"
# The prefix of tensor names of a model's backbone.
NETWORK_OF_MODEL = "encoder.network."
# The network of which files have Google's weights, trained with TensorFlow. timm publishes others.
GOOGLE_IN_FILES = "timm/mobilenet_edgetpu_100"

log = logging.getLogger("trainer")


def load_backbone(architecture: str, weights: Path | None, size: int) -> tuple[Backbone, nn.Module]:
    """Load the pretrained network for images of `size` pixels, in evaluation mode.

    The weights come from the file `weights`, maybe an exported model, or are downloaded.

    Raises:
        BackboneUnusable, ExtraMissing, ModelRefused: with what to change.
    """
    if goes_on_from_model(weights):
        return _backbone_of_model(weights, architecture)
    source, name = find_source(architecture)
    convention: Convention = "timm" if architecture.startswith(TIMM) else "torchvision"
    if weights is None:
        origin, state = source.published_state(name)
    else:
        origin, state = read_weights(weights, architecture)
        convention = "tensorflow" if architecture == GOOGLE_IN_FILES else convention
    template = source.build(name, convention)
    _load_state(template, state, architecture, weights)
    features = _count_features(template, architecture, size)
    fused = fuse_batch_norms(template.network, size)
    network = fused or template.network
    backbone = Backbone(architecture, convention, origin, features, template.normalisation, fused is not None)
    return backbone, network


def goes_on_from_model(weights: Path | None) -> TypeGuard[Path]:
    """Whether the weights are those of a model that the trainer exported."""
    return weights is not None and weights.suffix == MODEL


def _backbone_of_model(path: Path, architecture: str) -> tuple[Backbone, nn.Module]:
    """The backbone of a model, as it was fine-tuned."""
    described = read_manifest(path).training.get("backbone")
    backbone = TypeAdapter(Backbone).validate_python(described) if described else None
    if backbone is None or backbone.architecture != architecture:
        found = backbone.architecture if backbone else "of an unknown kind"
        raise _unsuitable(path, architecture, f"its backbone is {found}")
    digest = file_digest(path)
    tensors = load_module(path, digest).state_dict()
    network = build_network(backbone)
    network.load_state_dict(
        {
            name.removeprefix(NETWORK_OF_MODEL): values.float()
            for name, values in tensors.items()
            if name.startswith(NETWORK_OF_MODEL)
        }
    )
    return replace(backbone, weights=f"blake3:{digest}"), network


def shipped_backbone() -> tuple[Backbone, nn.Module]:
    """The network of the shipped model, frozen. Its own code runs, so it needs no package that built it."""
    described = read_manifest(SHIPPED_MODEL).training["backbone"]
    backbone = TypeAdapter(Backbone).validate_python(described)
    weights = f"blake3:{file_digest(SHIPPED_MODEL)}"
    backbone = replace(backbone, architecture=SHIPPED, weights=weights, expansions=())
    return backbone, build_network(backbone)


def scratch_backbone() -> tuple[Backbone, nn.Module]:
    """Our own network, with random weights."""
    return Backbone(LANDMARK_CNN, "torchvision", "none", FEATURES, NORMALISATION), LandmarkCNN()


def build_network(backbone: Backbone) -> nn.Module:
    """Build the network with random weights, in evaluation mode: normalised images → features (B, F).

    Raises:
        BackboneUnusable, ExtraMissing: this installation cannot build it.
    """
    if backbone.architecture == SHIPPED:
        network: nn.Module = load_module(SHIPPED_MODEL, file_digest(SHIPPED_MODEL)).encoder.network
        return network.eval()
    if backbone.architecture == LANDMARK_CNN:
        network = LandmarkCNN()
    else:
        source, name = find_source(backbone.architecture)
        network = source.build(name, backbone.convention).network
    network = fuse_in_place(network.eval()) if backbone.folded else network.eval()
    if backbone.expansions:
        for pair, width in zip(expansions(network), backbone.expansions, strict=True):
            narrow(*pair, width)
    return network


def find_source(architecture: str) -> tuple[NetworkSource, str]:
    """The source of the network, and its name there.

    Raises:
        BackboneUnusable, ExtraMissing: with similar names.
    """
    prefix = TIMM if architecture.startswith(TIMM) else ""
    source: NetworkSource = torchvision_networks
    if prefix:
        try:
            from trainer.backbones import timm_networks
        except ImportError as error:
            raise extra_missing(f"The backbone {architecture}", "timm") from error
        source = timm_networks
    name = architecture.removeprefix(prefix)
    names = source.network_names()
    if name not in names:
        close = [prefix + other for other in difflib.get_close_matches(name, names, n=3)]
        hint = f"; similar names are {', '.join(close)}" if close else ""
        raise BackboneUnusable(
            backbone=architecture,
            reason=f"there is none of this name{hint}",
            remedy="Use a classification network of torchvision, or one of timm as timm/NAME",
        )
    return source, name


def read_weights(path: Path, architecture: str) -> tuple[str, State]:
    """The digest, and the tensors as float32, of a safetensors file, or torchvision's `.pth`. No code runs.

    Raises:
        BackboneUnusable: it cannot be read, or is not a weights file.
    """
    try:
        digest = blake3(path.read_bytes()).hexdigest()
        state = _read_pth(path) if path.suffix == ".pth" else load_file(path)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"it is not a weights file ({_first_line(error)})"
        raise _unsuitable(path, architecture, reason) from error
    return f"blake3:{digest}", {name: values.float() for name, values in state.items()}


def _read_pth(path: Path) -> State:
    with warnings.catch_warnings():
        # torch warns of pickles that it may not support; they are refused below.
        warnings.simplefilter("ignore", UserWarning)
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError("it has more than named tensors")
    return dict(content)


def _load_state(template: FeatureNetwork, state: State, architecture: str, path: Path | None) -> None:
    origin = path or "that are published"
    tensors = {
        name: values for name, values in state.items() if not name.startswith(template.classifier_prefixes)
    }
    try:
        result = template.network.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        reason = "its tensors have other shapes"
        raise _unsuitable(origin, architecture, reason) from error
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        reason = f"{len(missing)} tensors are missing and {len(result.unexpected_keys)} are unexpected"
        raise _unsuitable(origin, architecture, reason)


@torch.inference_mode()
def _count_features(template: FeatureNetwork, architecture: str, size: int) -> int:
    """Run the network on one image of `size` pixels and count its features.

    Raises:
        BackboneUnusable: the network does not accept images of this size.
    """
    try:
        features = template.network.eval()(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = _first_line(error).rstrip(".!")
        raise BackboneUnusable(
            backbone=architecture,
            reason=f"it does not accept images of {size} x {size} pixels: {reason}",
            remedy=f"Choose another --size; its weights were trained on images of {template.training_size}",
        ) from error
    return int(features.shape[1])


def _unsuitable(weights: object, architecture: str, reason: str) -> BackboneUnusable:
    return BackboneUnusable(
        backbone=architecture,
        reason=f"the weights {weights} do not fit: {reason}",
        remedy="Use a safetensors file with this network's weights under torchvision's names (timm's for "
        "timm/NAME), or name the network of the weights with --backbone",
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
