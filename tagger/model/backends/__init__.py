"""What runs forward passes: the artifact's own TorchScript, or an engine that computes the same outputs.

TorchScript is the reference. Other backends are converted from it on the machine where they run, and are
chosen only if they agree with it there (see selection). Here are the interface of backends, and what a
selection depends on: model, options, and kind of machine. Machines of one kind share selections.
"""

from __future__ import annotations

import fcntl
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import IO, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from tagger.errors import Unavailable
from tagger.model.devices import (
    Device,
    engine_version,
    engine_versions,
    hardware_name,
    instruction_sets,
)
from tagger.processes.permissions import create_private_file, make_private_folder

# OpenVINO's telemetry package would report each conversion to its makers. This comes before OpenVINO.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


# `torchscript`, `openvino`, `openvino-int8`, or the name of an extension.
BackendName = str
EIGHT_BITS: BackendName = "openvino-int8"
OPENVINO: tuple[BackendName, ...] = ("openvino", EIGHT_BITS)
Images = npt.NDArray[np.uint8]  # (B, H, W, 3) RGB
Scores = npt.NDArray[np.float32]  # (B, L)
Embeddings = npt.NDArray[np.float32]  # (B, D)


class Outputs(NamedTuple):
    """What a model returns for a batch. `embeddings` is None for models of format 1, which have none.

    `things`: the scores of a model of things that runs in the same pass.
    """

    scores: Scores
    embeddings: Embeddings | None = None
    things: Scores | None = None

    def rows(self) -> Iterator[tuple[Scores, Embeddings | None]]:
        """The scores (L,) and the embedding (D,) of each image."""
        return zip(
            self.scores,
            repeat(None) if self.embeddings is None else self.embeddings,
            strict=False,
        )

    def first(self, count: int) -> Outputs:
        return Outputs._make(None if array is None else array[:count] for array in self)

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        return cls._make(
            None if arrays[0] is None else np.concatenate(arrays)
            for arrays in zip(*parts, strict=True)
        )


class Backend(Protocol):
    """Runs forward passes, at most `at_once` at a time, each in the thread of its caller."""

    @property
    def name(self) -> BackendName: ...
    @property
    def at_once(self) -> int: ...

    def forward(self, images: Images) -> Outputs:
        """Return the calibrated scores and the embeddings of a batch."""

    def free_memory(self) -> None:
        """Release memory kept for later passes: after a lack of memory, and when the model is idle."""


@dataclass(frozen=True)
class BackendOptions:
    """How to run a model. `backend` None: as selected. `at_once`: forward passes at a time."""

    backend: BackendName | None
    at_once: int


class SelectionStore(Protocol):
    """Stores selections, so that machines of one kind compare backends once."""

    def find(self, key: SelectionKey) -> BackendName | None: ...

    def store(self, key: SelectionKey, choice: BackendName) -> None: ...


