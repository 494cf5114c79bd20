"""What looking at one photo gave: plain values that cross from the pipeline to the ledger and the library."""

from dataclasses import dataclass

from tagger.errors import PhotoFailure
from tagger.metadata.camera import CameraFacts


@dataclass(frozen=True)
class Prediction:
    """One landmark the model sees. `position` is the label's place in the model's manifest; `rank` counts from 1."""

    position: int
    rank: int
    score: float
    accepted: bool


@dataclass(frozen=True)
class FileState:
    """A file as it was when its bytes were read; a later scan compares, and reads again only what changed."""

    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Looked:
    """The model looked: its top-k, best first. `width` and `height` are the upright photo's."""

    digest: str
    file: FileState
    facts: CameraFacts
    width: int
    height: int
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class Known:
    """The same picture was looked at before by the same model, in this or another file: only its digest was needed."""

    digest: str
    file: FileState
    facts: CameraFacts


@dataclass(frozen=True)
class Unchanged:
    """The file is the one that was looked at before; it was not even read."""


@dataclass(frozen=True)
class Failed:
    """The photo could not be looked at. `digest` and `file` are there if its bytes could at least be read."""

    failure: PhotoFailure
    digest: str | None = None
    file: FileState | None = None


@dataclass(frozen=True)
class Dealt:
    """A photo whose metadata was to be written or taken back; nobody looked at the picture. `text` says what came of it."""

    text: str


Result = Looked | Known | Unchanged | Failed
