"""Starting jobs from the page: the folders in which it may, what requests may ask for, and who starts them.

A folder is named by its path, or by a key: a path may hold bytes that neither an address nor JSON can carry.
Links are resolved before a check.

A job is recorded at once, and its folders are scanned in a thread. If the server stops during a scan, the job
keeps the photos found so far, as with an interrupted command.
"""

import logging
import os
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field
from starlette.exceptions import HTTPException

from tagger.database import Priority, Target
from tagger.database.engine import DatabaseError
from tagger.errors import (
    FailureKind,
    ObjectAddressInvalid,
    PathNotFound,
    ScanInterrupted,
    TaggerError,
)
from tagger.jobs.enqueue.metadata_jobs import is_under, photo_id_pages
from tagger.jobs.enqueue.scan import Scan
from tagger.jobs.enqueue.schedules import (
    RunInterrupted,
    ScheduleRun,
    list_schedules,
    run_now,
)
from tagger.jobs.enqueue.selection import Selection, select_paths
from tagger.jobs.enqueue.submission import (
    MAX_ERROR_M,
    Backfill,
    BackfillScope,
    JobRequest,
    MetadataOptions,
    Tagging,
    prepare_job,
    queue_job,
)
from tagger.ledger import cancel_job, create_job, job_control
from tagger.ledger.job_control import count_open_jobs
from tagger.photos.paths import parse_path
from tagger.photos.source import open_source
from tagger.query.options import PhotoQuery
from tagger.roots import list_roots
from tagger.settings import Settings
from tagger.texts.text_format import gettext
from tagger.web.routes import ONE_LINE, RequestModel
from tagger.web.state import MAX_SCANS, AppState

MAX_FOLDERS = 500


class FolderRefused(HTTPException):
    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.FORBIDDEN,
            gettext(
                "The page has no access to that folder. Choose a folder inside the allowed ones, or allow it "
                "on the server with `TAGGER_WEB_FOLDERS`."
            ),
        )


