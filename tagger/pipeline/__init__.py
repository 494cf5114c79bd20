"""Requests to classify photos, the readers that open them, and their results, which are plain values.

Knows nothing of threads, batches or SQL.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tagger.errors import FailureKind, PhotoFailure
from tagger.metadata.camera import camera_facts
from tagger.metadata.stated_facts import SideFacts
from tagger.model import LabelPrediction
from tagger.photos import CameraFacts
from tagger.photos.decoding import DecodedImage, Resize, decode_photo
from tagger.photos.decoding.raw_development import NoPreview
from tagger.photos.files import PhotoBytes, PhotoVersion
from tagger.photos.formats import LIBRAW, digest_container, read_container
from tagger.photos.side_files import SideFile
from tagger.photos.source import PhotoSource
from tagger.processes.metrics import stage_timer

log = logging.getLogger(__name__)


def internal_failure(error: Exception) -> PhotoFailure:
    what = f"an error in this program ({type(error).__name__}: {error})"
    text = f"{what}; please report it, with the photo if you can"
    return PhotoFailure(FailureKind.INTERNAL, text)


def last_line(error: Exception) -> str:
    """The last line of torch's message names the cause; the lines before show TorchScript's stack."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def timeout_text(timeout_s: float) -> str:
    return (
        f"Reading it took longer than {timeout_s:g} s and was given up. If its disk, its share or its bucket "
        "was slow to answer, try again: tagger job retry --kind timed-out. TAGGER_READ_TIMEOUT_S allows more "
        "time."
    )


@dataclass(frozen=True)
class ModelResult:
    """A model's predictions, best first.

    `embedding`: float32 (D,); None if the model gives none, or the image is damaged, which is no evidence.
    """

    predictions: tuple[LabelPrediction, ...]
    embedding: npt.NDArray[np.float32] | None


@dataclass(frozen=True)
class Classified:
    """The results of models, by their ids. `width` and `height` are those of the upright photo, in pixels.

    `colours`: those of nine parts of the image, row by row, RGB.
    """

    digest: str
    version: PhotoVersion
    facts: CameraFacts
    width: int
    height: int
    results: Mapping[int, ModelResult]
    is_damaged: bool = False
    colours: bytes | None = None

    @property
    def is_tagged(self) -> bool:
        return any(
            tag.accepted for each in self.results.values() for tag in each.predictions
        )


@dataclass(frozen=True)
class AlreadyClassified:
    """The same image was classified before with the same options, in this or another file."""

    digest: str
    version: PhotoVersion
    facts: CameraFacts


@dataclass(frozen=True)
class Unchanged:
    """The file's version is the one that was classified before; it was not read."""


@dataclass(frozen=True)
class Failed:
    """The photo could not be classified. The other fields are set if the file could be read."""

    failure: PhotoFailure
    digest: str | None = None
    version: PhotoVersion | None = None
    facts: CameraFacts | None = None


Result = Classified | AlreadyClassified | Unchanged | Failed


@dataclass(frozen=True)
class Limits:
    """`readers` threads read and decode. Larger files (`max_bytes`) and images (`max_pixels`) fail.

    A photo that takes longer than `timeout_s` to read and decode fails. One that changed less than `settle_s`
    ago fails as `settling`: it may still be being written.
    """

    readers: int
    max_bytes: int
    max_pixels: int
    timeout_s: float = 120.0
    settle_s: float = 0.0


@dataclass(frozen=True)
class OpenPhoto:
    """A photo in memory. `decode` is called at most once for each size and may raise `PhotoFailed`."""

    digest: str
    version: PhotoVersion
    facts: CameraFacts
    decode: Callable[[Resize], DecodedImage]


# Decodes a RAW photo without a preview in another process, or raises `PhotoFailed`.
Developer = Callable[[PhotoBytes, Resize], DecodedImage]
# Opens the photo of a source at a path, or raises `PhotoFailed`.
Reader = Callable[[PhotoSource, str], OpenPhoto]
# Opens a photo that is in memory, or raises `PhotoFailed`.
Opener = Callable[[PhotoBytes], OpenPhoto]


