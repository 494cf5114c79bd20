"""Jobs: started, followed, steered, retried; the same JSON as `tagger status`, `enqueue`, `backfill` and `failures`."""

from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from tagger.backfill import Backfill, What, count_photos, new_job
from tagger.errors import FailureKind, JobNotRetriable
from tagger.job_documents import failure_document, job_document
from tagger.ledger import steering
from tagger.ledger.abandoned import settle_abandoned
from tagger.ledger.progress import Failing, FailingPhoto, JobProgress, failing_photos, unwritten_photos
from tagger.ledger.retrying import count_failing, like_job, record_retry
from tagger.registry import model_by_id, verify
from tagger.roots import list_roots
from tagger.settings import Settings
from tagger.tables import WRITING_KINDS, Priority, Target
from tagger.web.api.routing import api_router
from tagger.web.api.shapes import CountedBackfill, FailurePage, Job, NothingToRetry, Status
from tagger.web.folders import FolderRefused, Listing, allowed_folders, folder_of, listing
from tagger.web.permitted import Write, check_failing, check_room, check_write
from tagger.web.place import Place, place_of
from tagger.web.starting import Asked, Starter
from tagger.web.status import one_job, status_of
from tagger.web.words import ONE_LINE
from tagger.writing.asked import WriteAsked

router = api_router("jobs")

Here = Annotated[Place, Depends(place_of)]
Number = Annotated[int, Path(ge=1, lt=2**63, description="A job's number.")]
Key = Annotated[str, Field(max_length=8192)]


class FolderKey(BaseModel):
    """A folder whose name is no text, as /api/folders names it."""

    model_config = ConfigDict(extra="forbid")

    key: Key


Folder = Annotated[str, Field(min_length=1, max_length=4096)] | FolderKey


def starter_of(place: Here) -> Starter:
    """The server's only one; for `Depends`."""
    return place.starter


Start = Annotated[Starter, Depends(starter_of)]


def named(folders: list[Folder]) -> list[str]:
    """Their paths, still to be checked.

    Raises:
        FolderRefused: a key is none.
    """
    return [folder_of(each.key) if isinstance(each, FolderKey) else each for each in folders]


class _Writing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    priority: Priority = Priority.BULK
    write: Write = Field(
        Write.NONE,
        description="Also write the tags into metadata, in a job after this one; no more than the server allows.",
    )
    gps: bool = Field(default=False, description="With `write`: also the landmark's place.")
    description: bool = Field(default=False, description="With `write`: also in words.")

    def asked(self, settings: Settings) -> WriteAsked | None:
        """What is to be written.

        Raises:
            HTTPException: it is more than is allowed, or what needs `write` was asked for without it.
        """
        if self.write is not Write.NONE:
            asked = WriteAsked(Target(self.write), self.gps, self.description)
            check_write(settings, asked)
            return asked
        if self.gps or self.description:
            text = "gps and description are written with the tags: say where with write, sidecar or embed."
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
        return None


class NewJobAsked(_Writing):
    """A job over folders, as `tagger enqueue`."""

    paths: list[Folder] = Field(min_length=1, max_length=100, description="Folders inside the allowed ones.")
    again: bool = Field(default=False, description="Also photos that were looked at before.")


class BackfillAsked(_Writing):
    """A job over photos in the database, as `tagger backfill`."""

    what: What
    under: list[Folder] = Field(default=[], max_length=100, description="Photos in these folders.")
    landmark: Annotated[str, Field(max_length=1000), ONE_LINE] | None = None
    taken_after: datetime | None = None
    taken_before: datetime | None = None
    scan: list[Folder] = Field(default=[], max_length=100, description="First find what is new in these.")
    dry_run: bool = Field(default=False, description="Only count the photos.")

    def wanted(self, place: Place) -> Backfill:
        """The backfill; where the operator named folders, nothing outside them.

        Raises:
            HTTPException: a folder is outside, no folder is allowed, more is to be written than is, or a time has a zone.
        """
        if any(
            when is not None and when.tzinfo is not None for when in (self.taken_after, self.taken_before)
        ):
            text = "taken_after and taken_before: cameras know no time zone; leave it out."
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
        allowed = allowed_folders(place.settings, place.database)
        if allowed.is_set and not allowed.folders:
            raise FolderRefused  # a backfill under no folder is one of everywhere
        under = tuple(allowed.inside(folder) for folder in named(self.under))
        return Backfill(
            self.what,
            under=under or (allowed.folders if allowed.is_set else ()),
            landmark=self.landmark or None,
            taken_after=self.taken_after,
            taken_before=self.taken_before,
            scan=allowed.selection(named(self.scan)).folders,
            write=self.asked(place.settings),
        )


class RetryAsked(BaseModel):
    """Which failures of a job to look at again."""

    model_config = ConfigDict(extra="forbid")

    kind: list[FailureKind] = []
    priority: Priority = Priority.BULK


