"""The artifact's own TorchScript on a device."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from tagger.runners.rounding import round_kernels

if TYPE_CHECKING:
    from tagger.devices import Device
    from tagger.runners.interface import Images, RunnerName, Scores


class TorchScriptRunner:
    """The frozen module; on a GPU each thread that calls `forward` has a stream of its own."""

    name: RunnerName = "torchscript"

    def __init__(self, module: torch.jit.ScriptModule, device: Device, size: int, at_once: int) -> None:
        self._module = frozen(module, device)
        self._kind = device.kind
        self._size = size
        self.at_once = at_once

    def empty(self, count: int) -> Images:
        """Pinned for a GPU, which can then fetch it while the processor goes on."""
        shape = (count, self._size, self._size, 3)
        if self._kind != "cuda":
            return np.empty(shape, dtype=np.uint8)
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()

    def forward(self, images: Images) -> Scores:
        """As the interface says; on a GPU the calling thread waits for its own pass only."""
        if self._kind != "cuda":
            return self._scores(images)
        with torch.cuda.stream(_stream_of_this_thread()):
            return self._scores(images)

    def free_memory(self) -> None:
        """As the interface says: torch keeps memory in pieces, which are of the wrong size now."""
        if self._kind == "cuda":
            torch.cuda.empty_cache()

    def _scores(self, images: Images) -> Scores:
        # (B, H, W, 3) in memory seen as (B, 3, H, W) is channels_last, the layout the convolutions run fastest in.
        batch = torch.from_numpy(images)
        with torch.inference_mode():
            seen = batch.to(self._kind, non_blocking=True).permute(0, 3, 1, 2)
            scores: Scores = self._module(seen).float().cpu().numpy()  # waits for this thread's stream
        return scores


def frozen(module: torch.jit.ScriptModule, device: Device) -> torch.jit.ScriptModule:
    """The module as it runs fastest on a device: its precision, channels_last, everything constant folded in."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        module.eval()
        if device.dtype is torch.bfloat16:
            round_kernels(module)
        # Freezing folds batch norms into convolutions: cast first, or the constants keep the old precision.
        module.to(device=device.kind, dtype=device.dtype)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ready: torch.jit.ScriptModule = torch.jit.freeze(module)
    return ready


_here = threading.local()


def _stream_of_this_thread() -> torch.cuda.Stream:
    if not hasattr(_here, "stream"):
        _here.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream: torch.cuda.Stream = _here.stream
    return stream
