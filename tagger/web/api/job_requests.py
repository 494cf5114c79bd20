"""Bodies of requests that start jobs, and what the server allows in them."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field
from starlette.exceptions import HTTPException

from tagger.database.connection import Database
from tagger.database.enums import Priority, Target
from tagger.errors import FailureKind
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.jobs.enqueue.job_options import MAX_ERROR_M, MetadataOptions
from tagger.jobs.enqueue.metadata_jobs import is_under, photo_id_pages
from tagger.jobs.enqueue.schedules import list_schedules
from tagger.ledger.progress import count_open_jobs
from tagger.query.options import PhotoQuery
from tagger.settings import Settings
from tagger.texts.text_format import gettext
from tagger.web.api.folders import FolderRefused, allowed_folders, path_of_key
from tagger.web.http.query_params import ONE_LINE, RequestModel
from tagger.web.state import AppState

MAX_OPEN_JOBS = 100


class WriteMode(StrEnum):
    """Where a job writes tags after classification, from the least to the most intrusive."""

    NONE = "none"
    SIDECAR = "sidecar"
    EMBED = "embed"


class WriteNotAllowed(HTTPException):
    """The server does not allow jobs of the page to write there."""

    def __init__(self, mode: WriteMode) -> None:
        target = gettext("the photos themselves") if mode is WriteMode.EMBED else gettext("sidecar files")
        super().__init__(
            HTTPStatus.FORBIDDEN,
            gettext(
                "Jobs started from the page may not write tags into %(target)s. Allow it on the server with "
                "`TAGGER_WEB_WRITE=%(mode)s`, or run `tagger metadata write` there.",
                target=target,
                mode=mode,
            ),
        )


def write_modes(settings: Settings) -> tuple[WriteMode, ...]:
    """Return the modes that the server allows, the least intrusive first."""
    modes = tuple(WriteMode)
    return modes[: modes.index(WriteMode(settings.web_write)) + 1]


def check_write(settings: Settings, options: MetadataOptions | None) -> None:
    """Raises:
    WriteNotAllowed: the server does not allow the mode.
    """
    if options is not None:
        check_mode(settings, WriteMode(options.to))


def check_mode(settings: Settings, mode: WriteMode) -> None:
    """As `check_write`."""
    if mode not in write_modes(settings):
        raise WriteNotAllowed(mode)


def check_schedule(settings: Settings, database: Database, name: str) -> None:
    """Check the runs of a schedule, which may have been added elsewhere. There need not be one of that name.

    Raises:
        FolderRefused: `TAGGER_WEB_FOLDERS` is set, and they include other folders.
        WriteNotAllowed: as in `check_write`.
    """
    for schedule in list_schedules(database):
        if schedule.name == name:
            _check_backfill(settings, database, schedule.backfill)


def _check_backfill(settings: Settings, database: Database, backfill: Backfill) -> None:
    check_write(settings, backfill.write)
    allowed = allowed_folders(settings, database)
    if not allowed.is_set:
        return
    if not backfill.query.under:  # it includes the photos of every folder
        raise FolderRefused
    for folder in (*backfill.query.under, *backfill.scan):
        allowed.check_inside(folder)


def check_photos(settings: Settings, database: Database, conditions: Sequence[Any]) -> None:
    """Check the photos that meet the conditions, and that a job is to process.

    Raises:
        FolderRefused: `TAGGER_WEB_FOLDERS` is set, and one of the photos is outside.
    """
    allowed = allowed_folders(settings, database)
    if allowed.is_set:
        outside = (*conditions, ~is_under(database, allowed.folders, settings.roots))
        if next(photo_id_pages(database, outside), None) is not None:
            raise FolderRefused


def check_open_jobs(database: Database) -> None:
    """Raises:
    HTTPException: `MAX_OPEN_JOBS` are open.
    """
    count = count_open_jobs(database)
    if count >= MAX_OPEN_JOBS:
        text = gettext(
            "%(count)s jobs are open already. Cancel some or wait until they finish, then start this one.",
            count=count,
        )
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text)


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
    gps: bool = Field(default=False, description="With `write`: also the landmark's position.")
    gps_estimated: bool = Field(default=False, description="With `write`: also estimated positions.")
    max_error_km: float = Field(
        default=MAX_ERROR_M / 1000,
        ge=0.001,
        le=20_000,
        description="With `gps_estimated`: leave out positions with a larger error.",
    )
    description: bool = Field(default=False, description="With `write`: also a description.")
    things: bool = Field(default=False, description="With `write`: also keywords for things.")

    def metadata_options(self, settings: Settings) -> MetadataOptions | None:
        """Return what is to be written; None for nothing.

        Raises:
            HTTPException: the server does not allow it, or what else to write is set without `write`.
        """
        if self.write is not WriteMode.NONE:
            max_error_m = round(self.max_error_km * 1000) if self.gps_estimated else None
            target = Target(self.write)
            optional = self.gps, self.description, settings.language, max_error_m, self.things
            options = MetadataOptions(target, *optional)
            check_write(settings, options)
            return options
        if self.gps or self.gps_estimated or self.description or self.things:
            text = "gps, gps_estimated, description and things need write: set it to sidecar or embed."
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
        return None


class TaggingRequest(WriteRequest):
    """A job over folders, as `tagger enqueue`."""

    paths: list[Folder] = Field(min_length=1, max_length=100, description="Folders inside the allowed ones.")
    again: bool = Field(default=False, description="Also photos that are classified already.")


class BackfillRequest(WriteRequest):
    """A job over photos in the database, as `tagger backfill`."""

    what: BackfillScope
    under: list[Folder] = Field(default=[], max_length=100, description="Photos in these folders.")
    landmark: Annotated[str, Field(max_length=1000), ONE_LINE] | None = None
    taken_after: datetime | None = None
    taken_before: datetime | None = None
    scan: list[Folder] = Field(default=[], max_length=100, description="First scan these folders.")
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
        allowed = allowed_folders(state.settings, state.database)
        if allowed.is_set and not allowed.folders:
            raise FolderRefused  # an empty `under` would mean every folder
        under = tuple(allowed.check_inside(folder) for folder in folder_paths(self.under))
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
    return [path_of_key(folder.key) if isinstance(folder, FolderKey) else folder for folder in folders]
