"""The OpenVINO backend, for CPUs: runs what `conversion` made of the artifact's TorchScript, without torch.

OpenVINO is an extra. Only this module and `conversion` import it.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from tagger.model.backends.protocol import EIGHT_BITS, Outputs
from tagger.system.permissions import permission_problem

# The telemetry package would report each conversion to OpenVINO's makers from a forked process.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402
from openvino import opset13  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tagger.model.artifact import Range
    from tagger.model.backends.protocol import BackendName, Images
    from tagger.model.devices import Device

log = logging.getLogger(__name__)

CONVOLUTIONS = {"Convolution": 1, "GroupConvolution": 2}
"""The types of nodes, and how many of the first dimensions of their weights have a scale of their own."""
LEVELS, WEIGHT_LEVELS = 256, 255
LEAST_RANGE = 1e-6
WEIGHT_MARGIN = 2.0
"""Weights use half of their range, so 7 bits: processors with AVX2 alone add two products in 16 bits, which larger weights overflow."""


class OpenVinoBackend:
    """Runs `at_once` passes at a time, each on one thread. Threads are not pinned to cores, which other workers use too.

    With the `ranges` of the manifest, convolutions are computed with eight-bit integers. The model is changed then.
    """

    def __init__(
        self,
        model: openvino.Model,
        device: Device,
        size: int,
        at_once: int,
        ranges: Sequence[Range] = (),
    ) -> None:
        self.name: BackendName = EIGHT_BITS if ranges else "openvino"
        self._size = size
        self.at_once = at_once
        properties = {
            "INFERENCE_PRECISION_HINT": "bf16" if device.precision == "bfloat16" else "f32",
            "NUM_STREAMS": at_once,
            "INFERENCE_NUM_THREADS": at_once,
            "ENABLE_CPU_PINNING": False,
        }
        if ranges:
            quantise_convolutions(model, ranges)
        self._compiled = openvino.Core().compile_model(model, "CPU", properties)
        self._release_lock = threading.Lock()
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(at_once):
            self._requests.put(self._compiled.create_infer_request())

    def empty(self, count: int) -> Images:
        return np.empty((count, self._size, self._size, 3), dtype=np.uint8)

    def forward(self, images: Images) -> Outputs:
        request = self._requests.get()
        try:
            request.infer([images], share_inputs=True)
            scores, *embeddings = (
                np.array(output.data, dtype=np.float32) for output in request.output_tensors
            )
            return Outputs(scores, embeddings[0] if embeddings else None)
        finally:
            self._requests.put(request)

    def free_memory(self) -> None:
        """Release the memory of activations, which each request keeps for its largest batch. Waits for passes in progress."""
        with self._release_lock:  # two threads must not each hold some of the requests
            requests = [self._requests.get() for _ in range(self.at_once)]
            try:
                self._compiled.release_memory()
            finally:
                for request in requests:
                    self._requests.put(request)


def read_conversion(folder: Path | None, precision: str) -> openvino.Model | None:
    """What `convert_once` stored; None if that is nothing, damaged, or not safe from other users."""
    if folder is None or not (file := conversion_file(folder, precision)).exists():
        return None
    if permission_problem(folder.parent) is not None:
        return None
    with suppress(OSError):  # a read-only disk
        os.utime(file.parent)  # when it was used last
    try:
        return openvino.Core().read_model(file)
    except RuntimeError:
        log.warning("the stored conversion %s is damaged, and is made anew", file)
        return None


def conversion_file(folder: Path, precision: str) -> Path:
    """The file of a conversion for this version of OpenVINO. Its weights are beside it."""
    return folder / f"{version('openvino')}-{precision}" / "model.xml"


def quantise_convolutions(model: openvino.Model, ranges: Sequence[Range]) -> None:
    """Round the inputs and weights of each convolution of `model`.

    Args:
        model: an OpenVINO model in floating point
        ranges: the lowest and highest value that enters each convolution, in the order of the program

    Raises:
        ValueError: the model has another number of convolutions.
    """
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() in CONVOLUTIONS]
    if len(nodes) != len(ranges):
        raise ValueError(f"the model has {len(nodes)} convolutions, and ranges for {len(ranges)}")
    for node, (lowest, highest) in zip(nodes, ranges, strict=True):
        low, high = with_exact_zero(lowest, highest)
        _round(node, 0, low, high, LEVELS)
        weights = _values(node.input_value(1).get_node())
        axes = tuple(range(CONVOLUTIONS[node.get_type_name()], weights.ndim))
        limits = np.abs(weights).max(axis=axes, keepdims=True).clip(min=np.finfo(np.float32).tiny)
        _round(node, 1, -WEIGHT_MARGIN * limits, WEIGHT_MARGIN * limits, WEIGHT_LEVELS)
    model.validate_nodes_and_infer_types()


def with_exact_zero(lowest: float, highest: float) -> Range:
    """Move the range so that one of its levels is 0, which padding and the activations have most often."""
    lowest, highest = min(lowest, 0.0), max(highest, LEAST_RANGE)
    step = (highest - lowest) / (LEVELS - 1)
    zero = round(-lowest / step)
    return -zero * step, (LEVELS - 1 - zero) * step


def _round(node: openvino.Node, index: int, low: npt.ArrayLike, high: npt.ArrayLike, levels: int) -> None:
    limits = [opset13.constant(np.asarray(values, np.float32)) for values in (low, high)]
    rounded = opset13.fake_quantize(node.input_value(index), *limits, *limits, levels)
    node.input(index).replace_source_output(rounded.output(0))


def _values(node: openvino.Node) -> npt.NDArray[np.float32]:
    """The values of a constant, which may be stored in half precision."""
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    values: npt.NDArray[np.float32] = node.get_data().astype(np.float32)
    return values
