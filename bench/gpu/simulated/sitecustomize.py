"""Lets the device of this process fail, and shortens leases. Python imports a module of this name at its start if it is on PYTHONPATH.

SIMULATED_LARGEST_BATCH=4   larger batches do not fit the memory of the device
SIMULATED_LOSS_AFTER=2      the device is lost for this process after so many passes with photos
SIMULATED_LEASE_S=6         how long a chunk is a worker's, instead of 45 s
"""

import os
from functools import wraps
from typing import Any

NEVER = str(2**31)
LARGEST_BATCH = int(os.environ.get("SIMULATED_LARGEST_BATCH", NEVER))
LOSS_AFTER = int(os.environ.get("SIMULATED_LOSS_AFTER", NEVER))
_passes = 0


def shorten_leases(seconds: float) -> None:
    """Set the durations before other modules copy them."""
    from tagger.ledger import jobs

    jobs.LEASE_S, jobs.RENEW_S = seconds, seconds / 3
    from worker import sweeper

    sweeper.SWEEP_S = seconds / 3


def let_device_fail() -> None:
    """Let passes fail with what torch says in these cases."""
    from tagger.model.backends.torchscript import TorchScriptBackend

    forward = TorchScriptBackend.forward

    @wraps(forward)
    def failing(self: TorchScriptBackend, images: Any) -> Any:
        global _passes  # noqa: PLW0603 - one process, one device
        _passes += bool(images.any())  # blank images warm the model up
        if len(images) > LARGEST_BATCH:
            raise RuntimeError("CUDA out of memory (simulated)")
        if _passes > LOSS_AFTER:
            raise RuntimeError("CUDA error: unspecified launch failure (simulated)")
        return forward(self, images)

    TorchScriptBackend.forward = failing  # type: ignore[method-assign]


if "SIMULATED_LEASE_S" in os.environ:
    shorten_leases(float(os.environ["SIMULATED_LEASE_S"]))
if {"SIMULATED_LARGEST_BATCH", "SIMULATED_LOSS_AFTER"} & set(os.environ):
    let_device_fail()
if "SIMULATED_MEMORY_FRACTION" in os.environ:
    import torch

    torch.cuda.set_per_process_memory_fraction(float(os.environ["SIMULATED_MEMORY_FRACTION"]))
