"""Which device runs the model, in which precision, and how many threads share the cores."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tagger.errors import SettingsInvalid

if TYPE_CHECKING:
    import torch

CPU_BATCH = 8
"""Larger batches are slower on a CPU: their layers leave the caches, and their memory is given back to the system and asked for
anew each time (measured by `python -m bench.runners`)."""
GPU_BATCH = 256
GPU_PASSES = 2
"""While one computes, the other's pixels are copied."""


@dataclass(frozen=True)
class Device:
    """`kind` is torch's name of the device; `dtype` the precision its forward passes run in."""

    kind: str
    dtype: "torch.dtype"
    batch_size: int


def choose_device(wanted: str, batch_size: int | None) -> Device:
    """The device that `wanted` means on this machine ("auto": the best there is).

    Raises:
        SettingsInvalid: the wanted device is not there.
    """
    import torch

    kind = _best_kind() if wanted == "auto" else wanted
    if kind not in available_kinds():
        raise SettingsInvalid(reason=f"device: there is no {kind} here; use auto or cpu")
    if kind == "cpu":
        # Without the instructions, bfloat16 on a CPU is emulated and slower than float32.
        fast_bf16 = torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - torch has no public name for it
        return Device(kind, torch.bfloat16 if fast_bf16 else torch.float32, batch_size or CPU_BATCH)
    if kind == "cuda":
        bf16 = torch.cuda.is_bf16_supported()
        return Device(kind, torch.bfloat16 if bf16 else torch.float32, batch_size or GPU_BATCH)
    return Device(kind, torch.float32, batch_size or CPU_BATCH)


def passes_at_once(device: Device, threads: int | None) -> int:
    """How many forward passes a device runs best at a time.

    On a CPU one on each core: passes that share their work among threads wait for the slowest of them, layer by layer.
    """
    if device.kind == "cpu":
        return threads or core_count()
    return GPU_PASSES if device.kind == "cuda" else 1


def available_kinds() -> list[str]:
    """The devices of this machine by torch's names, best first."""
    import torch

    kinds = ["cpu"]
    if torch.backends.mps.is_available():
        kinds.insert(0, "mps")
    if torch.cuda.is_available():
        kinds.insert(0, "cuda")
    return kinds


def describe_device() -> str:
    """The device that "auto" means here, for people."""
    import torch

    if _best_kind() == "cuda":
        return f"cuda ({torch.cuda.get_device_name()})"
    return f"{_best_kind()} ({core_count()} cores)"


def core_count() -> int:
    """The cores this process may use, which a container or taskset can make fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """The processor's name as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def quiet_threads() -> None:
    """Let OpenMP's threads sleep between forward passes: spinning takes the cores that decoding needs.

    OpenMP reads this when torch is first imported, so entry points call it before.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _best_kind() -> str:
    return available_kinds()[0]
