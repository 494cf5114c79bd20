"""The photos of a job that failed or were left as they are, as its page lists them: with a picture, a reason, and what a retry is good for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath

from sqlalchemy import ColumnElement, exists, func, select

from tagger.database import Database
from tagger.errors import FailureKind
from tagger.ledger.progress import Failing, FailingPhoto, JobProgress, failing_now, unwritten_photos
from tagger.ledger.retrying import count_failing
from tagger.metadata.refusals import RefusalKind
from tagger.tables import WRITING_KINDS, JobState, Outcome, job_items, photos
from tagger.web.pages.tiles import thumbnail

KINDS: Mapping[str, str] = {
    FailureKind.GONE: "not there any more",
    FailureKind.UNREADABLE: "cannot be read",
    FailureKind.EMPTY: "empty file",
    FailureKind.TOO_LARGE: "file too large",
    FailureKind.NOT_AN_IMAGE: "not an image",
    FailureKind.UNSUPPORTED: "kind that is not read",
    FailureKind.TRUNCATED: "cut off",
    FailureKind.CORRUPT: "damaged",
    FailureKind.TOO_MANY_PIXELS: "too many pixels",
    FailureKind.TIMED_OUT: "took too long",
    FailureKind.CRASHED: "cannot be decoded",
    FailureKind.INTERNAL: "a mistake of this program",
}
REFUSALS: Mapping[str, str] = {
    **KINDS,
    RefusalKind.FORMAT: "kind that is not written",
    RefusalKind.STRUCTURE: "does not hold together",
    RefusalKind.OFFSETS: "held by distances",
    RefusalKind.XMP: "XMP of its own",
    RefusalKind.TOO_LARGE: "no room for it",
    RefusalKind.LINK: "a link",
    RefusalKind.CHANGED: "changed since",
    RefusalKind.BUSY: "in use",
    RefusalKind.CHECK: "did not pass the check",
    RefusalKind.READ_ONLY: "may not be written",
}
PASSING = frozenset({FailureKind.GONE, FailureKind.UNREADABLE, FailureKind.TIMED_OUT, FailureKind.INTERNAL})
"""What can be otherwise the next time though nobody touched the file; the others are as its bytes are."""


@dataclass(frozen=True)
class Failed:
    """A photo that failed, with its picture or what stands for it."""

    photo: int
    name: str
    kind: str
    text: str
    attempts: int
    picture: str


@dataclass(frozen=True)
class Failures:
    """A page of them. `retriable`: how many of each kind a retry would look at, by the kind's name and words;
    `to_come`: photos that fail since earlier jobs, `since` one of them if it is only one.
    """

    photos: Sequence[Failed]
    following: int | None
    retriable: Sequence[tuple[str, str, int]]
    helps: bool
    to_come: int
    since: int | None

    @property
    def failing(self) -> int:
        return sum(count for _kind, _words, count in self.retriable)


def failures_of(database: Database, job: JobProgress, most: int, after: int) -> Failures:
    """What failed in the job; of one that is over, all of its photos that fail now."""
    if job.kind in WRITING_KINDS:
        unwritten = islice(unwritten_photos(database, job.job, after=after), most + 1)
        found = [(each.position, _unwritten(each)) for each in unwritten]
        return Failures(*_page(found, most), retriable=(), helps=False, to_come=0, since=None)
    to_come, since = (0, None) if job.state == JobState.FINISHED else _to_come(database, job.job)
    kinds = count_failing(database, Failing(job.job)) if job.is_over else {}
    return Failures(
        *_page(_failing(database, job, most, after), most),
        retriable=[(kind, KINDS[kind], count) for kind, count in kinds.items()],
        helps=any(kind in PASSING for kind in kinds),
        to_come=to_come,
        since=since,
    )


def _page(found: Sequence[tuple[int, Failed]], most: int) -> tuple[Sequence[Failed], int | None]:
    shown = found[:most]
    return [each for _at, each in shown], shown[-1][0] if len(found) > len(shown) else None


def _failing(database: Database, job: JobProgress, most: int, after: int) -> Sequence[tuple[int, Failed]]:
    conditions = [*failing_now(Failing(job.job)), photos.c.id > after]
    if not job.is_over:
        conditions.append(~_waits_in(job.job))
    columns = (
        photos.c.id,
        photos.c.path,
        photos.c.failure_kind,
        photos.c.failure_text,
        photos.c.failure_attempts,
    )
    query = select(*columns).where(*conditions).order_by(photos.c.id).limit(most + 1)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [(row.id, _failed(row.id, row.path, KINDS[row.failure_kind], *row[3:])) for row in rows]


def _to_come(database: Database, job: int) -> tuple[int, int | None]:
    """How many photos fail that the job has not come to, and since which job; None: not since one alone."""
    since = photos.c.failure_job_id
    query = select(func.count(), func.min(since), func.max(since))
    with database.read() as connection:
        row = connection.execute(query.where(*failing_now(Failing()), _waits_in(job))).one()
    return row[0], row[1] if row[1] == row[2] else None


def _waits_in(job: int) -> ColumnElement[bool]:
    """The job has no outcome of the photo, or ended without one."""
    return exists().where(
        job_items.c.photo_id == photos.c.id,
        job_items.c.job_id == job,
        func.coalesce(job_items.c.outcome, Outcome.CANCELLED) == Outcome.CANCELLED,
    )


def _unwritten(photo: FailingPhoto) -> Failed:
    return _failed(
        photo.photo_id, photo.path, REFUSALS.get(photo.kind, photo.kind), photo.text, photo.attempts
    )


def _failed(photo: int, path: str, kind: str, text: str, attempts: int) -> Failed:
    return Failed(photo, PurePath(path).name, kind, text, attempts, thumbnail(photo, None, 256))