class Conversions(NamedTuple):
    """What may have OpenVINO's form of a model: the package, and `folder`, with what was compiled here.

    `things`: of a model of things that repeats its first convolutions, and runs in the same pass.
    """

    artifact: Path
    digest: str
    folder: Path | None
    things: Conversions | None = None

    @property
    def digests(self) -> str:
        return (
            self.digest
            if self.things is None
            else f"{self.digest} {self.things.digest}"
        )

    def compiled(self, name: BackendName, device: Device) -> Path | None:
        if self.folder is None:
            return None
        key = " ".join(
            (
                self.digests,
                name,
                device.precision,
                *sorted(instruction_sets()),
            )
        )
        return (
            self.folder
            / f"{blake3(key.encode()).hexdigest()}-{engine_version('openvino')}"
        )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process of this machine choose a backend at a time, if `folder` can have a lock."""
        with ExitStack() as stack:
            if self.folder is not None:
                with suppress(OSError):  # a read-only home, or a share without locks
                    make_private_folder(self.folder.parent)
                    file = self.folder.with_suffix(".lock")
                    create_private_file(file)
                    _wait_for_lock(stack.enter_context(file.open("ab")))
            yield


# A choice takes seconds, or minutes if the machine is busy. A process that is stopped in it holds
# up others no longer than that.
LOCK_TIMEOUT_S = 180.0


def _wait_for_lock(file: IO[bytes]) -> None:
    # Take the lock of a file, or give up after LOCK_TIMEOUT_S.
    until = time.monotonic() + LOCK_TIMEOUT_S
    while time.monotonic() < until:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.2)
        else:
            return


# In the words of CUDA, of torch's and C++'s allocators on a CPU, of cuBLAS, and of cuDNN.
LACKS_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "bad_alloc",
    "alloc_failed",
    "allocation_failed",
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a pass failed for lack of memory. TorchScript wraps the cause, so its text is checked."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        part in text for part in LACKS_OF_MEMORY
    )


def is_passing(error: BaseException | None) -> bool:
    """Whether it may succeed later or elsewhere: a file, the installation or a lack of memory caused it."""
    if not isinstance(error, Exception):
        return False
    here = isinstance(error, OSError | ImportError | Unavailable) or is_out_of_memory(
        error
    )
    return here or is_passing(error.__cause__)


@dataclass(frozen=True)
class SelectionKey:
    """Everything that may change the result of the selection. As text, it is JSON."""

    model: str
    device: str
    precision: str
    hardware: str
    # Processors of one name may differ in them: virtual machines often name only the maker.
    instruction_sets: tuple[str, ...]
    backend: str | None
    at_once: int
    batch_size: int
    engines: tuple[str, ...]

    @classmethod
    def of(
        cls, conversions: Conversions, device: Device, options: BackendOptions
    ) -> Self:
        return cls(
            conversions.digests,
            device.kind,
            device.precision,
            hardware_name(device.kind),
            tuple(sorted(instruction_sets())),
            options.backend,
            options.at_once,
            device.batch_size,
            engine_versions(),
        )

    def __str__(self) -> str:
        return json.dumps(asdict(self))


Rows = npt.NDArray[np.float32]
# The distance between neighbouring bfloat16 values, in the bits of a float32.
_STEP = 0x10000


def round_keeping_sums(weights: Rows) -> Rows:
    """Round rows, float32 (N, K), to bfloat16, so that the rows' sums change least; float32 (N, K).

    For depthwise kernels, whose nine or so weights are all applied to one channel. If each is rounded to the
    nearest value, the errors can add up to a bias that is the same for every photo: neighbouring pixels are
    alike, so the sum of the weights is what counts. This halves the number of photos whose best label
    bfloat16 changes. Ordinary convolutions average over many channels and need no correction.

    Greedy: start from the nearest values and repeatedly flip the weight that corrects its row's sum most.
    """
    nearest = _nearest(weights)
    # The bfloat16 values on the other side of the weights.
    is_outwards = (nearest - weights) * np.sign(weights) <= 0
    step = np.where(is_outwards, _STEP, -_STEP).astype(np.int32)
    other = (nearest.view(np.int32) + step).view(np.float32)
    is_exact = nearest == weights  # never flipped: they have no rounding error
    rounded = nearest.copy()
    for _ in range(weights.shape[1]):
        error = (rounded - weights).sum(axis=1)
        flipped_error = np.abs(error[:, None] + other - nearest)
        flipped_error[is_exact | (rounded != nearest)] = np.inf
        column = flipped_error.argmin(axis=1)
        rows = np.flatnonzero(flipped_error.min(axis=1) < np.abs(error))
        if not len(rows):
            break
        rounded[rows, column[rows]] = other[rows, column[rows]]
    return rounded


def _nearest(weights: Rows) -> Rows:
    # The nearest bfloat16 values; of two as near, that with an even last bit.
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    rounded = (bits + (_STEP // 2 - 1) + (bits // _STEP & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)
