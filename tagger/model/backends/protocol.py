"""The interface of backends, and the options that choose one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

if TYPE_CHECKING:
    from tagger.model.backends.selection_key import SelectionKey

BackendName = Literal["torchscript", "openvino"]
Images = npt.NDArray[np.uint8]  # (B, H, W, 3) RGB
Scores = npt.NDArray[np.float32]  # (B, L)
Embeddings = npt.NDArray[np.float32]  # (B, D)


class Outputs(NamedTuple):
    """What a model returns for a batch. `embeddings` is None for models of format 1, which have none."""

    scores: Scores
    embeddings: Embeddings | None


class Backend(Protocol):
    """Runs forward passes, at most `at_once` at a time, each in the thread of its caller."""

    @property
    def name(self) -> BackendName: ...
    @property
    def at_once(self) -> int: ...

    def empty(self, count: int) -> Images:
        """Allocate a batch of `count` images in the memory from which `forward` copies fastest."""
        ...

    def forward(self, images: Images) -> Outputs:
        """Return the calibrated scores and the embeddings of a batch."""
        ...

    def free_memory(self) -> None:
        """Release memory that is kept for later passes: after a pass ran out of memory, and when the model is idle."""
        ...


@dataclass(frozen=True)
class BackendOptions:
    """How to run a model.

    `backend`, `batch_size`: None leaves the choice to the backend selection. `at_once`: forward passes at a time.
    """

    backend: BackendName | None
    at_once: int
    batch_size: int | None


@dataclass(frozen=True)
class BackendChoice:
    """What was selected: a backend and its batch size."""

    backend: BackendName
    batch_size: Annotated[int, Field(ge=1, le=4096)]


class SelectionStore(Protocol):
    """Stores selections, so that later starts need not measure them again, on this machine and on others of its kind."""

    def find(self, key: "SelectionKey") -> BackendChoice | None: ...

    def store(self, key: "SelectionKey", choice: BackendChoice) -> None: ...


def is_out_of_memory(error: Exception) -> bool:
    """Whether a forward pass failed for lack of memory. TorchScript wraps the cause, so only its text can be checked."""
    text = str(error).lower()
    # A CPU's allocator reports it in its own words.
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
