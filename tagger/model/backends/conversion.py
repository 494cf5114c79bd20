"""From TorchScript to a model of OpenVINO, and the folder that keeps it, so that later starts need not import torch."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import openvino
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from openvino.preprocess import PrePostProcessor

from tagger.model.backends.openvino import CONVERSION
from tagger.system.permissions import make_private_folder

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


def convert_once(module: torch.jit.ScriptModule, size: int, folder: Path | None) -> openvino.Model:
    """Convert, and keep the result in `folder` for `read_conversion`."""
    model = convert(module, size)
    if folder is not None:
        try:
            store_conversion(model, folder)
        except OSError as error:  # then each start converts
            log.info("the converted model is not kept: %s", error)
    return model


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


def store_conversion(model: openvino.Model, folder: Path) -> None:
    """Write the model to `folder`, whole or not at all. Weights have half precision, as in the artifact.

    Replaces a damaged one, and removes what other versions of OpenVINO made of models.

    Raises:
        OSError: it cannot be written, or another process has just done so.
    """
    make_private_folder(folder.parent)
    current = folder.name.partition("-")[2]
    for other in folder.parent.iterdir():
        version = other.name.partition("-")[2]  # none where another process is writing
        if other == folder or version not in ("", current):
            shutil.rmtree(other, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as partial:
        whole = Path(partial, "whole")
        whole.mkdir()
        openvino.save_model(model, whole / CONVERSION)
        whole.rename(folder)
