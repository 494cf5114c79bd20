"""The values that columns may hold, as types for pydantic: numbers in their ranges, texts in their form, times."""

import base64
from datetime import UTC, datetime
from typing import Annotated, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    NaiveDatetime,
    Strict,
    StringConstraints,
)

from tagger.database.enums import (
    ClockSource,
    JobKind,
    JobState,
    Outcome,
    PositionSource,
    Priority,
    Runner,
    Target,
)
from tagger.errors import FailureKind
from tagger.jobs.enqueue.backfill import BackfillScope
from tagger.library.teaching.embeddings import BOUNDS_BYTES, restore
from tagger.library.verdicts import VerdictKind
from tagger.metadata.splices import check_inverse
from tagger.photos.origin import PhotoOrigin
from tagger.system.names import SLUG_PATTERN

_MOST = 10**9
"""Sums and differences of counts have to fit PostgreSQL's 32-bit integers."""


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text has no null character")
    return text


def _bytes(value: object) -> object:
    """Bytes are base64 in an export."""
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _undoable(inverse: bytes) -> bytes:
    check_inverse(inverse)
    return inverse


def _finite(values: bytes) -> bytes:
    if len(values) % 4 or not np.isfinite(np.frombuffer(values, "<f4")).all():
        raise ValueError("not finite numbers of 32 bits")
    return values


def _embedding(data: bytes) -> bytes:
    _finite(data[:BOUNDS_BYTES])
    if len(data) <= BOUNDS_BYTES:
        raise ValueError("an embedding has dimensions")
    with np.errstate(over="ignore", invalid="ignore"):
        (values,) = restore([data], 2 * (len(data) - BOUNDS_BYTES))
        if not np.isfinite(np.vdot(values, values)):
            raise ValueError("its values are too large to be compared")
    return data


def _track_points(data: bytes) -> bytes:
    """Seconds, latitude and longitude of each point."""
    if not data or len(data) % 24 or not np.isfinite(np.frombuffer(data, "<f8")).all():
        raise ValueError("not points of three finite numbers of 64 bits")
    seconds, *position = np.frombuffer(data, "<f8").reshape(-1, 3).T
    if (np.diff(seconds) <= 0).any():
        raise ValueError("the points are not in order of time")
    if (np.abs(position) > [[90], [180]]).any():
        raise ValueError("a point is not on Earth")
    return data


LONGEST_CRON = 200

Id = Annotated[int, Field(ge=1, le=2**53)]
"""Every number of JSON is exact up to here."""
OnlyId = Literal[1]
Count = Annotated[int, Field(ge=0, le=_MOST)]
Size = Annotated[int, Field(ge=0, lt=2**63)]
Nanoseconds = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Pixels = Annotated[int, Field(ge=1, le=_MOST)]
TopK = Annotated[int, Field(ge=1, le=_MOST)]
Score = Annotated[float, Field(ge=0, le=1.001)]
"""Scores of models are rounded to 32 bits."""
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Seconds = Annotated[float, Field(ge=0, le=1e11)]
Odds = Annotated[float, Field(gt=0, le=1e6)]
Metres = Annotated[float, Field(ge=0, le=1e8)]
ClockOffset = Annotated[int, Field(ge=-_MOST, le=_MOST)]
"""Seconds. A camera whose clock was never set is decades off."""

Text = Annotated[str, AfterValidator(_storable)]
Endpoint = Annotated[str, StringConstraints(pattern=r"^https?://[^\s@/?#]+$")]
"""The URL of a server, without credentials."""
Name = Annotated[str, StringConstraints(min_length=1), AfterValidator(_storable)]
Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
FileDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ImageDigest = Annotated[str, StringConstraints(pattern=r"^[0-9]+-[0-9a-f]{64}$")]
LedgerId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}$")]
Empty = Literal[""]
Extent = Literal["point", "line", "area", "multi"]
EditableColumn = Literal[
    "name", "names", "aliases", "country", "region", "city", "latitude", "longitude", "extent"
]

Bytes = Annotated[bytes, BeforeValidator(_bytes)]
Weights = Annotated[bytes, BeforeValidator(_bytes), AfterValidator(_finite)]
Embedding = Annotated[bytes, BeforeValidator(_bytes), AfterValidator(_embedding)]
TrackPoints = Annotated[bytes, BeforeValidator(_bytes), AfterValidator(_track_points)]
Inverse = Annotated[bytes, BeforeValidator(_bytes), AfterValidator(_undoable)]

Time = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC)),
]
"""With room for every time zone."""
CameraTime = NaiveDatetime

KindOfJob = Annotated[JobKind, Strict(False)]
StateOfJob = Annotated[JobState, Strict(False)]
RunnerOfJob = Annotated[Runner, Strict(False)]
PriorityOfJob = Annotated[Priority, Strict(False)]
OutcomeOfItem = Annotated[Outcome, Strict(False)]
OutcomeOfImage = Literal["tagged", "unknown"]
TargetOfWrite = Annotated[Target, Strict(False)]
KindOfFailure = Annotated[FailureKind, Strict(False)]
OriginOfPhoto = Annotated[PhotoOrigin, Strict(False)]
SourceOfPosition = Annotated[PositionSource, Strict(False)]
SourceOfClock = Annotated[ClockSource, Strict(False)]
KindOfVerdict = Annotated[VerdictKind, Strict(False)]
Scope = Annotated[BackfillScope, Strict(False)]
