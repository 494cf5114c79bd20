"""Models as published for TensorFlow.js: `model.json`, a graph of operations, and the shards with its weights.

Nothing of a graph is run. `Graph.match` compares it with a pattern, and what no pattern names is refused.
"""

import base64
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from tagger.photos.files import open_regular
from trainer.errors import DataFileInvalid

MODEL = "model.json"
MODEL_LIMIT_BYTES = 16 * 2**20
SHARD_BYTES = 4 * 2**20
"""TensorFlow.js's converter makes shards of this size; the last one is smaller."""
SHARD = re.compile(r"group1-shard(\d+)of(\d+)\.bin", re.ASCII)
DOWNLOAD_AGAIN = "Download it again"
UNKNOWN_GRAPH = (
    "Only Google's landmark classifiers in the form that Nextcloud Recognize publishes can be imported"
)
TOLERANCE = 1e-5
"""Of constants, relative. They are stored in single precision."""

Weights: TypeAlias = npt.NDArray[np.float32]
Pattern: TypeAlias = "str | float | list[int] | tuple[Any, ...]"
"""What a node of the graph must be: a constant; a name, which any node gets, the same node each time; or (operation, inputs…) or
(operation, {attribute: value}, inputs…), where each input is a pattern."""


class _Tensor(BaseModel):
    name: str
    shape: tuple[Annotated[int, Field(ge=0, le=2**24)], ...]
    dtype: Literal["float32", "int32"]
    quantization: None = None  # others would have to be scaled

    @property
    def size_bytes(self) -> int:
        return 4 * math.prod(self.shape)


class _WeightsGroup(BaseModel):
    paths: tuple[str, ...] = Field(min_length=1)
    weights: tuple[_Tensor, ...]


class _Node(BaseModel):
    name: str
    op: str
    input: tuple[str, ...] = ()
    attr: dict[str, dict[str, Any]] = {}

    def attribute(self, name: str) -> object:
        """The attribute as a Python value; None if it is missing."""
        value = self.attr.get(name)
        if value is None:
            return None
        ((kind, content),) = value.items()
        if kind == "list":
            return [_plain(each_kind, each) for each_kind, values in content.items() for each in values]
        return _plain(kind, content)


def _plain(kind: str, value: Any) -> object:
    if kind == "s":
        return base64.b64decode(value).decode()
    return int(value) if kind == "i" else value


class _Topology(BaseModel):
    node: tuple[_Node, ...]


class _Signature(BaseModel):
    outputs: dict[str, Any]


class _Model(BaseModel):
    format: Literal["graph-model"]
    signature: _Signature
    topology: _Topology = Field(alias="modelTopology")
    manifest: tuple[_WeightsGroup] = Field(alias="weightsManifest")


