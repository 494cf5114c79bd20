"""Results of the pipeline: plain values, which jobs.processing stores. Some are failures that the photo did not cause."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagger.errors import FailureKind, PhotoFailure
from tagger.metadata.camera import CameraFacts
from tagger.model.predictions import LabelPrediction
from tagger.photos.files import PhotoVersion


def internal_failure(error: Exception) -> PhotoFailure:
    """The failure of a photo because of an error in this program."""
    text = f"an error in this program ({type(error).__name__}: {error}); please report it, with the photo if you can"
    return PhotoFailure(FailureKind.INTERNAL, text)


def timeout_text(timeout_s: float) -> str:
    """Describe the failure of a photo that took too long to read, and what to do about it."""
    return (
        f"Reading it took longer than {timeout_s:g} s and was given up. If its disk, its share or its bucket was slow to answer, "
        "try again: tagger job retry --kind timed-out. TAGGER_READ_TIMEOUT_S allows more time."
    )


def decoding_timeout_text(timeout_s: float) -> str:
    """Describe the failure of a photo that was read and took too long to decode, and what to do about it."""
    return (
        f"Decoding it took longer than {timeout_s:g} s and was given up. Save it again, smaller or as a plain JPEG. "
        "TAGGER_READ_TIMEOUT_S allows more time."
    )


@dataclass(frozen=True)
class Classified:
    """The model's predictions, best first. `width` and `height` are those of the upright photo, in pixels.

    `embedding` is float32 (D,); None if the model gives none, or the image is damaged: an embedding of a part is no evidence.
    `colours`: those of nine parts of the image, row by row, RGB.
    """

    digest: str
    version: PhotoVersion
    facts: CameraFacts
    width: int
    height: int
    predictions: tuple[LabelPrediction, ...]
    embedding: npt.NDArray[np.float32] | None
    is_damaged: bool = False
    colours: bytes | None = None


@dataclass(frozen=True)
class AlreadyClassified:
    """The same image was classified before with the same options, in this or in another file; it was not decoded."""

    digest: str
    version: PhotoVersion
    facts: CameraFacts


@dataclass(frozen=True)
class Unchanged:
    """The file's version is the one that was classified before; it was not read."""


@dataclass(frozen=True)
class Failed:
    """The photo could not be classified. `digest`, `version` and `facts` are set if the file could be read."""

    failure: PhotoFailure
    digest: str | None = None
    version: PhotoVersion | None = None
    facts: CameraFacts | None = None


Result = Classified | AlreadyClassified | Unchanged | Failed
