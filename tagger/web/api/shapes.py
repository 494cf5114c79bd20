"""What the API's documents look like, for OpenAPI and for clients that are made from it. Nothing is made or checked by these at work."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tagger.ledger.progress import JobProgress, WorkerSeen
from tagger.query.details import Failure, LastJob, MetadataWritten, Verdict
from tagger.query.tagged import Tag


@dataclass
class Photo:
    """A photo and its tags; `outcome` counts what people said, and is null where nobody has looked yet."""

    id: int
    path: str
    outcome: str | None
    digest: str | None
    width: int | None
    height: int | None
    taken_at: datetime | None
    tags: list[Tag]


@dataclass
class PhotoPage:
    """Photos, and what the next page is asked for with; null: these are the last."""

    photos: list[Photo]
    next: str | None


@dataclass
class WholePhoto(Photo):
    """All that is known of a photo; `tags` are the whole top-k."""

    size_bytes: int
    gone_since: datetime | None
    latitude: float | None
    longitude: float | None
    model: str | None
    top_k: int | None
    threshold: float | None
    looked_at: datetime | None
    job: LastJob | None
    failure: Failure | None
    metadata: list[MetadataWritten]
    verdicts: list[Verdict]
    copies: list[str]


@dataclass
class SeenTag:
    """A landmark that a model sees in a photo, with its chance."""

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
class Look:
    """What a model sees in a photo that nobody stored."""

    path: str
    outcome: Literal["tagged", "unknown"]
    tags: list[SeenTag]
    milliseconds: float


@dataclass
class FailedLook:
    """Why it could not look."""

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
class GivenVerdict:
    """What stands on a photo after a word, and what stood there before."""

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
    """A person's word on a picture; `path` is a photo of it, null where none is known now."""

    path: str | None
    landmark: str
    name: str
    verdict: str
    by: str | None
    at: datetime
    digest: str


@dataclass
class VerdictPage:
    """Words, and what the next page is asked for with; null: these are the last."""

    verdicts: list[ListedVerdict]
    next: str | None


@dataclass
class ChangedVerdict:
    """A photo whose word changed, and what stood there."""

    photo: int
    before: str | None


@dataclass
class GivenToQuery:
    """A word on all that a query found; `replaced` had the other one."""

    verdict: str
    photos: int
    tags: int
    replaced: int
    dry_run: bool


@dataclass
class GivenToMany(GivenToQuery):
    """A word on photos that were named; `left_out` were never looked at."""

    changed: list[ChangedVerdict]
    left_out: list[int]


@dataclass
class TakenBack:
    """How many words were taken back."""

    verdict: str
    taken_back: int
    dry_run: bool


@dataclass
class Status:
    """Jobs, workers and queues; a queue's depth is null where Redis does not answer, and `problem` says why."""

    jobs: list[JobProgress]
    workers: list[WorkerSeen]
    queues: dict[str, int | None]
    older: int
    problem: str | None


@dataclass(frozen=True)
class Job(JobProgress):
    """A job that was begun or let go on; `problem`: what keeps it from being worked on now."""

    problem: str | None


@dataclass
class NothingToRetry:
    """None of the job's photos fails now."""

    job: None
    total: Literal[0]
    kinds: dict[str, int]
    dry_run: Literal[False]


@dataclass
class CountedBackfill:
    """How many photos a backfill would have."""

    job: None
    total: int
    what: str
    dry_run: Literal[True]


@dataclass
class FailedPhoto:
    """A photo that fails, and why; `photo` is its number."""

    photo: int
    path: str
    kind: str
    text: str | None
    attempts: int | None
    job: int


@dataclass
class FailurePage:
    """Failures, and what the next page is asked for with; null: these are the last."""

    failures: list[FailedPhoto]
    next: int | None


@dataclass
class Schedule:
    """A backfill by the clock; `options` are those of the backfill that were given."""

    name: str
    cron: str
    zone: str
    what: str
    options: dict[str, Any]
    priority: str
    paused: bool
    next_due: datetime


@dataclass
class Run:
    """A due time of a schedule; `job` is null where none was started, and `note` says why."""

    due_at: datetime
    started_at: datetime
    job: int | None
    state: str | None
    note: str | None