class ResultSink(Protocol):
    """Receives the results of the requests that name it. The pipeline's threads call all methods."""

    @property
    def top_k(self) -> int: ...
    @property
    def thresholds(self) -> Mapping[int, float]:
        """The models to classify with, by their ids, with their thresholds."""

    def lacking_models(self, digest: str) -> Sequence[int]:
        """Those models that have not classified the image yet. Without any, it need not be decoded."""

    def deliver(self, results: "Sequence[RequestResult]") -> None:
        """Take results. Must return quickly."""

    def fail(self, error: Exception) -> None:
        """The pipeline failed: requests without a result will not get one."""


@dataclass(eq=False)
class Request:
    """A photo to classify, and how far the pipeline is with it.

    `classified`: the version that was classified before; the photo is not read if it still has it.
    `reader`: opens the photo in place of the pipeline's own reader.
    `side_files` are read with the photo, and `side_facts` are what they state.
    `size_bytes`: the size of the photo, for the memory of its read: as found, then as read.

    `models`: those that have yet to classify it. Either the reader settles a read or, after a timeout, the
    watch thread. `digest`, `version` and `facts` are set together, once the photo has been read and waits for
    the result of its image.
    """

    source: PhotoSource
    path: str = field(repr=False)
    sink: ResultSink
    classified: PhotoVersion | None = None
    reader: Reader | None = None
    size_bytes: int = 0
    side_files: tuple[SideFile, ...] = ()
    side_facts: SideFacts = field(default=(), init=False, repr=False)
    started_at: float = field(default=math.inf, init=False)
    is_settled: bool = field(default=False, init=False)
    is_abandoned: bool = field(default=False, init=False)
    digest: str | None = field(default=None, init=False)
    version: PhotoVersion = field(init=False, repr=False)
    facts: CameraFacts = field(init=False, repr=False)
    models: tuple[int, ...] = field(default=(), init=False)

    @property
    def image(self) -> "ImageKey | None":
        """The image that it waits for; None before it is read."""
        return None if self.digest is None else (self.digest, self.models)

    def failed(self, failure: PhotoFailure) -> Failed:
        return (
            Failed(failure)
            if self.digest is None
            else Failed(failure, self.digest, self.version, self.facts)
        )


RequestResult = tuple[Request, Result]
# An image by its digest, and the models that classify it.
ImageKey = tuple[str, tuple[int, ...]]
# An image in the sizes of its models.
Images = Mapping[Resize, DecodedImage]


def deliver(sink: ResultSink, results: Sequence[RequestResult]) -> None:
    """Give results to a sink. If it raises an error, it has failed, and the thread goes on for others."""
    try:
        sink.deliver(results)
    except Exception as error:
        log.exception("results could not be delivered")
        fail_sink(sink, error)


def fail_sink(sink: ResultSink, error: Exception) -> None:
    """Tell a sink that its missing results will not come. The thread goes on, whatever the sink raises."""
    try:
        sink.fail(error)
    except Exception:
        log.exception("a failure could not be delivered")


def read_photo_bytes(source: PhotoSource, path: str, limits: Limits) -> PhotoBytes:
    with stage_timer("read"):
        return source.read(path, max_bytes=limits.max_bytes, settle_s=limits.settle_s)


def open_bytes(
    photo: PhotoBytes, limits: Limits, develop: Developer | None = None
) -> OpenPhoto:
    def decode(resize: Resize) -> DecodedImage:
        try:
            with stage_timer("decode"):
                return decode_photo(
                    photo.data,
                    resize,
                    max_pixels=limits.max_pixels,
                    orientation=orientation,
                )
        except NoPreview:
            if develop is None or not LIBRAW.is_installed:
                raise
        return develop(photo, resize)

    with stage_timer("digest"):
        container = read_container(photo.data)
        orientation = None if container is None else container.orientation
        digest, facts = (
            digest_container(container, photo.data),
            camera_facts(photo.data, container),
        )
        return OpenPhoto(digest, photo.version, facts, decode)
