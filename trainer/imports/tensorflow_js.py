"""Models for TensorFlow.js, and the network of Google's landmark classifiers that one describes.

A model is `model.json`, a graph of operations, and its weights. Nothing of it is run.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from blake3 import blake3
from torch import nn
from torchvision import models

from tagger.photos.files import open_regular
from trainer import DataUnusable
from trainer.networks import fuse_in_place

MODEL = "model.json"
MODEL_LIMIT_BYTES = 16 * 2**20
# TensorFlow.js's converter makes shards of this size; the last one is smaller.
SHARD_BYTES = 4 * 2**20
SHARD = re.compile(r"group1-shard(\d+)of(\d+)\.bin", re.ASCII)
UNKNOWN_GRAPH = (
    "Only Google's landmark classifiers in the form that Nextcloud Recognize publishes can "
    "be imported"
)
DTYPES = {"float32": "<f4", "int32": "<i4"}
# Those that change what an operation computes.
ATTRIBUTES = {
    *(
        "padding",
        "strides",
        "dilations",
        "data_format",
        "fused_ops",
        "ksize",
        "keep_dims",
        "squeeze_dims",
        "axis",
    ),
    *("transpose_a", "transpose_b", "batch_dims", "SrcT", "DstT", "Truncate", "shape"),
}

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Node:
    name: str
    operation: str
    inputs: tuple[str, ...]
    attributes: str
    value: npt.NDArray[Any] | None


@dataclass(frozen=True)
class Graph:
    """A graph with its weights. `path` is its `model.json`, `output` the name of its result."""

    path: Path
    nodes: dict[str, Node]
    output: str

    @cached_property
    def order(self) -> list[Node]:
        """The nodes that the result depends on, each after its inputs."""
        visited: dict[str, Node] = {}

        def visit(name: str) -> None:
            if name not in visited:
                node = self.nodes[name]
                for source in node.inputs:
                    visit(source)
                visited[name] = node

        visit(self.output)
        return list(visited.values())

    def digest(self, free: set[str]) -> str:
        """A digest of the operations, their connections, and constants of up to four numbers, but `free`.

        Of larger constants, only the shape counts without its first side. Names do not matter.
        """
        numbers = {node.name: number for number, node in enumerate(self.order)}
        lines = [
            (
                node.operation,
                node.attributes,
                [numbers[name] for name in node.inputs],
                _constant(node, free),
            )
            for node in self.order
        ]
        return blake3(json.dumps([len(self.nodes), *lines]).encode()).hexdigest()

    def refused(self, reason: str) -> DataUnusable:
        return DataUnusable(
            path=self.path, reason=f"its graph differs: {reason}", remedy=UNKNOWN_GRAPH
        )


def _constant(node: Node, free: set[str]) -> object:
    if node.value is None or node.name in free:
        return None
    few = node.value.size <= 4 and node.value.ndim <= 1
    return (
        [f"{number:.4g}" for number in node.value.flat]
        if few
        else list(node.value.shape[1:])
    )


def read_graph(folder: Path) -> Graph:
    """Read `model.json` and the shards that it names, after a check of their order and sizes.

    Raises:
        DataUnusable: a file is missing, cut, or no part of such a model.
    """
    path = folder / MODEL
    try:
        model = json.loads(_read(path, None))
        (group,) = model["weightsManifest"]
        tensors = {each["name"]: _shape_and_type(each) for each in group["weights"]}
        values = dict(
            _split(path, tensors, _read_shards(folder, group["paths"], tensors))
        )
        nodes = {
            each["name"]: Node(
                each["name"],
                each["op"],
                tuple(each.get("input", ())),
                _attributes(each.get("attr", {})),
                values.get(each["name"]),
            )
            for each in model["modelTopology"]["node"]
        }
        return Graph(
            path,
            nodes,
            next(iter(model["signature"]["outputs"])).partition(":")[0],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it is no graph of TensorFlow.js ({error!r})"
        raise DataUnusable(path=path, reason=reason, remedy=UNKNOWN_GRAPH) from error


def _shape_and_type(tensor: dict[str, Any]) -> tuple[tuple[int, ...], str]:
    if tensor.get("quantization"):
        raise ValueError("quantization")
    return tuple(tensor["shape"]), DTYPES[tensor["dtype"]]


def _attributes(attributes: dict[str, Any]) -> str:
    relevant = {name: value for name, value in attributes.items() if name in ATTRIBUTES}
    return json.dumps(relevant, sort_keys=True)


def _read_shards(
    folder: Path,
    names: list[str],
    tensors: dict[str, tuple[tuple[int, ...], str]],
) -> bytes:
    numbers = [
        (int(match[1]), int(match[2])) for match in map(SHARD.fullmatch, names) if match
    ]
    count = len(names)
    if numbers != [(number, count) for number in range(1, count + 1)]:
        raise ValueError(
            f"its shards are not group1-shard1of{count}.bin and so on, in order"
        )
    total = sum(4 * math.prod(shape) for shape, _ in tensors.values())
    sizes = [*[SHARD_BYTES] * (count - 1), total - SHARD_BYTES * (count - 1)]
    return b"".join(
        _read(folder / name, size) for name, size in zip(names, sizes, strict=True)
    )


def _read(path: Path, size_bytes: int | None) -> bytes:
    # The content of a file, which must have this size. None: any up to MODEL_LIMIT_BYTES.
    try:
        with open_regular(path) as file:
            data = file.read(
                (MODEL_LIMIT_BYTES if size_bytes is None else max(size_bytes, 0)) + 1
            )
        reason = "it has another size" if size_bytes not in (None, len(data)) else ""
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    if reason:
        raise DataUnusable(path=path, reason=reason, remedy="Download it again")
    return data


def _split(
    path: Path,
    tensors: dict[str, tuple[tuple[int, ...], str]],
    data: bytes,
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    # The weights by name, from the content of all shards.
    offset = 0
    for name, (shape, dtype) in tensors.items():
        value = np.frombuffer(
            data,
            dtype,
            math.prod(shape),
            offset,
        ).reshape(shape)
        if not np.isfinite(value).all():
            reason = f"{name} has values that are not finite, so a shard is damaged"
            raise DataUnusable(
                path=path, reason=reason, remedy="Download the shards again"
            )
        yield name, value
        offset += 4 * value.size


# From the graph of Google's landmark classifiers to torchvision's MobileNetV3-Large.
#
# All published graphs have the same operations and constants, which are known by their digest, and
# which the network of torchvision computes with: strides, padding, hard-swish, GeM, epsilons. Batch
# norms are folded.

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
        level = np.float32(pixel) * np.float32(self.level_factor) + np.float32(
            self.level_offset
        )
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
    # The scaling of pixels before the first convolution, if all else is as published.
    operations = [node.operation for node in graph.order]
    first = operations.index("Placeholder") if "Placeholder" in operations else 0
    constants = [
        node
        for node in graph.order[first:]
        if node.value is not None and node.value.ndim == 0
    ][:4]
    if graph.digest({node.name for node in constants}) != DIGEST:
        raise graph.refused("it has other operations or constants")
    scaling = InputScaling(
        *(float(node.value) for node in constants if node.value is not None)
    )
    ends = scaling.apply(0.0), scaling.apply(1.0)
    if not any(
        np.allclose(ends, input_range, rtol=0, atol=RANGE_TOLERANCE)
        for input_range in INPUT_RANGES
    ):
        raise graph.refused(
            f"black and white become {ends[0]:g} and {ends[1]:g}, not -1 and 1"
        )
    network = fuse_in_place(models.mobilenet_v3_large(weights=None).eval())
    features, hidden = (
        network.get_submodule("features"),
        network.get_submodule("classifier.0"),
    )
    if not isinstance(features, nn.Sequential) or not isinstance(hidden, nn.Linear):
        raise TypeError(CHANGED)
    layers: list[nn.Conv2d | nn.Linear] = [
        module for module in features.modules() if isinstance(module, nn.Conv2d)
    ]
    kernels = [
        node.inputs[1:] for node in graph.order if node.operation in CONVOLUTIONS
    ]
    for layer, (kernel, bias) in zip([*layers, hidden], kernels, strict=True):
        _assign(layer, values[kernel], values[bias])
    # Of the last constants, `scale` and `offset` are the batch norm of the embedding.
    classes, weights = (value for value in values.values() if value.ndim == 2)
    scale, offset = [value for value in values.values() if value.shape == (DIMENSION,)][
        -2:
    ]
    embed = nn.Linear(FEATURES, DIMENSION)
    _assign(embed, weights * scale, offset)
    return LandmarkNetwork(scaling, features, hidden, embed, classes)


@torch.no_grad()
def _assign(
    layer: nn.Conv2d | nn.Linear,
    kernel: Weights,
    bias: Weights,
) -> None:
    # Set a layer's weights. Kernels are (…, inputs, outputs), depthwise ones (height, width, outputs, 1).
    if isinstance(layer, nn.Conv2d):
        kernel = kernel.transpose((2, 3, 0, 1) if layer.groups > 1 else (3, 2, 0, 1))
    else:
        kernel = kernel.reshape(layer.in_features, layer.out_features).T
    if layer.bias is None or layer.weight.shape != kernel.shape:
        raise TypeError(CHANGED)
    layer.weight.copy_(torch.from_numpy(kernel.copy()))
    layer.bias.copy_(torch.from_numpy(bias.copy()))
