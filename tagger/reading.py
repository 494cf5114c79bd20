"""One photo on its way from a path to pixels: who asks for it, who reads it, and what stands in between.

Knows nothing of threads, batches or SQL: the pipeline takes requests and gives each to a reader.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from tagger.errors import FailureKind, PhotoFailure
from tagger.images import DecodedImage, Resize, decode_photo
from tagger.images.plain_jpeg import PlainJpeg, plain_jpeg
from tagger.metadata.camera import CameraFacts, camera_facts
from tagger.metrics import staged
from tagger.photos import PhotoBytes, digest_photo, read_photo
from tagger.results import FileState, Result

READ_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Limits:
    """`readers` threads read and decode; no file over `max_bytes` is read, no image over `max_pixels` decoded.

    A photo that takes longer than `timeout_s` is given up.
    """

    readers: int
    max_bytes: int
    max_pixels: int
    timeout_s: float = READ_TIMEOUT_S


@dataclass(frozen=True)
class OpenPhoto:
    """A photo whose bytes were read. `decode` gives its pixels, and may raise `PhotoFailed`; it is called at most once.

    `plain` is its picture as it stands in the file, where the device may decode it.
    """

    digest: str
    file: FileState
    facts: CameraFacts
    decode: Callable[[], DecodedImage]
    plain: PlainJpeg | None = None


Reader = Callable[[Path], OpenPhoto]
"""Opens a photo or raises `PhotoFailed`."""


class Sink(Protocol):
    """Whoever submits requests. All methods are called from the pipeline's threads."""

    @property
    def top_k(self) -> int: ...
    @property
    def threshold(self) -> float: ...

    def is_known(self, digest: str) -> bool:
        """Whether this picture needs no second look."""
        ...

    def deliver(self, answers: "Sequence[Answer]") -> None:
        """Take results; must not block for long."""
        ...

    def broken(self, error: Exception) -> None:
        """The pipeline failed as a whole; what was submitted and not delivered will not come."""
        ...


@dataclass(frozen=True, eq=False)
class Request:
    """A photo to look at. `looked`: the file as it was when the same look was taken before; if it still is, it is not read.

    `reader` opens it in another way than in this process.
    """

    path: Path = field(repr=False)
    sink: Sink
    looked: FileState | None = None
    reader: Reader | None = None


Answer = tuple[Request, Result]


def reader_here(resize: Resize, limits: Limits, hands_over: Callable[[], bool] = lambda: False) -> Reader:
    """A reader in this process; while it `hands_over`, it looks out for plain JPEGs, which the device decodes."""

    def read(path: Path) -> OpenPhoto:
        with staged("read"):
            photo = read_photo(path, max_bytes=limits.max_bytes)
        opened = open_bytes(photo, resize, limits)
        if not hands_over():
            return opened
        return replace(opened, plain=plain_jpeg(photo.data, max_pixels=limits.max_pixels))

    return read


def open_bytes(photo: PhotoBytes, resize: Resize, limits: Limits) -> OpenPhoto:
    """A photo whose bytes are there already, wherever they came from."""

    def decode() -> DecodedImage:
        with staged("decode"):
            return decode_photo(photo.data, resize, max_pixels=limits.max_pixels)

    file = FileState(photo.size_bytes, photo.mtime_ns)
    with staged("digest"):
        return OpenPhoto(digest_photo(photo.data), file, camera_facts(photo.data), decode)


def unforeseen(error: Exception) -> PhotoFailure:
    """The failure of a photo by a mistake of ours."""
    text = f"an error in this program ({type(error).__name__}: {error}); please report it, with the photo if you can"
    return PhotoFailure(FailureKind.INTERNAL, text)


def timed_out_text(timeout_s: float) -> str:
    """What a person reads of a photo that was given up."""
    return (
        f"Reading it took longer than {timeout_s:g} s and was given up. If its disk or share was slow to answer, "
        "try again: tagger retry --kind timed-out. TAGGER_READ_TIMEOUT_S allows more time."
    )
