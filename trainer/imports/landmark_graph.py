"""From the graph of Google's landmark classifiers to torchvision's MobileNetV3-Large.

The graph is followed from its result to its input. Each operation and each constant must be the one that the network of torchvision
computes with: strides, padding, the fractions of hard-swish, the power of GeM, the epsilons. Batch norms are folded already.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torchvision import models
from torchvision.models.mobilenetv3 import InvertedResidual
from torchvision.ops.misc import Conv2dNormActivation, SqueezeExcitation

from trainer.backbones.backbone import fuse_in_place
from trainer.imports.tensorflow_js import Graph, Pattern, Weights

SIZE = 321
"""At this size, every image inside has odd sides, where TensorFlow's padding is that of torchvision."""
CELLS = 11
FEATURES, DIMENSION = 1280, 64
INPUT_RANGES = ((-1.0, 1.0), (0.0, 2.0))
"""What black and white may become at the first convolution: in the published networks, and in networks that stand in for them."""
RANGE_TOLERANCE = 0.02
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

    `features`: scaled images → (B, 960, 11, 11). `hidden` and `embed`: linear layers, 960 → 1280 → 64. `classes`: float32 (C, 64).
    """

    scaling: InputScaling
    features: nn.Sequential
    hidden: nn.Linear
    embed: nn.Linear
    classes: Weights


def network_of(graph: Graph) -> LandmarkNetwork:
    """Map the graph, and check that it computes exactly what the network does.

    Raises:
        DataFileInvalid: it differs.
    """
    network = fuse_in_place(models.mobilenet_v3_large(weights=None).eval())
    features, hidden = network.get_submodule("features"), network.get_submodule("classifier.0")
    embed = nn.Linear(FEATURES, DIMENSION)
    if not isinstance(features, nn.Sequential) or not isinstance(hidden, nn.Linear):
        raise TypeError(CHANGED)
    name, classes = _map_head(graph, hidden, embed)
    for layer in reversed(features):
        if isinstance(layer, InvertedResidual):
            name = _map_block(graph, name, layer)
        elif isinstance(layer, Conv2dNormActivation):
            name = _map_convolution(graph, name, layer)
    scaling = _input_scaling(graph, name)
    graph.require_all_matched()
    return LandmarkNetwork(scaling, features, hidden, embed, classes)


def hard_swish(source: Pattern) -> Pattern:
    return ("Mul", ("Mul", 1 / 6, source), ("Relu6", ("AddV2", source, 3.0)))


def _map_head(graph: Graph, hidden: nn.Linear, embed: nn.Linear) -> tuple[str, Weights]:
    """Everything after the convolutions. Returns the last convolution's activation, and the class vectors.

    GeM over a single cell is the identity but for its epsilon, which hard-swish's least value makes it need.
    """
    pooled: Pattern = (
        "Pow",
        ("Mean", {"keep_dims": True}, ("Pow", ("Maximum", "hidden", 1e-6), 3.0), [1, 2]),
        1 / 3,
    )
    shape: Pattern = ("Shape", "pooled")
    rows: Pattern = ("GatherV2", {"batch_dims": 0}, shape, [0, 1, 2], 0)
    columns: Pattern = ("GatherV2", {"batch_dims": 0}, shape, [3], 0)
    flat: Pattern = ("Reshape", "pooled", ("Pack", {"axis": 0}, ("Prod", rows, [0]), ("Prod", columns, [0])))
    product: Pattern = ("MatMul", {"transpose_a": False, "transpose_b": False}, flat, "weights")
    embedded: Pattern = ("Reshape", product, ("ConcatV2", rows, [DIMENSION], 0))
    squeezed: Pattern = (
        "Squeeze",
        {"squeeze_dims": [1, 2]},
        ("Add", ("Mul", embedded, "scale"), "offset"),
    )
    length: Pattern = ("Sum", {"keep_dims": True}, ("Square", "embedding"), 1)
    unit: Pattern = ("Mul", "embedding", ("Rsqrt", ("Maximum", length, 1e-12)))
    similarity: Pattern = ("MatMul", {"transpose_a": False, "transpose_b": True}, "classes", unit)
    found = graph.match(graph.output, ("Transpose", similarity, [1, 0]))
    found |= graph.match(found["embedding"], squeezed)
    found |= graph.match(found["pooled"], pooled)
    found |= graph.match(found["hidden"], hard_swish("convolved"))
    weights = graph.constant(found["weights"], (FEATURES, DIMENSION))
    scale, offset = (graph.constant(found[name], (DIMENSION,)) for name in ("scale", "offset"))
    _assign(embed, (weights * scale).T, offset)
    attributes = {
        "padding": "VALID",
        "strides": [1, 1, 1, 1],
        "ksize": [1, CELLS, CELLS, 1],
        "data_format": "NHWC",
    }
    convolution = _convolution_pattern(1, ("AvgPool", attributes, "source"))
    found |= graph.match(found["convolved"], convolution)
    kernel = graph.constant(found["kernel"], (1, 1, hidden.in_features, FEATURES))
    _assign(hidden, kernel[0, 0].T, graph.constant(found["bias"], (FEATURES,)))
    return found["source"], graph.constant(found["classes"], (None, DIMENSION))


def _map_block(graph: Graph, name: str, block: InvertedResidual) -> str:
    """An inverted residual block. Returns the name of its input."""
    *layers, projection = block.block
    shortcut = None
    if block.use_res_connect:
        found = graph.match(name, ("AddV2", "branch", "shortcut"))
        name, shortcut = found["branch"], found["shortcut"]
    name = _map_convolution(graph, name, projection)
    for layer in reversed(layers):
        if isinstance(layer, SqueezeExcitation):
            name = _map_gate(graph, name, layer)
        else:
            name = _map_convolution(graph, name, layer)
    if shortcut not in (None, name):
        raise graph.refused(f"{shortcut} is added where {name} should be")
    return name


def _map_gate(graph: Graph, name: str, gate: SqueezeExcitation) -> str:
    """A squeeze-and-excitation block, which scales channels. Returns the name of its input."""
    mean: Pattern = ("Mean", {"keep_dims": True}, "source", [1, 2])
    squeezed = _convolution_pattern(1, mean, relu=True)
    gated: Pattern = ("Mul", 1 / 6, ("Relu6", ("AddV2", "excited", 3.0)))
    found = graph.match(name, ("Mul", gated, "source"))
    source = found["source"]
    outer = graph.match(found["excited"], _convolution_pattern(1, "squeezed"))
    inner = graph.match(outer["squeezed"], squeezed)
    if inner["source"] != source:
        raise graph.refused(f"{name} scales {source} by another output, {inner['source']}")
    _assign_convolution(graph, gate.fc2, outer)
    _assign_convolution(graph, gate.fc1, inner)
    return source


def _map_convolution(graph: Graph, name: str, layer: Iterable[nn.Module]) -> str:
    """A convolution with its activation, which is fused into it if it is ReLU. Returns the name of its input."""
    convolution, *_, activation = layer
    if not isinstance(convolution, nn.Conv2d):
        raise TypeError(CHANGED)
    if isinstance(activation, nn.Hardswish):
        name = graph.match(name, hard_swish("convolved"))["convolved"]
    found = graph.match(
        name,
        _convolution_pattern(
            convolution.stride[0],
            "source",
            relu=isinstance(activation, nn.ReLU),
            depthwise=convolution.groups > 1,
        ),
    )
    _assign_convolution(graph, convolution, found)
    return found["source"]


def _convolution_pattern(
    stride: int, source: Pattern, *, relu: bool = False, depthwise: bool = False
) -> Pattern:
    attributes = {
        "padding": "SAME",
        "strides": [1, stride, stride, 1],
        "dilations": [1, 1, 1, 1],
        "data_format": "NHWC",
        "fused_ops": ["BiasAdd", "Relu"] if relu else ["BiasAdd"],
    }
    operation = "FusedDepthwiseConv2dNative" if depthwise else "_FusedConv2D"
    return (operation, attributes, source, "kernel", "bias")


def _assign_convolution(graph: Graph, convolution: nn.Conv2d, found: dict[str, str]) -> None:
    """Set the weights of a convolution. Kernels are (height, width, inputs, outputs), depthwise ones (height, width, outputs, 1)."""
    outputs, inputs, height, width = convolution.weight.shape
    sides = (outputs, inputs) if convolution.groups > 1 else (inputs, outputs)
    kernel = graph.constant(found["kernel"], (height, width, *sides))
    order = (2, 3, 0, 1) if convolution.groups > 1 else (3, 2, 0, 1)
    _assign(convolution, kernel.transpose(order), graph.constant(found["bias"], (outputs,)))


@torch.no_grad()
def _assign(layer: nn.Conv2d | nn.Linear, weight: Weights, bias: Weights) -> None:
    layer.weight.copy_(torch.from_numpy(weight.copy()))
    if layer.bias is None:
        raise TypeError(CHANGED)
    layer.bias.copy_(torch.from_numpy(bias.copy()))


def _input_scaling(graph: Graph, name: str) -> InputScaling:
    """The scaling of pixels before the first convolution, which cuts them to whole levels in between."""
    cut = {"DstT": "DT_UINT8", "SrcT": "DT_FLOAT", "Truncate": False}
    restored = {"DstT": "DT_FLOAT", "SrcT": "DT_UINT8", "Truncate": False}
    levels: Pattern = ("Cast", cut, ("Add", ("Mul", "images", "level_factor"), "level_offset"))
    scaled: Pattern = ("Add", ("Mul", ("Cast", restored, levels), "factor"), "offset")
    found = graph.match(name, scaled)
    side = {"dim": [{"size": str(each)} for each in (-1, SIZE, SIZE, 3)]}
    graph.match(found["images"], ("Placeholder", {"shape": side}))
    names = ("level_factor", "level_offset", "factor", "offset")
    scaling = InputScaling(*(float(graph.constant(found[each], ())) for each in names))
    ends = scaling.apply(0.0), scaling.apply(1.0)
    if not any(np.allclose(ends, each, rtol=0, atol=RANGE_TOLERANCE) for each in INPUT_RANGES):
        constants = ", ".join(f"{found[each]} = {getattr(scaling, each):g}" for each in names)
        raise graph.refused(
            f"black and white become {ends[0]:g} and {ends[1]:g}, not -1 and 1, by {constants}"
        )
    return scaling
