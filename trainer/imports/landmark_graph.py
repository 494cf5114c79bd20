"""From the graph of Google's landmark classifiers to torchvision's MobileNetV3-Large.

All published graphs have the same operations and constants, which are known by their digest, and which the
network of torchvision computes with: strides, padding, hard-swish, GeM, epsilons. Batch norms are folded.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torchvision import models

from trainer.backbones.backbone import fuse_in_place
from trainer.imports.tensorflow_js import Graph, Weights

# At this size, every image inside has odd sides, where TensorFlow's padding is that of torchvision.
SIZE = 321
FEATURES, DIMENSION = 1280, 64
# What black and white may become at the first convolution, in published and stand-in networks.
INPUT_RANGES = ((-1.0, 1.0), (0.0, 2.0))
RANGE_TOLERANCE = 0.02
CONVOLUTIONS = {"_FusedConv2D", "FusedDepthwiseConv2dNative"}
# Of the published graphs, see `Graph.digest`.
DIGEST = "4aa891a840cde86f861fb3d3f602d718f0f28373111ec8472a039f380a92e5db"
CHANGED = "torchvision has changed its MobileNetV3"


@dataclass(frozen=True)
class InputScaling:
    """pixel of 0…1 → trunc(pixel · `level_factor` + `level_offset`) · `factor` + `offset`."""

    level_factor: float
    level_offset: float
    factor: float
    offset: float

    def apply(self, pixel: float) -> float:
        """The value of a pixel at the first convolution."""
        level = np.float32(pixel) * np.float32(self.level_factor) + np.float32(self.level_offset)
        return float(np.trunc(level) * self.factor + self.offset)


@dataclass(frozen=True)
class LandmarkNetwork:
    """A classifier of one region.

    `features`: scaled images → (B, 960, 11, 11). `hidden` and `embed`: linear layers, 960 → 1280 → 64.
    `classes`: float32 (C, 64).
    """

    scaling: InputScaling
    features: nn.Sequential
    hidden: nn.Linear
    embed: nn.Linear
    classes: Weights


def network_of(graph: Graph) -> LandmarkNetwork:
    """Check that the graph is a published one, and map its weights.

    Raises:
        DataUnusable: it differs.
    """
    values = {node.name: node.value for node in graph.order if node.value is not None}
    scaling = _input_scaling(graph)
    network = fuse_in_place(models.mobilenet_v3_large(weights=None).eval())
    features, hidden = network.get_submodule("features"), network.get_submodule("classifier.0")
    if not isinstance(features, nn.Sequential) or not isinstance(hidden, nn.Linear):
        raise TypeError(CHANGED)
    layers: list[nn.Conv2d | nn.Linear] = [each for each in features.modules() if isinstance(each, nn.Conv2d)]
    kernels = [node.inputs[1:] for node in graph.order if node.operation in CONVOLUTIONS]
    for layer, (kernel, bias) in zip([*layers, hidden], kernels, strict=True):
        _assign(layer, values[kernel], values[bias])
    # Of the last constants, `scale` and `offset` are the batch norm of the embedding.
    classes, weights = (value for value in values.values() if value.ndim == 2)
    scale, offset = [value for value in values.values() if value.shape == (DIMENSION,)][-2:]
    embed = nn.Linear(FEATURES, DIMENSION)
    _assign(embed, weights * scale, offset)
    return LandmarkNetwork(scaling, features, hidden, embed, classes)


@torch.no_grad()
def _assign(layer: nn.Conv2d | nn.Linear, kernel: Weights, bias: Weights) -> None:
    """Set a layer's weights. Kernels are (…, inputs, outputs), depthwise ones (height, width, outputs, 1)."""
    if isinstance(layer, nn.Conv2d):
        kernel = kernel.transpose((2, 3, 0, 1) if layer.groups > 1 else (3, 2, 0, 1))
    else:
        kernel = kernel.reshape(layer.in_features, layer.out_features).T
    if layer.bias is None or layer.weight.shape != kernel.shape:
        raise TypeError(CHANGED)
    layer.weight.copy_(torch.from_numpy(kernel.copy()))
    layer.bias.copy_(torch.from_numpy(bias.copy()))


def _input_scaling(graph: Graph) -> InputScaling:
    """The scaling of pixels before the first convolution, if all else is as published."""
    operations = [node.operation for node in graph.order]
    first = operations.index("Placeholder") if "Placeholder" in operations else 0
    constants = [node for node in graph.order[first:] if node.value is not None and node.value.ndim == 0][:4]
    if graph.digest({node.name for node in constants}) != DIGEST:
        raise graph.refused("it has other operations or constants")
    scaling = InputScaling(*(float(node.value) for node in constants if node.value is not None))
    ends = scaling.apply(0.0), scaling.apply(1.0)
    if not any(np.allclose(ends, each, rtol=0, atol=RANGE_TOLERANCE) for each in INPUT_RANGES):
        raise graph.refused(f"black and white become {ends[0]:g} and {ends[1]:g}, not -1 and 1")
    return scaling
