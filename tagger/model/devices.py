"""Chooses the device, the precision, and the number of forward passes at a time, within cgroups' limits."""

import importlib
import math
import mmap
import os
import platform
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tagger.errors import SettingsInvalid, Unavailable
from tagger.extensions import install_command, is_installed

if TYPE_CHECKING:
    import torch


# Larger batches are slower on a CPU (measured): they do not fit its caches.
CPU_BATCH = 8
GPU_BATCH = 256

Precision = Literal["float32", "bfloat16"]
# In /dev, with a driver of a GPU that torch may use: of NVIDIA, Jetson, AMD, and Windows'
# subsystem.
GPU_FILES = ("nvidia*", "nvhost*", "kfd", "dxg")


# Linux's names of those by which the engines choose their kernels.
INSTRUCTION_SETS = frozenset(
    (
        "avx2",
        "avx_vnni",
        "avx512f",
        "avx512_vnni",
        "avx512_bf16",
        "amx_int8",
        "amx_bf16",
    )
)
# Values of ONEDNN_MAX_CPU_ISA, with which both engines compute as on an older processor.
ISA_LIMITS: dict[str, set[str]] = {
    "SSE41": set(),
    "AVX": set(),
    "AVX2": {"avx2"},
    "AVX2_VNNI": {"avx2", "avx_vnni"},
    "AVX512_CORE": {"avx2", "avx512f"},
    "AVX512_CORE_VNNI": {"avx2", "avx512f", "avx512_vnni"},
    "AVX512_CORE_BF16": {"avx2", "avx512f", "avx512_vnni", "avx512_bf16"},
}


@dataclass(frozen=True)
class Device:
    """`kind` is torch's name of the device, `precision` and `batch_size` are those of forward passes."""

    kind: str
    precision: Precision
    batch_size: int

    def require_machine_code(self) -> None:
        """Check that engines may compile models, as all do for processors.

        Raises:
            Unavailable: the system refuses memory that is written and executed.
        """
        if self.kind != "cpu" or sys.platform != "linux":
            return
        try:
            mmap.mmap(
                -1, 1, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
            ).close()
        except OSError as error:
            reason = (
                f"No model can run: the system refuses memory for machine code ({error.strerror}). Turn off "
                "MemoryDenyWriteExecute of systemd, or what else forbids it here."
            )
            raise Unavailable(reason=reason) from error

    @property
    def dtype(self) -> "torch.dtype":
        import torch

        dtype: torch.dtype = getattr(torch, self.precision)
        return dtype


def choose_device(name: str, batch_size: int | None) -> Device:
    """Return the device `name` of this machine; "auto" is the best available one.

    Raises:
        SettingsInvalid: the machine has no such device.
    """
    kinds = available_kinds()
    kind = kinds[0] if name == "auto" else name
    if kind not in kinds:
        lack = (
            ""
            if is_installed("torch")
            else f", or it lacks torch: {install_command('torch')}"
        )
        raise SettingsInvalid(
            reason=f"device: this machine has no {kind}; use auto or cpu{lack}"
        )
    if kind == "cpu":
        return Device(
            kind,
            "float32" if cpu_emulates_bfloat16() else "bfloat16",
            batch_size or CPU_BATCH,
        )
    # Decoding is slower than any precision of a GPU, so it computes in the most exact one.
    return Device(
        kind, "float32", batch_size or (GPU_BATCH if kind == "cuda" else CPU_BATCH)
    )


def cpu_emulates_bfloat16() -> bool:
    """Whether the CPU lacks instructions for bfloat16, which is then many times slower than float32."""
    if platform.system() == "Linux":  # without torch, which takes a second to import
        return "avx512_bf16" not in instruction_sets()
    if not is_installed("torch"):
        return True
    import torch

    return not torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - torch has no public name for it


def cpu_has_vnni() -> bool:
    """Whether the CPU adds products of eight-bit integers in 32 bits, as far as it is known."""
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(instruction_sets())


