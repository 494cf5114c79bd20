"""An artifact on a device: precision, layout, top-k. Knows nothing of files of photos or of SQL."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tagger.artifact import Manifest, load_module
from tagger.devices import Device, core_count
from tagger.results import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from tagger.images import Pixels

Scores = npt.NDArray[np.float32]


class Model:
    """A loaded model. `predict` may be called from one thread at a time."""

    def __init__(self, module: torch.jit.ScriptModule, manifest: Manifest, device: Device) -> None:
        self._module = module
        self._device = device
        self.manifest = manifest
        self.batch_size = device.batch_size

    def scores(self, images: Sequence[Pixels]) -> Scores:
        """Calibrated scores, float32 (B, L), of images of the manifest's input size; each row sums to at most 1."""
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
