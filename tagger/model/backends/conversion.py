"""From TorchScript to a model of OpenVINO, and the folder that keeps it, so that later starts need not import torch."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import openvino
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from openvino.preprocess import PrePostProcessor

from tagger.model.backends.openvino import conversion_file
from tagger.model.backends.torchscript import round_kernels
from tagger.system.permissions import make_private_folder

if TYPE_CHECKING:
    import torch

    from tagger.model.devices import Device

log = logging.getLogger(__name__)

UNUSED_S = 30 * 86400.0
"""A conversion that no start has read for so long is removed: that of a model that is gone, or of a former version of OpenVINO."""


def convert_once(
    module: torch.jit.ScriptModule, device: Device, size: int, folder: Path | None
) -> openvino.Model:
    """Convert, and keep the result in `folder` for `read_conversion`."""
    model = convert(module, device, size)
    if folder is not None:
        _store(model, folder, device.precision)
    return model


def convert(module: torch.jit.ScriptModule, device: Device, size: int) -> openvino.Model:
    """Convert without `openvino.convert_model`, which reports to OpenVINO's makers."""
    module.eval().float()
    if device.precision == "bfloat16":
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


def _store(model: openvino.Model, folder: Path, precision: str) -> None:
    """Replace a damaged one. Two processes may do so at a time. Where that fails, each start converts."""
    target = conversion_file(folder, precision).parent
    try:
        make_private_folder(folder)
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as partial:
            whole = Path(partial, "whole")
            whole.mkdir()
            openvino.save_model(model, whole / "model.xml", compress_to_fp16=False)
            shutil.rmtree(target, ignore_errors=True)
            whole.rename(target)
        _remove_unused(folder.parent)
    except OSError as error:
        log.info("the converted model is not kept: %s", error)


def _remove_unused(conversions: Path) -> None:
    for folder in conversions.iterdir():
        for conversion in folder.iterdir():
            if time.time() - conversion.stat().st_mtime > UNUSED_S:
                shutil.rmtree(conversion, ignore_errors=True)
        with suppress(OSError):  # it has other conversions
            folder.rmdir()
