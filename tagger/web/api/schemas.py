"""The API's documents, for OpenAPI and generated clients only; nothing is created or validated by them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tagger.database.audit_log import AuditEntry
from tagger.enqueue.ticks import LastTick
from tagger.ledger.progress import JobProgress
from tagger.ledger.workers import DeviceStatus, WorkerStatus
from tagger.query.details import Failure, LastJob, MetadataWrite, Verdict
from tagger.query.position_evidence import PositionEvidence
from tagger.query.tagged_photos import Position, Tag
from tagger.query.trip_summaries import TripLandmark
from tagger.trips.names import VisitedPlace


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
    choice; the other options may be repeated: photos of any of the choices.
    """

    facet: Literal["landmark", "country", "year", "camera", "position", "outcome", "verdict", "folder"]
    exact: bool
    values: list[FacetValue]


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
class Place:
    """Where a landmark is. The coordinates are null if only the city is known, the city is null far from every city."""

    city: str | None
    region: str | None
    country: str | None
    latitude: float | None
    longitude: float | None


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
class TaughtLandmark:
    """A landmark after it was taught: from how many `examples`, how many photos were `compared`, and what was found.

    `precision`: the part of the tagged photos that is probably right. `left_out`: photos that have no embedding.
    """

    landmark: str
    examples: int
    rejected: int
    compared: int
    tagged: int
    suggested: int
    precision: float | None
    seconds: float
    left_out: list[int]


@dataclass
class Dismissal:
    """Who put the photo away as not a landmark, and when."""

    given_by: str | None
    given_at: datetime


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
class Landmark:
    """A landmark. `names` are by language, `edited` the columns that a person set, `own`: no registered model knows it."""

    landmark: str
    name: str
    names: dict[str, str]
    aliases: list[str]
    country: str | None
    region: str | None
    city: str | None
    latitude: float | None
    longitude: float | None
    extent: str | None
    edited: list[str]
    merged_slugs: list[str]
    own: bool
    dry_run: bool


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
class EditedLandmark(Landmark):
    """A landmark after an edit, and the columns that changed."""

    changed: list[str]


@dataclass
class MergedLandmark(Landmark):
    """A landmark after another one (`merged`) was merged into it, with the numbers of what came from that one.

    `replaced`: opposite verdicts on the same image, of which the newer one stays. `taught_tags`: what was learned for it
    and is gone.
    """

    merged: str
    verdicts: int
    tags: int
    replaced: int
    taught_tags: int


@dataclass
class RemovedLandmark:
    """A removed landmark, the verdicts that went with it, and the schedules that select photos by it."""

    landmark: str
    name: str
    confirmed: int
    rejected: int
    taught_tags: int
    schedules: list[str]
    dry_run: bool


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


@dataclass
class Model:
    """A registered model."""

    name: str
    digest: str
    file: str
    in_use: bool
    shipped: bool
    labels: int
    threshold: float
    created_at: datetime
    metrics: dict[str, Any]


@dataclass
class VerdictResult:
    """A landmark's verdict on a photo after the request, and `before` it."""

    path: str
    digest: str
    landmark: str
    name: str
    verdict: str | None
    before: str | None
    changed: bool
    photos: int
    dry_run: bool


@dataclass
class ListedVerdict:
    """A verdict on an image; `path` is one of its photos, null if there is none now."""

    path: str | None
    landmark: str
    name: str
    verdict: str
    by: str | None
    at: datetime
    digest: str


@dataclass
class VerdictPage:
    """A page of verdicts; `next` is null on the last page."""

    verdicts: list[ListedVerdict]
    next: str | None


@dataclass
class ChangedVerdict:
    """A photo whose verdict changed, and the verdict before."""

    photo: int
    before: str | None


@dataclass
class QueryVerdictResult:
    """A verdict on all photos of a query; `replaced` is how many had the other verdict."""

    verdict: str
    photos: int
    tags: int
    replaced: int
    dry_run: bool