def instruction_sets() -> frozenset[str]:
    """Those of INSTRUCTION_SETS that the engines may use, as far as it is known."""
    names = map(os.environ.get, ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"))
    limit = ISA_LIMITS.get(next(filter(None, names), "").upper(), INSTRUCTION_SETS)
    return INSTRUCTION_SETS.intersection(limit, _processor_facts("flags").split())


def passes_at_once(device: Device, threads: int | None) -> int:
    """Return how many forward passes to run at a time.

    On a CPU, one per core: a pass on several threads waits for the slowest thread in every layer.
    """
    return (threads or core_count()) if device.kind == "cpu" else 1


# Cores that the threads of one process keep busy: a thread in three or four holds the interpreter's
# lock, more often where a GPU computes and photos are small (docs/explanation/performance.md).
CORES_PER_PROCESS = 4
# The memory of one process, with its part of the images that are decoded (measured: 1.1 GiB, and
# images).
PROCESS_BYTES = 3 * 2**29
# The part of a GPU's memory that processes share out for tensors. CUDA needs more in each of them.
GPU_SHARED_OUT = 0.9


def process_count(threads: int | None) -> int:
    """Return how many processes keep these threads or all cores busy, as far as there is memory for them."""
    if os.name != "posix":
        return 1
    return max(
        1,
        min(
            (threads or core_count()) // CORES_PER_PROCESS,
            _memory_bytes() // PROCESS_BYTES,
        ),
    )


def thread_share(threads: int | None, processes: int, number: int) -> int:
    """Return the part of the threads, by default one per core, of the process with a number from 1."""
    whole, rest = divmod(threads or core_count(), processes)
    return max(1, whole + (number <= rest))


def limit_gpu_memory(device: str, processes: int) -> None:
    """Let this process, one of several, take its share of a CUDA device's memory, and no more.

    The card's whole memory is shared out, not what is free now: a process that is started again finds that
    of the others in use. If another program needs the rest, batches get smaller.
    """
    if device in ("auto", "cuda") and "cuda" in available_kinds():
        import torch

        torch.cuda.set_per_process_memory_fraction(GPU_SHARED_OUT / processes)


def available_kinds() -> list[str]:
    """Return torch's names of the devices, best first. Imports torch only where there may be a GPU."""
    if not _may_have_gpu():
        return ["cpu"]
    import torch

    kinds = ["cpu"]
    if torch.backends.mps.is_available():
        kinds.insert(0, "mps")
    if torch.cuda.is_available():
        kinds.insert(0, "cuda")
    return kinds


def _may_have_gpu() -> bool:
    is_linux = platform.system() == "Linux"
    has_file = any(next(Path("/dev").glob(name), None) for name in GPU_FILES)
    return is_installed("torch") and (has_file or not is_linux)


def import_ahead(device: str, backend: str) -> None:
    """Import torch in a thread if models will need it. This is half of a program's start on a GPU.

    `device` and `backend` are those of the settings. Meanwhile, the program connects, or scans folders.
    """
    if backend == "torchscript" or (device != "cpu" and _may_have_gpu()):
        # Where it cannot be imported, the model says why. No daemon: to end within the import is to abort.
        threading.Thread(target=_import_torch, name="import").start()


def _import_torch() -> None:
    with suppress(ImportError, OSError):
        importlib.import_module("torch")


def describe_device() -> str:
    kind = available_kinds()[0]
    facts = hardware_name(kind) if kind == "cuda" else f"cores: {core_count()}"
    return f"{kind} ({facts})"


def core_count() -> int:
    """Return the number of cores this process may use, within the limits of a container or taskset."""
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )
    limit = cpu_limit()
    return cores if limit is None else min(cores, max(1, math.ceil(limit)))


def hardware_name(kind: str) -> str:
    if kind != "cuda":
        return (
            _processor_facts("model name") or platform.processor() or platform.machine()
        )
    import torch

    return torch.cuda.get_device_name()


def _processor_facts(field: str) -> str:
    # The value of a field of the first processor in /proc/cpuinfo; empty where there is none.
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith(field)),
        "",
    )


def engine_versions() -> tuple[str, ...]:
    return tuple(f"{name} {engine_version(name)}" for name in ("torch", "openvino"))


def engine_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_limit(root: Path = Path("/")) -> float | None:
    """The number of cores whose time this process may use, like 1.5; None without a limit."""
    limits: list[float] = []
    for folder in _groups(root, "cpu"):
        # No such file, or no limit: "max 100000".
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text().split()
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _memory_bytes() -> int:
    # The memory that this process may take without being slowed down: the machine's, or its group's.
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, memory_limit(names=(*MEMORY_LIMITS, "memory.high")) or machine)


# The files of both versions of control groups.
MEMORY_LIMITS = ("memory.max", "memory.limit_in_bytes")


def memory_limit(
    root: Path = Path("/"), names: Sequence[str] = MEMORY_LIMITS
) -> int | None:
    """The most memory in bytes that this process may take; None without a limit. `root` has proc and sys."""
    folders = _groups(root, "memory")
    limits: list[int] = []
    for folder in folders:
        for name in names:
            with suppress(OSError, ValueError):  # no such file, or no limit: "max"
                limits.append(int((folder / name).read_text()))
    return min(limits, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    # The folders of this process's group and its parents, whose limits count too.
    # In a container, the path can be that of the host, and its folder is the root of the mount.
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / controllers
        folder = base / path.strip("/")
        yield folder
        yield from (parent for parent in folder.parents if parent.is_relative_to(base))
