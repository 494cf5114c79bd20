"""Backbones by name: build the network, load its weights, and run it once.

Names are torchvision's (`resnet18`), or `timm/NAME` for networks of timm. Weights are downloaded or read from
a file. Knows nothing of landmarks, training or export.
"""

import difflib
import importlib.resources
import logging
import pickle
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import torch
from blake3 import blake3
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from tagger.extensions import extra_missing, is_installed
from tagger.model.artifact import file_digest, load_module, read_manifest
from trainer import BackboneUnusable
from trainer.networks import (
    FEATURES,
    LANDMARK_CNN,
    NORMALISATION,
    Backbone,
    Convention,
    FeatureNetwork,
    LandmarkCNN,
    NetworkSource,
    Normalisation,
    State,
    download_failed,
    expansions,
    fuse_batch_norms,
    fuse_in_place,
    narrow,
    pad_like_tensorflow,
    scale_normalisation,
)

TIMM = "timm/"
SHIPPED = "the shipped model"
SHIPPED_MODEL = (
    Path(str(importlib.resources.files("tagger"))) / "shipped" / "landmarks.pt"
)
MODEL = ".pt"
# The prefix of tensor names of a model's backbone.
NETWORK_OF_MODEL = "encoder.network."
# The network of which files have Google's weights, trained with TensorFlow. timm publishes others.
EDGETPU = "mobilenet_edgetpu_100"
GOOGLE_IN_FILES = TIMM + EDGETPU
EDGETPU_NORMALISATION = Normalisation((128.0, 128.0, 128.0), (127.0, 127.0, 127.0))
# The classes of ImageNet, on which all weights of torchvision were trained.
CLASSES = 1000
# They have several outputs when scripted, and scale pixels inside.
UNSUPPORTED = {"googlenet", "inception_v3"}

log = logging.getLogger("trainer")


def load_backbone(
    architecture: str,
    weights: Path | None,
    size: int,
) -> tuple[Backbone, nn.Module]:
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
    backbone = Backbone(
        architecture,
        convention,
        origin,
        features,
        template.normalisation,
        fused is not None,
    )
    return backbone, network


def goes_on_from_model(weights: Path | None) -> TypeGuard[Path]:
    return weights is not None and weights.suffix == MODEL


def _backbone_of_model(path: Path, architecture: str) -> tuple[Backbone, nn.Module]:
    # The backbone of a model, as it was fine-tuned.
    described = read_manifest(path).training.get("backbone")
    backbone = TypeAdapter(Backbone).validate_python(described) if described else None
    if backbone is None or backbone.architecture != architecture:
        kind = backbone.architecture if backbone else "of an unknown kind"
        raise _unsuitable(path, architecture, f"its backbone is {kind}")
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
    return Backbone(
        LANDMARK_CNN, "torchvision", "none", FEATURES, NORMALISATION
    ), LandmarkCNN()


def build_network(backbone: Backbone) -> nn.Module:
    """Build the network with random weights, in evaluation mode: normalised images → features (B, F).

    Raises:
        BackboneUnusable, ExtraMissing: this installation cannot build it.
    """
    if backbone.architecture == SHIPPED:
        network: nn.Module = load_module(
            SHIPPED_MODEL, file_digest(SHIPPED_MODEL)
        ).encoder.network
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
    if prefix and not is_installed("timm"):
        raise extra_missing(f"The backbone {architecture}", "timm")
    source: NetworkSource = Timm() if prefix else Torchvision()
    name = architecture.removeprefix(prefix)
    names = source.network_names()
    if name not in names:
        close = [
            prefix + other for other in difflib.get_close_matches(name, names, n=3)
        ]
        hint = f"; similar names are {', '.join(close)}" if close else ""
        raise BackboneUnusable(
            backbone=architecture,
            reason=f"there is none of this name{hint}",
            remedy="Use a classification network of torchvision, or one of timm as timm/NAME",
        )
    return source, name


class Torchvision:
    """torchvision's classification networks without their last layer."""

    def network_names(self) -> list[str]:
        return [
            name
            for name in models.list_models(module=models)
            if name not in UNSUPPORTED
        ]

    def build(
        self, name: str, _convention: Convention = "torchvision"
    ) -> FeatureNetwork:
        transforms = models.get_model_weights(name).DEFAULT.transforms()
        size = int(transforms.crop_size[0])
        arguments = {"image_size": size} if name.startswith("vit_") else {}
        network: nn.Module = models.get_model(name, weights=None, **arguments)
        last = _remove_last_layer(network)
        normalisation = scale_normalisation(transforms.mean, transforms.std)
        return FeatureNetwork(network, (f"{last}.",), normalisation, size)

    def published_state(self, name: str) -> tuple[str, State]:
        weights = models.get_model_weights(name).DEFAULT
        try:
            # Stdout is for results only, not for download messages.
            with redirect_stdout(sys.stderr):
                return f"torchvision:{weights}", weights.get_state_dict(
                    progress=False, check_hash=True
                )
        except (OSError, RuntimeError) as error:
            raise download_failed(name, str(error).splitlines()[0]) from error


