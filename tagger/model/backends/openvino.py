"""The OpenVINO backend, for CPUs: converts the artifact's TorchScript when it is loaded.

OpenVINO is an extra. This is the only module that imports it.
"""

from __future__ import annotations

import queue
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import torch

from tagger.model.backends.protocol import Outputs
from tagger.model.backends.torchscript import round_kernels

# The telemetry package would report each conversion to OpenVINO's makers from a forked process.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402
from openvino.frontend import FrontEndManager  # noqa: E402
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: E402
from openvino.preprocess import PrePostProcessor  # noqa: E402

if TYPE_CHECKING:
    from tagger.model.backends.protocol import BackendName, Images
    from tagger.model.devices import Device


class OpenVinoBackend:
    """Runs `at_once` passes at a time, each on one thread. Threads are not pinned to cores, which other workers use too."""

    name: BackendName = "openvino"

    def __init__(self, module: torch.jit.ScriptModule, device: Device, size: int, at_once: int) -> None:
        self._size = size
        self.at_once = at_once
        properties = {
            "INFERENCE_PRECISION_HINT": "bf16" if device.dtype is torch.bfloat16 else "f32",
            "NUM_STREAMS": at_once,
            "INFERENCE_NUM_THREADS": at_once,
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = openvino.Core().compile_model(_convert(module, device, size), "CPU", properties)
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


def _convert(module: torch.jit.ScriptModule, device: Device, size: int) -> openvino.Model:
    """Convert without `openvino.convert_model`, which reports to OpenVINO's makers."""
    module.eval().float()
    if device.dtype is torch.bfloat16:
        round_kernels(module)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(module)  # must stay alive until the conversion ends
    model = frontend.convert(frontend.load(decoder))
    images = model.inputs[0].get_node()
    images.set_element_type(openvino.Type.u8)
    images.set_partial_shape(openvino.PartialShape([-1, 3, size, size]))
    model.validate_nodes_and_infer_types()
    layout = PrePostProcessor(model)
    layout.input().tensor().set_layout(openvino.Layout("NHWC"))
    layout.input().model().set_layout(openvino.Layout("NCHW"))
    return layout.build()