@router.get("/status", response_model=Status)
def status(place: Here, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> dict[str, Any]:
    """All open jobs and the newest ones, the workers that are there, and what waits in the queues."""
    settle_abandoned(place.database)
    return status_of(place.settings, place.database, limit).document()


@router.get("/folders", response_model=Listing)
def folders(
    place: Here,
    path: Annotated[
        str | None, Query(max_length=4096, description="A folder inside the allowed ones.")
    ] = None,
    key: Annotated[Key | None, Query(description="The same, by its key.")] = None,
) -> dict[str, Any]:
    """Folders that jobs may be begun in: the outermost, or those in one. Where a path is no text, its `key` is taken in its place."""
    found = listing(allowed_folders(place.settings, place.database), folder_of(key) if key else path)
    return asdict(found)


@router.get("/jobs/{job}", response_model=JobProgress)
def job(place: Here, job: Number) -> dict[str, Any]:
    """One job and its numbers."""
    return job_document(one_job(place.database, job))


@router.post("/jobs", status_code=HTTPStatus.ACCEPTED, response_model=Job)
def enqueue(place: Here, starter: Start, asked: NewJobAsked) -> dict[str, Any]:
    """Begin a job for the workers over folders. It is recorded when this answers; its folders may still be searched then."""
    selection = allowed_folders(place.settings, place.database).selection(named(asked.paths))
    number = starter.tag(selection, Asked(asked.priority, asked.again, asked.asked(place.settings)))
    return _begun(place, number)


@router.post("/backfills", status_code=HTTPStatus.ACCEPTED, response_model=Job | CountedBackfill)
def backfill(place: Here, starter: Start, asked: BackfillAsked) -> dict[str, Any]:
    """Begin a job over photos that are in the database already."""
    wanted = asked.wanted(place)
    if asked.dry_run:
        new = new_job(place.database, place.settings, wanted, asked.priority)
        count = count_photos(place.database, wanted, new.model_id, place.settings.roots)
        return {"job": None, "total": count, "what": wanted.what, "dry_run": True}
    return _begun(place, starter.backfill(wanted, asked.priority))


@router.post("/jobs/{job}/pause", response_model=JobProgress)
def pause(place: Here, job: Number) -> dict[str, Any]:
    """Let a job stand still; batches in hand are stored."""
    steering.pause(place.database, job)
    return job_document(one_job(place.database, job))


@router.post("/jobs/{job}/resume", response_model=Job)
def resume(place: Here, starter: Start, job: Number) -> dict[str, Any]:
    """Let a paused job go on."""
    problem = starter.send(job) if steering.resume(place.database, job) else None
    return job_document(one_job(place.database, job)) | {"problem": problem}


@router.post("/jobs/{job}/cancel", response_model=JobProgress)
def cancel(place: Here, job: Number) -> dict[str, Any]:
    """End a job: what is not done is cancelled, what was stored stays."""
    steering.cancel(place.database, job)
    return job_document(one_job(place.database, job))


@router.post("/jobs/{job}/retry", response_model=Job | NothingToRetry)
def retry(place: Here, starter: Start, job: Number, asked: RetryAsked | None = None) -> dict[str, Any]:
    """Look again, in a new job, at photos of a job that fail now; `job` is null where none does."""
    wanted = asked or RetryAsked()
    number = retried(place, starter, job, wanted)
    if number is None:
        return {"job": None, "total": 0, "kinds": {}, "dry_run": False}
    return _begun(place, number)


def retried(place: Place, starter: Starter, job: int, asked: RetryAsked) -> int | None:
    """The number of a job that looks again at what fails of a job; None: nothing does.

    Raises:
        JobNotFound, JobNotRetriable: it cannot be.
        HTTPException: it would do what the page may not, or too many jobs are open.
    """
    if one_job(place.database, job).kind in WRITING_KINDS:
        raise JobNotRetriable(job=job)
    failing = Failing(job, tuple(asked.kind))
    if not count_failing(place.database, failing):
        return None
    check_failing(place.settings, place.database, failing)
    new = like_job(place.database, job, asked.priority)
    check_write(place.settings, WriteAsked.of_options(new.options or {}))
    check_room(place.database)
    verify(model_by_id(place.database, new.model_id))
    number = record_retry(place.database, new, failing)
    starter.send(number)
    return number


@router.get("/jobs/{job}/failures", response_model=FailurePage)
def failures(
    place: Here,
    job: Number,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 100,
    after: Annotated[int, Query(ge=-1, lt=2**63, description="`next` of the page before.")] = -1,
    kind: Annotated[
        list[Annotated[str, ONE_LINE]] | None, Query(max_length=50, description="Only these kinds.")
    ] = None,
) -> dict[str, Any]:
    """Photos of a job that fail now, or of a job that writes, those it left as they are. `photo` is the photo's number."""
    found, following = failures_page(place, job, limit, after, tuple(kind or ()))
    with place.database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, place.settings.roots)}
    documents = [
        {"photo": each.photo_id}
        | failure_document(roots[each.root_id].path_of(each.path, each.path_bytes), each)
        for each in found
    ]
    return {"failures": documents, "next": following}


def failures_page(
    place: Place, job: int, limit: int, after: int, kinds: tuple[str, ...] = ()
) -> tuple[list[FailingPhoto], int | None]:
    """A page of a job's failures, and where the next one begins; None: there is none.

    Raises:
        JobNotFound: there is no such job.
    """
    if one_job(place.database, job).kind in WRITING_KINDS:
        failing = unwritten_photos(place.database, job, kinds, after)
    else:
        known = tuple(FailureKind(kind) for kind in kinds if kind in set(FailureKind))
        if kinds and not known:
            return [], None
        failing = failing_photos(place.database, Failing(job, known), after)
    found = list(islice(failing, limit + 1))
    return found[:limit], found[limit - 1].position if len(found) > limit else None


def _begun(place: Place, job: int) -> dict[str, Any]:
    """The job, and what keeps it from being worked on now."""
    begun = one_job(place.database, job)
    now = status_of(place.settings, place.database, 1)
    problem = None if begun.is_over else what_is_missing(now.has_redis, bool(now.workers))
    return job_document(begun) | {"problem": problem}


def what_is_missing(has_redis: bool, has_workers: bool) -> str | None:
    """Why recorded jobs wait, and what to do."""
    if has_workers and has_redis:
        return None
    if has_workers:
        return "Redis does not answer. Jobs are recorded, and are sent when it does."
    return "No worker is running. Jobs are recorded and wait for one; start it on the server with `tagger worker`, or everything with `tagger up`."
