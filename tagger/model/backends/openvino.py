"""The OpenVINO backend, for CPUs: runs, without torch, what `convert` made of the artifact's TorchScript.

Only this module imports OpenVINO.
"""

from __future__ import annotations

import io
import queue
import sys
import threading
import zipfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tagger.errors import InstallationDamaged
from tagger.model.artifact import DAMAGED, Range, read_registered
from tagger.model.backends import (
    BackendName,
    Images,
    Outputs,
    round_keeping_sums,
)
from tagger.model.devices import Device, cpu_has_vnni

if TYPE_CHECKING:
    import numpy.typing as npt
    import openvino
    import torch

    Weights = npt.NDArray[np.float32]


def _openvino_without_converter() -> ModuleType:
    # Import OpenVINO without `convert_model`, for which it would import 150 modules, two thirds of all.
    # OpenVINO gets it from a stand-in, which imports the real one when a backend of another package calls it.
    name = "openvino.tools.ovc"
    stand_in = ModuleType(name)
    stand_in.convert_model = _convert_model  # type: ignore[attr-defined]
    sys.modules.setdefault(name, stand_in)
    try:
        return import_module("openvino")
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


def _convert_model(*arguments: Any, **options: Any) -> Any:
    return import_module("openvino.tools.ovc").convert_model(*arguments, **options)


if not TYPE_CHECKING:
    openvino = _openvino_without_converter()

SHIPPED = Path(__file__).parents[2] / "shipped"
# Made by trainer.export.make_graph. The comment of each is the digest of its artifact.
GRAPHS = "*.openvino.zip"
# Offsets in the graph count from the start of the artifact; constants that it lacks follow at its
# end.
GRAPH, CONSTANTS = "model.xml", "constants.bin"
# The types of nodes, and how many of the first dimensions of their weights have a scale of their
# own.
CONVOLUTIONS = {"Convolution": 1, "GroupConvolution": 2}
LEVELS, WEIGHT_LEVELS = 256, 255
LEAST_RANGE = 1e-6
# Ranges are means over photos. A wider range loses less by clipping than it adds by rounding.
RANGE_MARGIN = 1.2


class OpenVinoBackend:
    """Runs `at_once` passes at a time, each on one thread. Threads are not pinned to cores.

    `network` is what `prepare` or `to_bytes` returned. `is_new`: it was compiled now.
    """

    def __init__(
        self,
        network: openvino.Model | bytes,
        name: BackendName,
        device: Device,
        at_once: int,
    ) -> None:
        self.name = name
        self.at_once = at_once
        properties = {
            "INFERENCE_PRECISION_HINT": "bf16"
            if device.precision == "bfloat16"
            else "f32",
            "NUM_STREAMS": at_once,
            "INFERENCE_NUM_THREADS": at_once,
            "ENABLE_CPU_PINNING": False,
        }
        self.is_new = isinstance(network, openvino.Model)
        core = openvino.Core()
        if self.is_new:
            self._compiled = core.compile_model(network, "CPU", properties)
        else:
            try:
                self._compiled = core.import_model(
                    io.BytesIO(network), "CPU", properties
                )
            except (
                Exception
            ) as error:  # its text is of OpenVINO's source code, over several lines
                reason = "OpenVINO compiled it for another processor, or it is damaged"
                raise ValueError(reason) from error
        self._release_lock = threading.Lock()
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(at_once):
            self._requests.put(self._compiled.create_infer_request())

    def to_bytes(self) -> bytes:
        """The compiled network, for processors with the same instruction sets."""
        stream = io.BytesIO()
        self._compiled.export_model(stream)
        return stream.getvalue()

    def forward(self, images: Images) -> Outputs:
        request = self._requests.get()
        try:
            request.infer([images], share_inputs=True)
            tensors = request.output_tensors
            return Outputs(
                *(np.array(output.data, dtype=np.float32) for output in tensors)
            )
        finally:
            self._requests.put(request)

    def free_memory(self) -> None:
        """Release the activations that each request keeps for its largest batch. Waits for passes."""
        with self._release_lock:  # two threads must not each hold some of the requests
            requests = [self._requests.get() for _ in range(self.at_once)]
            try:
                self._compiled.release_memory()
            finally:
                for request in requests:
                    self._requests.put(request)


def has_shipped_graph(digest: str) -> bool:
    return any(_comment(file) == digest for file in SHIPPED.glob(GRAPHS))


def _comment(graph: Path) -> str:
    with zipfile.ZipFile(graph) as file:
        return file.comment.decode()


def read_shipped_graph(artifact: Path, digest: str) -> openvino.Model | None:
    """OpenVINO's form of a shipped model, or None for another one. Its weights are in the artifact.

    Raises:
        InstallationDamaged: the graph's file is.
        ModelRefused: the artifact's digest is not `digest`.
    """
    for path in SHIPPED.glob(GRAPHS):
        try:
            if _comment(path) != digest:
                continue
            with zipfile.ZipFile(path) as file:
                graph, constants = file.read(GRAPH), file.read(CONSTANTS)
        except DAMAGED as error:
            raise InstallationDamaged(path=path) from error
        return openvino.Core().read_model(
            graph, read_registered(artifact, digest) + constants
        )
    return None


def prepare(
    model: openvino.Model, device: Device, ranges: Sequence[Range] = ()
) -> openvino.Model:
    """Change a model in place for a device; with the `ranges` of its manifest, for eight-bit integers."""
    if device.precision == "bfloat16":
        round_kernels(model)
    if ranges:
        quantise_convolutions(model, ranges)
    return model