class Graph:
    """A graph with its weights. `path` is its `model.json`, `output` the name of its result."""

    def __init__(self, path: Path, model: _Model, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        self.path = path
        self._nodes = {node.name: node for node in model.topology.node}
        self._tensors = tensors
        self._matched: set[str] = set()
        self.output = next(iter(model.signature.outputs), "").partition(":")[0]

    def match(self, name: str, pattern: Pattern) -> dict[str, str]:
        """Compare a node and its inputs with a pattern. Returns the nodes that got names.

        Raises:
            DataFileInvalid: they differ; the message names the node.
        """
        found: dict[str, str] = {}
        self._match(name, pattern, found)
        return found

    def _match(self, name: str, pattern: Pattern, found: dict[str, str]) -> None:
        if isinstance(pattern, str):
            if found.setdefault(pattern, name) != name:
                raise self.refused(f"{name} is not where the published graphs have it")
        elif isinstance(pattern, tuple):
            operation, *inputs = pattern
            attributes = inputs.pop(0) if inputs and isinstance(inputs[0], dict) else {}
            node = self._node(name, operation, attributes)
            if len(node.input) != len(inputs):
                raise self.refused(f"{name} has {len(node.input)} inputs instead of {len(inputs)}")
            for each, its_pattern in zip(node.input, inputs, strict=True):
                self._match(each, its_pattern, found)
        else:
            value = self.constant(name, np.shape(pattern))
            if not np.allclose(value, pattern, rtol=TOLERANCE, atol=0):
                raise self.refused(f"{name} is {value.tolist()} instead of {pattern}")

    def _node(self, name: str, operation: str, attributes: Mapping[str, object]) -> _Node:
        node = self._nodes.get(name)
        if node is None or node.op != operation:
            raise self.refused(
                f"{name} is {node.op if node else 'missing'}, where the published graphs have {operation}"
            )
        for attribute, expected in attributes.items():
            if (actual := node.attribute(attribute)) != expected:
                raise self.refused(f"{attribute} of {name} is {actual} instead of {expected}")
        self._matched.add(name)
        return node

    def constant(self, name: str, shape: tuple[int | None, ...]) -> npt.NDArray[Any]:
        """The value of a constant of this shape; None stands for any length.

        Raises:
            DataFileInvalid: the node is none, or has another shape.
        """
        self._node(name, "Const", {})
        value = self._tensors.get(name)
        actual = () if value is None else value.shape
        fits = len(actual) == len(shape) and all(
            each in (None, side) for each, side in zip(shape, actual, strict=True)
        )
        if value is None or not fits:
            raise self.refused(
                f"{name} has the shape {list(actual)} instead of {[side or 'any' for side in shape]}"
            )
        return value

    def require_all_matched(self) -> None:
        """Raises:
        DataFileInvalid: there is a node that no pattern has named.
        """
        if others := self._nodes.keys() - self._matched:
            raise self.refused(f"it has {len(others)} more operations, like {min(others)}")

    def refused(self, reason: str) -> DataFileInvalid:
        """The error of a graph that differs from the published ones."""
        return DataFileInvalid(path=self.path, reason=f"its graph differs: {reason}", remedy=UNKNOWN_GRAPH)


def read_graph(folder: Path) -> Graph:
    """Read `model.json` and the shards that it names, after a check of their order and sizes.

    Raises:
        DataFileInvalid: a file is missing, cut, or no part of such a model.
    """
    path = folder / MODEL
    try:
        model = _Model.model_validate_json(_read(path, None))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"it is no graph of TensorFlow.js ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise DataFileInvalid(path=path, reason=reason, remedy=UNKNOWN_GRAPH) from error
    (group,) = model.manifest
    total = sum(tensor.size_bytes for tensor in group.weights)
    numbers = [(int(match[1]), int(match[2])) for match in map(SHARD.fullmatch, group.paths) if match]
    count = len(group.paths)
    if numbers != [(number, count) for number in range(1, count + 1)]:
        reason = f"its shards are not group1-shard1of{count}.bin and so on, in order"
        raise DataFileInvalid(path=path, reason=reason, remedy=DOWNLOAD_AGAIN)
    sizes = [SHARD_BYTES] * (count - 1)
    data = b"".join(
        _read(folder / name, size_bytes)
        for name, size_bytes in zip(group.paths, [*sizes, total - sum(sizes)], strict=True)
    )
    return Graph(path, model, _split(path, group.weights, data))


def _read(path: Path, size_bytes: int | None) -> bytes:
    """The content of a file, which must have this size. None: any up to MODEL_LIMIT_BYTES."""
    try:
        with open_regular(path) as file:
            data = file.read((MODEL_LIMIT_BYTES if size_bytes is None else max(size_bytes, 0)) + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataFileInvalid(path=path, reason=reason, remedy=DOWNLOAD_AGAIN) from error
    if size_bytes is not None and len(data) != size_bytes:
        actual = f"more than {size_bytes}" if len(data) > size_bytes else str(len(data))
        reason = f"it has {actual} bytes instead of {size_bytes}"
        raise DataFileInvalid(path=path, reason=reason, remedy=DOWNLOAD_AGAIN)
    return data


def _split(path: Path, tensors: tuple[_Tensor, ...], data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The weights by name, from the content of all shards."""
    values, offset = {}, 0
    for tensor in tensors:
        dtype = np.dtype("<f4" if tensor.dtype == "float32" else "<i4")
        value = np.frombuffer(data, dtype, math.prod(tensor.shape), offset).reshape(tensor.shape)
        if not np.isfinite(value).all():
            reason = f"{tensor.name} has values that are not finite, so a shard is damaged"
            raise DataFileInvalid(path=path, reason=reason, remedy="Download the shards again")
        values[tensor.name] = value
        offset += tensor.size_bytes
    return values
