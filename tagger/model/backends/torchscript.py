"""The TorchScript backend: the artifact's own module, frozen, on any device."""

from __future__ import annotations

import torch

from tagger.model.artifact import without_deprecations
from tagger.model.backends import (
    BackendName,
    Images,
    Outputs,
    round_keeping_sums,
)
from tagger.model.devices import Device


class TorchScriptBackend:
    name: BackendName = "torchscript"

    def __init__(
        self, module: torch.jit.ScriptModule, device: Device, at_once: int
    ) -> None:
        self._module = freeze(module, device)
        self._kind = device.kind
        self.at_once = at_once

    def forward(self, images: Images) -> Outputs:
        batch = torch.from_numpy(images)
        with torch.inference_mode():
            # (B, H, W, 3) viewed as (B, 3, H, W) is channels_last, the fastest layout for convolutions.
            tensor = batch.to(self._kind).permute(0, 3, 1, 2)
            outputs = self._module(tensor)
            # Scores alone, or scores and embeddings. A copy to the CPU waits for the pass.
            arrays = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
            return Outputs(*(array.float().cpu().numpy() for array in arrays))

    def free_memory(self) -> None:
        """Empty torch's cache: its blocks have the wrong sizes after the batch size has changed."""
        if self._kind == "cuda":
            torch.cuda.empty_cache()


def freeze(module: torch.jit.ScriptModule, device: Device) -> torch.jit.ScriptModule:
    """Freeze a module for inference on a device: in its precision, channels_last, with constants folded."""
    with without_deprecations():
        module.eval()
        if device.dtype is torch.bfloat16:
            round_kernels(module)
        # Cast before freezing: freezing folds batch norms into convolutions, and folded constants keep their
        # precision.
        module.to(device=device.kind, dtype=device.dtype)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        frozen: torch.jit.ScriptModule = torch.jit.freeze(module)
    return frozen


@torch.no_grad()
def round_kernels(module: torch.nn.Module) -> None:
    """Round the depthwise kernels of a network, on the CPU and in place, to bfloat16."""
    for parameter in module.parameters():
        if (
            parameter.dim() == 4
            and parameter.shape[1] == 1
            and parameter.shape[2] * parameter.shape[3] > 1
        ):
            kernels = round_keeping_sums(parameter.detach().float().flatten(1).numpy())
            parameter.copy_(torch.from_numpy(kernels).reshape(parameter.shape))