@dataclass
class PhotosVerdictResult(QueryVerdictResult):
    """A verdict on a list of photos; those in `left_out` are not classified."""

    changed: list[ChangedVerdict]
    left_out: list[int]


@dataclass
class DismissedPhotos:
    """The photos that the request changed, and those that it did not: they are as requested already (`unchanged`), have a confirmed
    landmark, or are not classified (`left_out`).
    """

    changed: list[int]
    unchanged: list[int]
    confirmed: list[int]
    left_out: list[int]
    dry_run: bool


@dataclass
class Share:
    """A share without its link. `options` are those of its query, `description` says them in words.

    `photos`: the number of photos of a fixed selection; of a query, that of now if one share is asked for, else null. `author`: who
    made it, as in the audit log.
    """

    id: int
    name: str
    state: Literal["active", "expired", "revoked"]
    options: dict[str, Any] | None
    description: str
    photos: int | None
    with_positions: bool
    author: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass
class NewShare(Share):
    """A new share. `link`: its path, or whole address if the server knows its own, which cannot be read again."""

    link: str


@dataclass
class WithdrawnVerdicts:
    """How many verdicts were withdrawn."""

    verdict: str
    withdrawn: int
    dry_run: bool


@dataclass
class UndeliveredEvents:
    """How many events a receiver of webhooks has not accepted yet, and how many were given up."""

    pending: int
    given_up: int


@dataclass
class Webhooks:
    """The sums of all receivers of webhooks, and each that has not accepted all, by its name."""

    pending: int
    given_up: int
    receivers: dict[str, UndeliveredEvents]


@dataclass
class Status:
    """Jobs, workers, also summed by device, queues and the last tick of beat, which is null if no schedule is enabled.

    A worker's `waits_for` says why it starts no work now, in words; null if it would start some.
    A queue's depth is null if Redis does not respond; `problem` says why. `waiting_photos` wait for a worker, and the oldest
    job of them was made `oldest_waiting_s` ago; null if none waits.
    """

    jobs: list[JobProgress]
    workers: list[WorkerStatus]
    devices: list[DeviceStatus]
    queues: dict[str, int | None]
    waiting_photos: int
    oldest_waiting_s: float | None
    last_tick: LastTick | None
    webhooks: Webhooks
    older: int
    problem: str | None


@dataclass(frozen=True)
class Job(JobProgress):
    """A job that was started or resumed; `problem` says why it has to wait."""

    problem: str | None


@dataclass
class NothingToRetry:
    """No photo of the job fails now."""

    job: None
    total: Literal[0]
    kinds: dict[str, int]
    dry_run: Literal[False]


@dataclass
class AcceptedEvents:
    """How many events of a bucket will be checked, and how many not: they tell of no photo, or of no allowed bucket.

    `advice`: what to do if the message asks to confirm a subscription.
    """

    accepted: int
    ignored: int
    refused: int
    advice: str | None


@dataclass
class CountedBackfill:
    """How many photos a backfill would include."""

    job: None
    total: int
    what: str
    dry_run: Literal[True]


@dataclass
class FailingPhoto:
    """A photo that fails, and why. `photo` is its number."""

    photo: int
    path: str
    kind: str
    text: str | None
    attempts: int | None
    job: int


@dataclass
class FailurePage:
    """A page of failures; `next` is null on the last page."""

    failures: list[FailingPhoto]
    next: int | None


@dataclass
class Schedule:
    """A scheduled backfill; `options` are the options that were set."""

    name: str
    cron: str
    zone: str
    what: str
    options: dict[str, Any]
    priority: str
    paused: bool
    next_due: datetime
    until: str | None


@dataclass
class ScheduleRun:
    """A run of a schedule; `job` is null if none was started, and `note` says why."""

    due_at: datetime
    started_at: datetime
    job: int | None
    state: str | None
    note: str | None


@dataclass
class AuditPage:
    """Entries of the audit log, newest first; `next` is null on the last page."""

    entries: list[AuditEntry]
    next: int | None
