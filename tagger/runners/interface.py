"""What the model asks of a runner, and the pipeline of a decoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tagger.images import Pixels
from tagger.images.plain_jpeg import PlainJpeg

RunnerName = Literal["torchscript", "openvino"]
Images = npt.NDArray[np.uint8]  # (B, H, W, 3) RGB
Scores = npt.NDArray[np.float32]  # (B, L)


class Runner(Protocol):
    """Runs forward passes; up to `at_once` threads may do so at a time."""

    @property
    def name(self) -> RunnerName: ...
    @property
    def at_once(self) -> int: ...

    def empty(self, count: int) -> Images:
        """Memory for a batch of `count` images, to be filled and passed to `forward`; there its copying costs least."""
        ...

    def forward(self, images: Images) -> Scores:
        """Calibrated scores of a batch."""
        ...

    def free_memory(self) -> None:
        """Give back what a failed pass had taken on the device."""
        ...


class Decoder(Protocol):
    """Decodes plain JPEGs at the model's input size; any thread may ask."""

    @property
    def works(self) -> bool:
        """Whether it is worth asking."""
        ...

    def decode(self, photos: Sequence[PlainJpeg]) -> list[Pixels | None]:
        """Upright images, one for each photo; None for each that it cannot decode, whatever the cause."""
        ...


@dataclass(frozen=True)
class Plan:
    """What to run a model with: the runner's name, the most images of a forward pass, and whether the device decodes JPEGs."""

    runner: RunnerName
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    decodes_jpegs: bool = False


def is_out_of_memory(error: Exception) -> bool:
    """Whether a pass failed for want of memory: TorchScript wraps what went wrong inside it, so that only the words are left."""
    words = str(error).lower()
    # A CPU's allocator has words of its own.
    return isinstance(error, MemoryError) or "out of memory" in words or "can't allocate memory" in words
