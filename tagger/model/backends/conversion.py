"""From TorchScript to a model of OpenVINO, and the folder that keeps it, so that later starts need not import torch."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from typing import TYPE_CHECKING

import openvino
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from openvino.preprocess import PrePostProcessor

from tagger.model.backends.openvino import DIGESTS, FILES, digests, files_of
from tagger.system.permissions import create_private_file, make_private_folder

if TYPE_CHECKING:
    from pathlib import Path

    import torch

log = logging.getLogger(__name__)

LOCK = "lock"
"""The file that a process locks while it stores a conversion. The system releases the lock of a killed process."""


def convert_once(module: torch.jit.ScriptModule, size: int, folder: Path | None) -> openvino.Model:
    """Convert, and keep the result in `folder` for `read_conversion`."""
    model = convert(module, size)
    if folder is not None:
        try:
            store_conversion(model, folder)
        except BlockingIOError:
            log.info("another process stores the converted model")
        except OSError as error:
            log.warning("the converted model is not kept, so each start takes longer: %s", error)
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

    Replaces a damaged one, and removes what other versions of OpenVINO and killed processes left.

    Raises:
        OSError: it cannot be written; BlockingIOError: another process is doing so.
    """
    make_private_folder(folder.parent)
    lock = folder.parent / LOCK
    create_private_file(lock)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        version = folder.name.partition("-")[2]
        for other in folder.parent.iterdir():
            if other != lock and other.name.partition("-")[2] != version:
                shutil.rmtree(other)
        partial = folder.with_name("partial")
        make_private_folder(partial)
        _save(model, partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)


def _save(model: openvino.Model, folder: Path) -> None:
    """Write the files, flush them to disk, then write their digests."""
    for name in (*FILES, DIGESTS):
        create_private_file(folder / name)
    try:
        openvino.save_model(model, folder / FILES[0])
    except RuntimeError as error:
        free = shutil.disk_usage(folder).free // 2**20
        raise OSError(f"it cannot be written to {folder.parent}, where {free} MB are free") from error
    for name in FILES:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    with (folder / DIGESTS).open("w") as file:
        file.write("\n".join(digests(files_of(folder))))
        file.flush()
        os.fsync(file.fileno())
