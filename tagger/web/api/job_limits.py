"""Limits of jobs that the page starts: where they write, which folders they include, and how many may be open.

The limits apply as well to schedules and retries of jobs that were created elsewhere.
"""

from enum import StrEnum
from http import HTTPStatus

from starlette.exceptions import HTTPException

from tagger.database.connection import Database
from tagger.jobs.enqueue.backfill import Backfill
from tagger.jobs.enqueue.metadata_options import MetadataOptions
from tagger.jobs.enqueue.retry import has_failures_outside
from tagger.ledger.failures import FailureFilter
from tagger.ledger.progress import count_open_jobs
from tagger.settings import Settings
from tagger.web.api.folders import FolderRefused, allowed_folders

MAX_OPEN_JOBS = 100


class WriteMode(StrEnum):
    """Where a job writes tags after classification, from the least to the most intrusive."""

    NONE = "none"
    SIDECAR = "sidecar"
    EMBED = "embed"


class WriteNotAllowed(HTTPException):
    """The server does not allow jobs of the page to write there."""

    def __init__(self, mode: WriteMode) -> None:
        target = "the photos themselves" if mode is WriteMode.EMBED else "sidecar files"
        super().__init__(
            HTTPStatus.FORBIDDEN,
            f"Jobs started from the page may not write tags into {target}. Allow it on the server with "
            f"`TAGGER_WEB_WRITE={mode}`, or run `tagger metadata write` there.",
        )


def write_modes(settings: Settings) -> tuple[WriteMode, ...]:
    """Return the modes that the server allows, the least intrusive first."""
    modes = tuple(WriteMode)
    return modes[: modes.index(WriteMode(settings.web_write)) + 1]


def check_write(settings: Settings, options: MetadataOptions | None) -> None:
    """Raises:
    WriteNotAllowed: the server does not allow the mode.
    """
    if options is not None and (mode := WriteMode(options.to)) not in write_modes(settings):
        raise WriteNotAllowed(mode)


def check_backfill(settings: Settings, database: Database, backfill: Backfill) -> None:
    """Check a backfill that may have been created elsewhere.

    Raises:
        FolderRefused: `TAGGER_WEB_FOLDERS` is set, and the backfill includes other folders.
        WriteNotAllowed: as in `check_write`.
    """
    check_write(settings, backfill.write)
    allowed = allowed_folders(settings, database)
    if not allowed.is_set:
        return
    if not backfill.under:  # it includes the photos of every folder
        raise FolderRefused
    for folder in (*backfill.under, *backfill.scan):
        allowed.check_inside(folder)


def check_failing(settings: Settings, database: Database, failing: FailureFilter) -> None:
    """Check photos that are to be retried.

    Raises:
        FolderRefused: `TAGGER_WEB_FOLDERS` is set, and one of the photos is outside.
    """
    allowed = allowed_folders(settings, database)
    if allowed.is_set and has_failures_outside(database, failing, allowed.folders, settings.roots):
        raise FolderRefused


def check_open_jobs(database: Database) -> None:
    """Raises:
    HTTPException: `MAX_OPEN_JOBS` are open.
    """
    count = count_open_jobs(database)
    if count >= MAX_OPEN_JOBS:
        text = f"{count} jobs are open already. Cancel some or wait until they finish, then start this one."
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text)
