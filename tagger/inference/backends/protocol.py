"""The interfaces of backends and of JPEG decoders, and the options that choose them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tagger.images import Pixels
from tagger.images.plain_jpeg import PlainJpeg

if TYPE_CHECKING:
    from tagger.inference.backends.selection_key import SelectionKey

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


class Decoder(Protocol):
    """Decodes plain JPEGs at the model's input size. Thread-safe."""

    @property
    def works(self) -> bool:
        """False once decoding has failed permanently."""
        ...

    def decode(self, photos: Sequence[PlainJpeg]) -> list[Pixels | None]:
        """Return one upright image per photo, in order; None for those that it cannot decode."""
        ...


@dataclass(frozen=True)
class BackendOptions:
    """How to run a model.

    `backend`, `batch_size`: None leaves the choice to the backend selection. `at_once`: forward passes at a time.
    `gpu_jpeg`: let a GPU decode JPEGs if that is faster (experimental).
    """

    backend: BackendName | None
    at_once: int
    batch_size: int | None
    gpu_jpeg: bool = False


@dataclass(frozen=True)
class BackendChoice:
    """What was selected: a backend, its batch size, and whether the device decodes JPEGs."""

    backend: BackendName
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    decodes_jpegs: bool = False


class SelectionStore(Protocol):
    """Stores selections, so that later starts need not measure them again, on this machine and on others of its kind."""

    def find(self, key: "SelectionKey") -> BackendChoice | None: ...

    def store(self, key: "SelectionKey", choice: BackendChoice) -> None: ...


def is_out_of_memory(error: Exception) -> bool:
    """Whether a forward pass failed for lack of memory. TorchScript wraps the cause, so only its text can be checked."""
    text = str(error).lower()
    # A CPU's allocator reports it in its own words.
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
