"""OpenVINO on a CPU: the artifact's TorchScript, converted where it runs. An extra; this is the one module that imports it."""

from __future__ import annotations

import queue
import sys
from typing import TYPE_CHECKING

import numpy as np
import torch

from tagger.runners.rounding import round_kernels

# It would report each conversion to OpenVINO's makers, unasked and from a process that it forks. These are other people's photos.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402
from openvino.frontend import FrontEndManager  # noqa: E402
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: E402
from openvino.preprocess import PrePostProcessor  # noqa: E402

if TYPE_CHECKING:
    from tagger.devices import Device
    from tagger.runners.interface import Images, RunnerName, Scores


class OpenVinoRunner:
    """`at_once` passes at a time, each on a thread of its own; threads are not tied to cores, which other workers use too."""

    name: RunnerName = "openvino"

    def __init__(self, module: torch.jit.ScriptModule, device: Device, size: int, at_once: int) -> None:
        self._size = size
        self.at_once = at_once
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if device.dtype is torch.bfloat16 else "f32",
            "NUM_STREAMS": at_once,
            "INFERENCE_NUM_THREADS": at_once,
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(_converted(module, device, size), "CPU", settings)
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(at_once):
            self._requests.put(compiled.create_infer_request())

    def empty(self, count: int) -> Images:
        """As the interface says."""
        return np.empty((count, self._size, self._size, 3), dtype=np.uint8)

    def forward(self, images: Images) -> Scores:
        """As the interface says."""
        request = self._requests.get()
        try:
            request.infer([images], share_inputs=True)
            return np.array(request.get_output_tensor(0).data, dtype=np.float32)
        finally:
            self._requests.put(request)

    def free_memory(self) -> None:
        """As the interface says: nothing is kept here."""


def _converted(module: torch.jit.ScriptModule, device: Device, size: int) -> openvino.Model:
    # Its weights are constants from here on. `openvino.convert_model` would do the same and report to its makers.
    module.eval().float()
    if device.dtype is torch.bfloat16:
        round_kernels(module)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(module)  # asked again during the conversion, so kept until its end
    model = frontend.convert(frontend.load(decoder))
    images = model.inputs[0].get_node()
    images.set_element_type(openvino.Type.u8)
    images.set_partial_shape(openvino.PartialShape([-1, 3, size, size]))
    model.validate_nodes_and_infer_types()
    layout = PrePostProcessor(model)
    layout.input().tensor().set_layout(openvino.Layout("NHWC"))
    layout.input().model().set_layout(openvino.Layout("NCHW"))
    return layout.build()
