"""The failures on a job's page: thumbnail, reason, and whether a retry can help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath

from tagger.database.connection import Database
from tagger.database.enums import METADATA_KINDS, JobState
from tagger.errors import FailureKind
from tagger.jobs.enqueue.tag_jobs import count_failures
from tagger.ledger.failures import (
    FailingPhoto,
    FailureFilter,
    failing_photos,
    pending_failures,
    unwritten_photos,
)
from tagger.ledger.progress import JobProgress
from tagger.metadata.errors import RefusalKind
from tagger.web.pages.tiles import thumbnail_address

FAILURE_TEXTS: Mapping[str, str] = {
    FailureKind.GONE: "file is gone",
    FailureKind.UNREADABLE: "not readable",
    FailureKind.SETTLING: "being written",
    FailureKind.EMPTY: "empty file",
    FailureKind.TOO_LARGE: "file too large",
    FailureKind.NOT_AN_IMAGE: "not an image",
    FailureKind.UNSUPPORTED: "not supported",
    FailureKind.TRUNCATED: "cut off",
    FailureKind.CORRUPT: "damaged",
    FailureKind.TOO_MANY_PIXELS: "too many pixels",
    FailureKind.TIMED_OUT: "took too long",
    FailureKind.CRASHED: "cannot be decoded",
    FailureKind.INTERNAL: "internal error",
}
REFUSAL_TEXTS: Mapping[str, str] = {
    **FAILURE_TEXTS,
    RefusalKind.BUCKET: "in a bucket",
    RefusalKind.FORMAT: "format not writable",
    RefusalKind.STRUCTURE: "invalid structure",
    RefusalKind.OFFSETS: "fixed offsets",
    RefusalKind.SIGNED: "signed (C2PA)",
    RefusalKind.XMP: "unsupported XMP",
    RefusalKind.TOO_LARGE: "no room",
    RefusalKind.LINK: "a link",
    RefusalKind.CHANGED: "changed meanwhile",
    RefusalKind.BUSY: "in use",
    RefusalKind.CHECK: "check failed",
    RefusalKind.SIDECAR: "sidecar of two photos",
    RefusalKind.READ_ONLY: "read-only",
}
TRANSIENT_KINDS = frozenset(
    {
        FailureKind.GONE,
        FailureKind.UNREADABLE,
        FailureKind.SETTLING,
        FailureKind.TIMED_OUT,
        FailureKind.INTERNAL,
    }
)
"""Failures that may pass without a change of the file."""


@dataclass(frozen=True)
class FailureView:
    """A photo that failed, with the address of its thumbnail or placeholder."""

    photo: int
    name: str
    kind: str
    text: str
    attempts: int
    image: str


@dataclass(frozen=True)
class FailuresView:
    """A page of failures.

    `retriable`: kind, text and count of what a retry includes. `retry_helps`: some of these may pass by themselves.
    `pending`: how many of the job's unprocessed photos fail since earlier jobs; `pending_since`: that job, if it is one.
    """

    photos: Sequence[FailureView]
    next_after: int | None
    retriable: Sequence[tuple[str, str, int]]
    retry_helps: bool
    pending: int
    pending_since: int | None

    @property
    def retriable_count(self) -> int:
        return sum(count for _kind, _text, count in self.retriable)


def failures_view(database: Database, job: JobProgress, limit: int, after: int) -> FailuresView:
    """Return what failed in an open job; of a job that is over, all of its photos that fail now."""
    if job.kind in METADATA_KINDS:
        refused = islice(unwritten_photos(database, job.job, after=after), limit + 1)
        views = [(photo.position, _refusal_view(photo)) for photo in refused]
        return FailuresView(*_page(views, limit), (), retry_helps=False, pending=0, pending_since=None)
    is_finished = job.state == JobState.FINISHED
    pending, pending_since = (0, None) if is_finished else pending_failures(database, job.job)
    kinds = count_failures(database, FailureFilter(job.job)) if job.is_over else {}
    return FailuresView(
        *_page(_failure_views(database, job, limit, after), limit),
        retriable=[(kind, FAILURE_TEXTS[kind], count) for kind, count in kinds.items()],
        retry_helps=any(kind in TRANSIENT_KINDS for kind in kinds),
        pending=pending,
        pending_since=pending_since,
    )


def _page(views: Sequence[tuple[int, FailureView]], limit: int) -> tuple[Sequence[FailureView], int | None]:
    page = views[:limit]
    return [view for _position, view in page], page[-1][0] if len(views) > len(page) else None


def _failure_views(
    database: Database, job: JobProgress, limit: int, after: int
) -> Sequence[tuple[int, FailureView]]:
    failures = FailureFilter(job.job, is_processed=not job.is_over)
    photos = islice(failing_photos(database, failures, after, page_size=limit + 1), limit + 1)
    return [(photo.position, _view(photo, FAILURE_TEXTS[photo.kind])) for photo in photos]


def _refusal_view(photo: FailingPhoto) -> FailureView:
    return _view(photo, REFUSAL_TEXTS.get(photo.kind, photo.kind))


def _view(photo: FailingPhoto, kind: str) -> FailureView:
    name, image = PurePath(photo.path).name, thumbnail_address(photo.photo_id, None, 256)
    return FailureView(photo.photo_id, name, kind, photo.text, photo.attempts, image)
