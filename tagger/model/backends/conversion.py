"""From TorchScript to a network of OpenVINO. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openvino
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from openvino.preprocess import PrePostProcessor

if TYPE_CHECKING:
    import torch


def convert(module: torch.jit.ScriptModule, size: int) -> openvino.Model:
    """Convert without `openvino.convert_model`, which reports to OpenVINO's makers."""
    module.eval().float()
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
