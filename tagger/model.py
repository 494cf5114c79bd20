"""An artifact on a device: precision, layout, top-k. Knows nothing of files of photos or of SQL."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tagger.artifact import Manifest, load_module
from tagger.devices import Device, core_count
from tagger.metrics import BATCH_SIZE
from tagger.results import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from tagger.images import Pixels

log = logging.getLogger(__name__)

Scores = npt.NDArray[np.float32]


class OutOfDeviceMemory(Exception):
    """The device has no memory left for a single image; that is no fault of the image."""


class Model:
    """A loaded model; `scores` may be called from one thread at a time.

    `batch_size` is the most images of a forward pass; it is halved for good where the device's memory runs out.
    """

    def __init__(self, module: torch.jit.ScriptModule, manifest: Manifest, device: Device) -> None:
        self._module = module
        self._device = device
        self.manifest = manifest
        self.batch_size = device.batch_size
        BATCH_SIZE.set(self.batch_size)

    def scores(self, images: Sequence[Pixels]) -> Scores:
        """Calibrated scores, float32 (B, L), of images of the manifest's input size; each row sums to at most 1."""
        parts: list[Scores] = []
        done, most = 0, self.batch_size
        while done < len(images):
            part = images[done : done + most]
            try:
                parts.append(self._forward(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise OutOfDeviceMemory(str(error)) from error
                most = len(part) // 2
                self._halve()
            else:
                done += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _forward(self, images: Sequence[Pixels]) -> Scores:
        import torch

        size = self.manifest.input.size
        # (B, H, W, 3) in memory seen as (B, 3, H, W) is channels_last, the layout the convolutions run fastest in.
        batch = torch.empty((len(images), size, size, 3), dtype=torch.uint8)
        for row, image in zip(batch.numpy(), images, strict=True):
            np.copyto(row, image)
        with torch.inference_mode():
            scores: Scores = (
                self._module(batch.permute(0, 3, 1, 2).to(self._device.kind)).float().cpu().numpy()
            )
        return scores

    def _halve(self) -> None:
        import torch

        before, self.batch_size = self.batch_size, max(1, self.batch_size // 2)
        BATCH_SIZE.set(self.batch_size)
        log.warning(
            "the device's memory is too small for a batch of %d; going on with %d", before, self.batch_size
        )
        if self._device.kind == "cuda":
            torch.cuda.empty_cache()  # what the failed pass had taken, in pieces of the wrong size


def is_out_of_memory(error: Exception) -> bool:
    """TorchScript wraps what went wrong inside it, so that only the words are left; a CPU's allocator has its own."""
    import torch

    words = str(error).lower()
    said = "out of memory" in words or "can't allocate memory" in words
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or said


def load_model(
    path: Path, digest: str, manifest: Manifest, device: Device, *, threads: int | None = None
) -> Model:
    """Load a registered artifact onto a device, ready for forward passes.

    Raises:
        ModelRefused: the file is not the registered one, or torch cannot run it.
    """
    import torch

    if device.kind == "cpu":
        torch.set_num_threads(threads or core_count())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        module = load_module(path, digest)
        module.eval()
        # Freezing folds batch norms into convolutions: cast first, or the constants keep the old precision.
        module.to(device=device.kind, dtype=device.dtype)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module = torch.jit.freeze(module)
    model = Model(module, manifest, device)
    _warm_up(model)
    return model


def top_k(scores: Scores, k: int, threshold: float) -> tuple[Prediction, ...]:
    """The `k` best of one photo's scores, float32 (L,), best first; equal scores in label order."""
    order = np.argsort(-scores, kind="stable")[:k]
    return tuple(
        Prediction(position=int(position), rank=rank, score=score, accepted=score >= threshold)
        for rank, position in enumerate(order, start=1)
        for score in (min(1.0, max(0.0, float(scores[position]))),)
    )


def _warm_up(model: Model) -> None:
    # TorchScript's executor profiles its first two runs; done here, the first photos do not wait for it.
    size = model.manifest.input.size
    blank = np.zeros((size, size, 3), dtype=np.uint8)
    for count in (1, model.batch_size, model.batch_size):
        model.scores([blank] * count)