def join(
    model: openvino.Model, things: openvino.Model, convolutions: int
) -> openvino.Model:
    """A model with the outputs of both, which are prepared. The first `convolutions` of `things` go."""
    first_own, shared = (
        _convolutions(each)[convolutions].input(0) for each in (things, model)
    )
    first_own.replace_source_output(shared.get_source_output())
    images = model.get_parameters()[0].output(0)
    for user in things.get_parameters()[0].output(0).get_target_inputs():
        user.replace_source_output(images)
    results = [*model.get_results(), *things.get_results()]
    return openvino.Model(results, model.get_parameters())


def _convolutions(model: openvino.Model) -> Sequence[openvino.Node]:
    # In the order of the program.
    return [
        node for node in model.get_ordered_ops() if node.get_type_name() in CONVOLUTIONS
    ]


def round_kernels(model: openvino.Model) -> None:
    """Round the depthwise kernels of a network to values that bfloat16 represents exactly."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "GroupConvolution":
            continue
        # The shape of kernels: groups, outputs, inputs, height and width.
        weights = _values(node.input_value(1).get_node())
        if weights.shape[2] == 1 and weights.shape[3] * weights.shape[4] > 1:
            kernels = round_keeping_sums(
                weights.reshape(-1, weights.shape[3] * weights.shape[4])
            )
            rounded = openvino.opset13.constant(kernels.reshape(weights.shape))
            node.input(1).replace_source_output(rounded.output(0))


def quantise_convolutions(model: openvino.Model, ranges: Sequence[Range]) -> None:
    """Round the inputs and weights of each convolution of `model`.

    An input is rounded for all nodes that use it, and before it is padded: otherwise OpenVINO would keep it
    in floating point as well, and pad it in a step of its own.

    Args:
        model: an OpenVINO model in floating point
        ranges: the lowest and highest value that enters each convolution, in the order of the program

    Raises:
        ValueError: the model has another number of convolutions.
    """
    nodes = _convolutions(model)
    if len(nodes) != len(ranges):
        raise ValueError(
            f"the model has {len(nodes)} convolutions, and ranges for {len(ranges)}"
        )
    limits_of = _largest_weights if cpu_has_vnni() else largest_sums
    for node, (lowest, highest) in zip(nodes, ranges, strict=True):
        low, high = with_exact_zero(RANGE_MARGIN * lowest, RANGE_MARGIN * highest)
        values = node.input_value(0)
        if values.get_node().get_type_name() == "Pad":
            values = values.get_node().input_value(0)
        users = values.get_target_inputs()
        rounded = _rounded(values, low, high, LEVELS)
        for user in users:
            user.replace_source_output(rounded)
        weights = _values(node.input_value(1).get_node())
        limits = limits_of(weights, CONVOLUTIONS[node.get_type_name()]).clip(
            min=np.finfo(np.float32).tiny
        )
        node.input(1).replace_source_output(
            _rounded(node.input_value(1), -limits, limits, WEIGHT_LEVELS)
        )
    model.validate_nodes_and_infer_types()


def _largest_weights(weights: Weights, first: int) -> Weights:
    # The largest magnitude in each kernel. Its dimensions begin at `first` with its input channels.
    largest: Weights = np.abs(weights).max(
        axis=tuple(range(first, weights.ndim)), keepdims=True
    )
    return largest


def largest_sums(weights: Weights, first: int) -> Weights:
    """The largest magnitude that two neighbouring channels can add, of inputs from 0 to 1, in each kernel.

    Without VNNI, processors add the products of input channels 0 and 1, 2 and 3, and so on in 16 bits
    (VPMADDUBSW), which weights of 8 bits overflow. Scaled by these limits, they do not.
    """
    pairs = range(0, weights.shape[first], 2)
    of_one_sign = (weights.clip(min=0), weights.clip(max=0))
    return np.maximum(
        *(
            _largest_weights(np.add.reduceat(part, pairs, axis=first), first)
            for part in of_one_sign
        )
    )


def with_exact_zero(lowest: float, highest: float) -> Range:
    """Move the range so that one of its levels is 0, which padding and the activations have most often."""
    lowest, highest = min(lowest, 0.0), max(highest, LEAST_RANGE)
    step = (highest - lowest) / (LEVELS - 1)
    zero = round(-lowest / step)
    return -zero * step, (LEVELS - 1 - zero) * step


def _rounded(
    values: openvino.Output, low: npt.ArrayLike, high: npt.ArrayLike, levels: int
) -> openvino.Output:
    limits = [
        openvino.opset13.constant(np.asarray(limit, np.float32))
        for limit in (low, high)
    ]
    rounded: openvino.Output = openvino.opset13.fake_quantize(
        values, *limits, *limits, levels
    ).output(0)
    return rounded


def _values(node: openvino.Node) -> npt.NDArray[np.float32]:
    # The values of a constant, which may be stored in half precision.
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    values: npt.NDArray[np.float32] = node.get_data().astype(np.float32)
    return values


def convert(module: torch.jit.ScriptModule, size: int) -> openvino.Model:
    """Convert the artifact without `openvino.convert_model`, which reports to OpenVINO's makers."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import (
        TorchScriptPythonDecoder,
    )  # it needs torch
    from openvino.preprocess import PrePostProcessor

    module.eval()
    for parameter in module.parameters():
        parameter.data = (
            parameter.data.float()
        )  # former trainers stored some in half precision
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(
        module
    )  # must stay alive until the conversion ends
    model = frontend.convert(frontend.load(decoder))
    images = model.inputs[0].get_node()
    images.set_element_type(openvino.Type.u8)
    images.set_partial_shape(openvino.PartialShape([-1, 3, size, size]))
    model.validate_nodes_and_infer_types()
    layout = PrePostProcessor(model)
    layout.input().tensor().set_layout(openvino.Layout("NHWC"))
    layout.input().model().set_layout(openvino.Layout("NCHW"))
    return layout.build()