@dataclass(frozen=True)
class AllowedFolders:
    """The outermost folders, resolved: those of the setting (`is_set`), else the database's roots."""

    folders: tuple[Path, ...]
    is_set: bool

    def check(self, folder: str | os.PathLike[str]) -> Path:
        """Return the folder, resolved. Whether a folder outside exists is not revealed.

        Raises:
            FolderRefused: the folder is outside the allowed ones.
            PathNotFound: it is inside, but does not exist or is not a folder.
        """
        path = self.check_inside(folder)
        if not open_source(str(path)).may_have_photos():
            raise PathNotFound(path=path)
        return path

    def check_inside(self, folder: str | os.PathLike[str]) -> Path:
        """Return the folder, resolved; it need not exist.

        Raises:
            FolderRefused: the folder is outside the allowed ones.
        """
        try:
            path = parse_path(folder if isinstance(folder, Path) else os.fspath(folder))
            # A relative path would depend on the server's working directory.
            if not path.is_absolute():
                raise FolderRefused
            path = path.resolve()
        except (
            ObjectAddressInvalid,
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # a loop of links, an invalid name
            raise FolderRefused from error
        if not self.includes(path):
            raise FolderRefused
        return path

    def selection(self, folders: Iterable[str | os.PathLike[str]]) -> Selection:
        """Return the folders as a scan takes them.

        Raises:
            FolderRefused, PathNotFound: as in `check`, for any of them.
        """
        selection = select_paths([self.check(folder) for folder in folders])
        # `select_paths` resolves again, and a folder may have been replaced by a link in between.
        if not all(map(self.includes, (*selection.folders, *selection.files))):
            raise FolderRefused
        return selection

    def breadcrumbs(self, folder: Path) -> tuple[Path, ...]:
        top = self._outermost(folder)
        parents = [
            parent for parent in folder.parents if top and parent.is_relative_to(top)
        ]
        return (*reversed(parents), folder)

    def with_all(self) -> Self:
        return replace(self, folders=(*self.folders, Path("/")))

    def includes(self, path: Path) -> bool:
        return self._outermost(path) is not None

    def _outermost(self, path: Path) -> Path | None:
        for folder in self.folders:
            if path.is_relative_to(folder):
                return folder
        return None


def allowed_folders(state: AppState) -> AllowedFolders:
    settings = state.settings
    folders: Sequence[Path] | None = settings.web_folders
    if folders is None:
        with state.database.read() as connection:
            folders = [root.folder for root in list_roots(connection, settings.roots)]
    parsed = map(parse_path, folders)
    resolved = {path.resolve() for path in parsed if path.is_absolute()}
    outermost = (
        path
        for path in resolved
        if not any(parent in resolved for parent in path.parents)
    )
    return AllowedFolders(tuple(sorted(outermost)), settings.web_folders is not None)


def list_subfolders(folder: Path) -> tuple[Sequence[Path], int]:
    """Return the first `MAX_FOLDERS` folders that a scan would enter, by name, and how many more there are.

    Raises:
        PathNotFound: the folder cannot be listed.
    """
    names = open_source(str(folder)).subfolders()
    return [folder / name for name in names[:MAX_FOLDERS]], max(
        0, len(names) - MAX_FOLDERS
    )


@dataclass(frozen=True)
class FolderEntry:
    path: Path

    @property
    def key(self) -> str:
        return folder_key(self.path)

    @property
    def noun(self) -> str:
        return open_source(str(self.path)).noun


def folder_key(folder: Path) -> str:
    return urlsafe_b64encode(os.fsencode(str(folder))).decode().rstrip("=")


def path_of_key(key: str) -> str:
    """Decode a key of `folder_key`. The path is not yet checked.

    Raises:
        FolderRefused: the key is invalid.
    """
    try:
        return os.fsdecode(urlsafe_b64decode(key + "=" * (-len(key) % 4)))
    except ValueError as error:
        raise FolderRefused from error


MAX_OPEN_JOBS = 100


class WriteMode(StrEnum):
    """Where a job writes tags after classification, from the least to the most intrusive."""

    NONE = "none"
    SIDECAR = "sidecar"
    EMBED = "embed"


def write_modes(settings: Settings) -> tuple[WriteMode, ...]:
    modes = tuple(WriteMode)
    return modes[: modes.index(WriteMode(settings.web_write)) + 1]


def check_write(settings: Settings, options: MetadataOptions | None) -> None:
    """Raises:
    HTTPException: the server does not allow the mode.
    """
    if options is not None:
        check_mode(settings, WriteMode(options.to))


def check_mode(settings: Settings, mode: WriteMode) -> None:
    if mode not in write_modes(settings):
        target = (
            gettext("the photos themselves")
            if mode is WriteMode.EMBED
            else gettext("sidecar files")
        )
        text = gettext(
            "Jobs started from the page may not write tags into %(target)s. Allow it on the server with "
            "`TAGGER_WEB_WRITE=%(mode)s`, or run `tagger metadata write` there.",
            target=target,
            mode=mode,
        )
        raise HTTPException(HTTPStatus.FORBIDDEN, text)


def check_schedule(state: AppState, name: str) -> None:
    """Check the runs of a schedule, which may have been added elsewhere. There need not be one of that name.

    Raises:
        FolderRefused: `TAGGER_WEB_FOLDERS` is set, and they include other folders.
        HTTPException: as in `check_write`.
    """
    for schedule in list_schedules(state.database):
        if schedule.name != name:
            continue
        backfill = schedule.backfill
        check_write(state.settings, backfill.write)
        allowed = allowed_folders(state)
        if not allowed.is_set:
            continue
        if not backfill.query.under:  # it includes the photos of every folder
            raise FolderRefused
        for folder in (*backfill.query.under, *backfill.scan):
            allowed.check_inside(folder)


def check_photos(state: AppState, conditions: Sequence[Any]) -> None:
    """Check the photos that meet the conditions, and that a job is to process.

    Raises:
        FolderRefused: `TAGGER_WEB_FOLDERS` is set, and one of the photos is outside.
    """
    database, allowed = state.database, allowed_folders(state)
    if allowed.is_set:
        outside = (
            *conditions,
            ~is_under(database, allowed.folders, state.settings.roots),
        )
        if next(photo_id_pages(database, outside), None) is not None:
            raise FolderRefused


Key = Annotated[str, Field(max_length=8192)]


class FolderKey(RequestModel):
    """The key of a folder, as `folder_key` makes it; for paths that are not UTF-8."""

    key: Key


Folder = Annotated[str, Field(min_length=1, max_length=4096)] | FolderKey


class WriteRequest(RequestModel):
    """Whether a job then writes the tags into metadata, and its priority."""

    priority: Priority = Priority.BULK
    write: WriteMode = Field(
        WriteMode.NONE,
        description="Write the tags into metadata, in a job after this one, as far as the server allows it.",
    )
    gps: bool = Field(
        default=False, description="With `write`: also the landmark's position."
    )
    gps_estimated: bool = Field(
        default=False, description="With `write`: also estimated positions."
    )
    max_error_km: float = Field(
        default=MAX_ERROR_M / 1000,
        ge=0.001,
        le=20_000,
        description="With `gps_estimated`: leave out positions with a larger error.",
    )
    description: bool = Field(
        default=False, description="With `write`: also a description."
    )
    things: bool = Field(
        default=False, description="With `write`: also keywords for things."
    )

    def metadata_options(self, settings: Settings) -> MetadataOptions | None:
        """Return what is to be written; None for nothing.

        Raises:
            HTTPException: the server does not allow it, or what else to write is set without `write`.
        """
        if self.write is not WriteMode.NONE:
            max_error_m = (
                round(self.max_error_km * 1000) if self.gps_estimated else None
            )
            options = MetadataOptions(
                Target(self.write),
                self.gps,
                self.description,
                settings.language,
                max_error_m,
                self.things,
            )
            check_write(settings, options)
            return options
        if self.gps or self.gps_estimated or self.description or self.things:
            text = "gps, gps_estimated, description and things need write: set it to sidecar or embed."
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
        return None


class TaggingOptions(WriteRequest):
    """What a job over folders does."""

    again: bool = Field(
        default=False, description="Also photos that are classified already."
    )


class TaggingRequest(TaggingOptions):
    """A job over folders, as `tagger enqueue`."""

    paths: list[Folder] = Field(
        min_length=1, max_length=100, description="Folders inside the allowed ones."
    )


class BackfillRequest(WriteRequest):
    """A job over photos in the database, as `tagger backfill`."""

    what: BackfillScope
    under: list[Folder] = Field(
        default=[], max_length=100, description="Photos in these folders."
    )
    landmark: Annotated[str, Field(max_length=1000), ONE_LINE] | None = None
    taken_after: datetime | None = None
    taken_before: datetime | None = None
    scan: list[Folder] = Field(
        default=[], max_length=100, description="First scan these folders."
    )
    dry_run: bool = Field(default=False, description="Only count the photos.")

    def backfill(self, state: AppState) -> Backfill:
        """Return the backfill, restricted to `TAGGER_WEB_FOLDERS` if that is set.

        Raises:
            HTTPException: a folder is not allowed, writing is not allowed, or a time has a zone.
        """
        times = (self.taken_after, self.taken_before)
        if any(time is not None and time.tzinfo is not None for time in times):
            text = "taken_after and taken_before must not have a time zone: cameras do not record one."
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
        allowed = allowed_folders(state)
        if allowed.is_set and not allowed.folders:
            raise FolderRefused  # an empty `under` would mean every folder
        under = tuple(
            allowed.check_inside(folder) for folder in folder_paths(self.under)
        )
        query = PhotoQuery(
            under=under or (allowed.folders if allowed.is_set else ()),
            landmark=(self.landmark,) if self.landmark else (),
            taken_after=self.taken_after,
            taken_before=self.taken_before,
        )
        return Backfill(
            self.what,
            query,
            scan=allowed.selection(folder_paths(self.scan)).folders,
            write=self.metadata_options(state.settings),
        )


class RetryRequest(RequestModel):
    """Which failures of a job to retry."""

    kind: list[FailureKind] = Field(default=[])
    priority: Priority = Priority.BULK


class UndoRequest(RequestModel):
    """Whether to undo what a job wrote."""

    dry_run: bool = Field(default=False, description="Only count what would be undone.")


def folder_paths(folders: list[Folder]) -> list[str]:
    """Return the folders' paths, not yet checked.

    Raises:
        FolderRefused: a key is invalid.
    """
    return [
        path_of_key(folder.key) if isinstance(folder, FolderKey) else folder
        for folder in folders
    ]


log = logging.getLogger(__name__)

T = TypeVar("T")

# How long a request waits for its scan: with a small folder, the response has the number of photos.
RESPONSE_WAIT_S = 1.0


def start_tagging(
    state: AppState,
    allowed: AllowedFolders,
    paths: Sequence[str],
    options: TaggingOptions,
) -> int:
    """Start a job over folders; raises as `start_job`, and if they are not among the allowed ones."""
    metadata = options.metadata_options(state.settings)
    request = Tagging(allowed.selection(paths), options.again, metadata)
    return start_job(state, request, options.priority)


def start_job(state: AppState, request: JobRequest, priority: Priority) -> int:
    """Record a job for workers and return its number. Its photos are added in a thread.

    Raises:
        TaggerError: the request is not possible.
        HTTPException: too many scans are running, or too many jobs are open.
    """
    new = prepare_job(state.database, state.settings, request, priority)
    with _scan_slot(state):
        job = create_job(state.database, new)
        scan = Scan(
            state.database, job, new, state.settings.roots, _stopping_check(state)
        )
        future = _start_thread(state, partial(_queue_job, state, request, scan))
    wait([future], RESPONSE_WAIT_S)
    return job


def run_schedule(state: AppState, name: str) -> ScheduleRun:
    """Start a run of a schedule, in addition to its due times.

    Raises:
        TaggerError: there is no such schedule, or it cannot run.
        HTTPException: the page may not run it, too many scans are running, or too many jobs are open.
    """
    recorded: Future[ScheduleRun] = Future()

    def run() -> ScheduleRun:
        check_stopping = _stopping_check(state)
        try:
            run = run_now(
                state.database,
                state.settings,
                name,
                check_stopping,
                recorded.set_result,
            )
        except RunInterrupted:
            text = gettext("The server is stopping. The run is left to `tagger beat`.")
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text) from None
        except TaggerError:
            raise
        except Exception:
            log.exception("unexpected error in a run of a schedule")
            raise
        if run.job is not None:
            _send(state, run.job)
        return run

    with _scan_slot(state):
        check_schedule(state, name)
        future = _start_thread(state, run)
    wait([future], RESPONSE_WAIT_S)
    wait([future, recorded], return_when=FIRST_COMPLETED)
    return (future if future.done() else recorded).result()


