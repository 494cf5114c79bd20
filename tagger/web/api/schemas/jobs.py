"""Documents of jobs, schedules and their state."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tagger.jobs.enqueue.ticks import LastTick
from tagger.ledger.progress import JobProgress
from tagger.ledger.workers import DeviceStatus, WorkerStatus


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