def _remove_last_layer(network: nn.Module) -> str:
    # Replace the layer with an output per class, and a dropout before it, by nothing; returns its name.
    # Dropout is up to the recipe.
    last: str = [
        name for name, module in network.named_modules() if _outputs(module) == CLASSES
    ][-1]
    parent_name, _, name = last.rpartition(".")
    parent = network.get_submodule(parent_name)
    children = list(parent.named_children())
    position = [child for child, _ in children].index(name)
    previous_name, previous = children[position - 1]
    if isinstance(previous, nn.Dropout):
        parent.set_submodule(previous_name, nn.Identity())
    parent.set_submodule(name, nn.Identity())
    return last


def _outputs(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):
        return module.out_features
    # SqueezeNet ends in a convolution.
    return module.out_channels if isinstance(module, nn.Conv2d) else 0


class Timm:
    """timm's networks without their classifiers. The only code that imports timm, an optional extra."""

    def network_names(self) -> list[str]:
        """Every network, alone and with each of its published weights (`NAME.WEIGHTS`)."""
        import timm

        return [*timm.list_models(), *timm.list_pretrained()]

    def build(self, name: str, convention: Convention) -> FeatureNetwork:
        network = self._create(name, pretrained=False)
        config = network.pretrained_cfg
        normalisation = scale_normalisation(config["mean"], config["std"])
        if convention == "tensorflow":
            pad_like_tensorflow(network)
            if name == EDGETPU:
                normalisation = EDGETPU_NORMALISATION
                # timm has a ReLU where Google's network has none.
                network.blocks[0][0].bn1.act = nn.Identity()
        classifiers = config["classifier"] or ()
        names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
        return FeatureNetwork(
            network,
            classifier_prefixes=tuple(f"{classifier}." for classifier in names),
            normalisation=normalisation,
            training_size=int(config["input_size"][-1]),
        )

    def published_state(self, name: str) -> tuple[str, State]:
        try:
            with redirect_stdout(sys.stderr):
                network = self._create(name, pretrained=True)
        except (OSError, RuntimeError, ValueError) as error:
            first_sentence = str(error).strip().splitlines()[0].partition(". ")[0]
            raise download_failed(f"timm/{name}", first_sentence) from error
        config = network.pretrained_cfg
        return f"timm:{config['architecture']}.{config['tag']}", network.state_dict()

    def _create(self, name: str, *, pretrained: bool) -> Any:
        import timm

        return timm.create_model(
            name, pretrained=pretrained, num_classes=0, scriptable=True, exportable=True
        )


def read_weights(path: Path, architecture: str) -> tuple[str, State]:
    """The digest, and the tensors as float32, of a safetensors file, or torchvision's `.pth`. No code runs.

    Raises:
        BackboneUnusable: it cannot be read, or is not a weights file.
    """
    try:
        digest = blake3(path.read_bytes()).hexdigest()
        state = _read_pth(path) if path.suffix == ".pth" else load_file(path)
    except (
        OSError,
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
    ) as error:
        reason = (
            getattr(error, "strerror", None)
            or f"it is not a weights file ({_first_line(error)})"
        )
        raise _unsuitable(path, architecture, reason) from error
    return f"blake3:{digest}", {name: values.float() for name, values in state.items()}


def _read_pth(path: Path) -> State:
    with warnings.catch_warnings():
        # torch warns of pickles that it may not support; they are refused below.
        warnings.simplefilter("ignore", UserWarning)
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise ValueError("it has more than named tensors")
    return dict(content)


def _load_state(
    template: FeatureNetwork, state: State, architecture: str, path: Path | None
) -> None:
    origin = path or "that are published"
    tensors = {
        name: values
        for name, values in state.items()
        if not name.startswith(template.classifier_prefixes)
    }
    try:
        result = template.network.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        reason = "its tensors have other shapes"
        raise _unsuitable(origin, architecture, reason) from error
    missing = [
        name for name in result.missing_keys if not name.endswith("num_batches_tracked")
    ]
    if missing or result.unexpected_keys:
        reason = f"{len(missing)} tensors are missing and {len(result.unexpected_keys)} are unexpected"
        raise _unsuitable(origin, architecture, reason)


@torch.inference_mode()
def _count_features(template: FeatureNetwork, architecture: str, size: int) -> int:
    # By one image: not every network accepts images of this size.
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