def wake_workers(state: AppState) -> str | None:
    from worker import producer

    return producer.wake_workers(state.database, state.settings)


@contextmanager
def _scan_slot(state: AppState) -> Iterator[None]:
    # Acquire a slot for a thread, which releases it at its end.
    #
    # Raises HTTPException: none is free, or `MAX_OPEN_JOBS` are open.
    if not state.scan_slots.acquire(blocking=False):
        text = gettext(
            "%(count)s scans are running already. Wait until one of them has finished.",
            count=MAX_SCANS,
        )
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "10"})
    try:
        job_control.recover_stale_jobs(state.database)
        count = count_open_jobs(state.database)
        if count >= MAX_OPEN_JOBS:
            text = gettext(
                "%(count)s jobs are open already. Cancel some or wait until they finish, then start this "
                "one.",
                count=count,
            )
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text)  # noqa: TRY301
        yield
    except BaseException:
        state.scan_slots.release()
        raise


def _start_thread(state: AppState, work: Callable[[], T]) -> Future[T]:
    # Run in a thread that ends with the process, and then release the slot.
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - for the request that waits
            future.set_exception(error)
        finally:
            state.scans.discard(future)
            state.scan_slots.release()

    state.scans.add(future)
    threading.Thread(target=run, name="scan", daemon=True).start()
    return future


def _queue_job(state: AppState, request: JobRequest, scan: Scan) -> None:
    job, problem = scan.job_id, ""
    try:
        queue_job(request, scan)
        _send(state, job)
    except (RunInterrupted, ScanInterrupted):
        log.info("the scan of job %d was interrupted", job)
    except TaggerError as error:
        problem = str(error)
    except Exception:
        log.exception("unexpected error in the scan of job %d", job)
        problem = "the scan failed; see the server's log"
    if not problem:
        return
    try:
        with state.database.write() as connection:
            cancel_job(connection, job, problem)
    except DatabaseError as error:  # the abandoned job is cancelled later
        log.warning("job %d could not be cancelled: %s", job, type(error).__name__)


def _send(state: AppState, job: int) -> None:
    problem = wake_workers(state)
    if (
        problem and not state.has_own_worker
    ):  # which starts Redis, or says what it waits for
        log.warning("job %d is recorded and will be sent later: %s", job, problem)


def _stopping_check(state: AppState) -> Callable[[int], None]:
    # A callback for scans, which interrupts them if the server stops.
    def check(_count: int) -> None:
        if state.stopping.is_set():
            raise RunInterrupted

    return check
