"""Documents of photos: found, in a timeline, on a map, alike, classified by a request, and in trips."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tagger.library.query.details import Failure, LastJob, MetadataWrite, PositionEvidence, Verdict
from tagger.library.query.tagged_photos import Position, Tag
from tagger.library.query.trip_summaries import TripLandmark
from tagger.library.trips.names import VisitedPlace
from tagger.web.api.schemas.verdicts import Dismissal


@dataclass
class Photo:
    """A photo and its tags. `outcome` respects verdicts, and is null before classification. `dismissed`: a person put it away as not a landmark."""

    id: int
    path: str
    outcome: str | None
    digest: str | None
    width: int | None
    height: int | None
    taken_at: datetime | None
    dismissed: bool
    files: int
    position: Position | None
    tags: list[Tag]


@dataclass
class PhotoPage:
    """A page of photos; `next` is null on the last page."""

    photos: list[Photo]
    next: str | None


@dataclass
class PhotoNeighbours:
    """The photos before and after one in a list, the nearest first."""

    previous: list[Photo]
    next: list[Photo]


@dataclass
class FacetValue:
    """A choice of a filter: its `value` as an option of the query, its name, and its number of photos."""

    value: str
    name: str
    photos: int


@dataclass
class Facet:
    """The choices of a filter. `exact` is false if a choice may have more photos than its number says.

    An `outcome` is the name of an option, and a `folder` is a value of `under`. Of `position`, `outcome` and `verdict`, a query has one
    choice; the other options may be repeated: photos of any of the choices. `default` is how many photos the query finds if no `outcome`
    is chosen: those with a landmark, unless another filter finds others too. It is null for other facets. `more`: how many choices are
    left out, because 200 others have at least as many photos or come before them.
    """

    facet: Literal["landmark", "country", "year", "camera", "position", "outcome", "verdict", "folder"]
    exact: bool
    values: list[FacetValue]
    default: int | None
    more: int


@dataclass
class TimelineSection:
    """The photos of a month, and their mean `aspect`: width divided by height.

    `month` is null for photos without a date, and where a result is not in order of time.
    """

    month: str | None
    photos: int
    aspect: float


@dataclass
class TimelinePhoto:
    """A photo in brief: its accepted landmark with the score, and how many `copies` of its image there are, itself included.

    `guess`: what a photo without one perhaps shows, in words, with the score. `confirmed`: a person confirmed the landmark; `dismissed`: a
    person put the photo away as not a landmark. `files`: how many files it has, two for a JPEG with its RAW file.
    """

    id: int
    file: str
    files: int
    digest: str | None
    width: int | None
    height: int | None
    taken_at: datetime | None
    name: str | None
    score: float | None
    guess: str | None
    confirmed: bool
    dismissed: bool
    copies: int


@dataclass
class TimelinePage:
    """A page of photos; `next` is null at the end of the section."""

    photos: list[TimelinePhoto]
    next: str | None


@dataclass
class TimelineIds:
    """A page of ids; `next` is null on the last page."""

    ids: list[int]
    next: str | None


@dataclass
class PositionCell:
    """The number of `photos` within `radius_km` of a position, of those with a position from `source`.

    `city` and `country` are null if these photos have several.
    """

    source: str
    photos: int
    latitude: float
    longitude: float
    radius_km: float
    city: str | None
    country: str | None


@dataclass
class SimilarPhoto(Photo):
    """A photo, and its `similarity` to another one, -1 to 1."""

    similarity: float


@dataclass
class SearchResult:
    """Something that the text may mean. `options` are those of a query for its photos, `address` is its page.

    `photos` is null if they are not counted. `similar`: its name only resembles the text.
    """

    kind: Literal["date", "landmark", "country", "city", "trip", "folder", "file"]
    label: str
    detail: str
    photos: int | None
    similar: bool
    options: dict[str, str]
    address: str


@dataclass
class PhotoDetails(Photo):
    """Everything about a photo; `tags` is the whole top-k, `evidence` what its position follows from."""

    evidence: PositionEvidence | None
    camera: str | None
    size_bytes: int
    gone_since: datetime | None
    latitude: float | None
    longitude: float | None
    model: str | None
    top_k: int | None
    threshold: float | None
    classified_at: datetime | None
    job: LastJob | None
    failure: Failure | None
    metadata: list[MetadataWrite]
    verdicts: list[Verdict]
    dismissal: Dismissal | None
    raw_files: list[str]
    copies: list[str]


@dataclass
class Trip:
    """A trip. `first` and `last` are local times of its photos; `places` and `landmarks` have most photos first."""

    trip: str
    name: str
    dates: str
    first: datetime
    last: datetime
    photos: int
    places: list[VisitedPlace]
    landmarks: list[TripLandmark]


@dataclass
class PredictedTag:
    """A landmark and its score."""

    landmark: str
    name: str
    label: str
    score: float
    rank: int
    accepted: bool
    country: str | None
    latitude: float | None
    longitude: float | None
    model: str


@dataclass
class Prediction:
    """The top-k of an uploaded photo."""

    path: str
    outcome: Literal["tagged", "unknown"]
    tags: list[PredictedTag]
    milliseconds: float


@dataclass
class FailedPrediction:
    """Why an uploaded photo was not classified."""

    path: str
    outcome: Literal["failed"]
    kind: str
    text: str
    error: str
