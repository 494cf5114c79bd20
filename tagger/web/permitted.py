"""What jobs begun from the page may do: where they write, whose photos they take, and how many there may be.

That holds for what was made elsewhere too: the schedule that is run, the job whose photos are retried.
"""

from enum import StrEnum
from http import HTTPStatus

from sqlalchemy import false, func, not_, or_, select
from starlette.exceptions import HTTPException

from tagger.backfill import Backfill
from tagger.database import Database
from tagger.ledger.jobs import OPEN_STATES
from tagger.ledger.progress import Failing, failing_now
from tagger.query.wanted import path_ranges
from tagger.settings import Settings
from tagger.tables import jobs, photos
from tagger.web.folders import FolderRefused, allowed_folders
from tagger.writing.asked import WriteAsked

MOST_OPEN = 100
"""Open jobs with which no more are begun from the page."""


class Write(StrEnum):
    """Where tags are written when photos were looked at; each does more to the photos than the one before."""

    NONE = "none"
    SIDECAR = "sidecar"
    EMBED = "embed"


class WriteRefused(HTTPException):
    """Jobs begun from the page may not write so much."""

    def __init__(self, wanted: Write) -> None:
        place = "the photos themselves" if wanted is Write.EMBED else "files beside the photos"
        super().__init__(
            HTTPStatus.FORBIDDEN,
            f"Jobs begun from the page may not write tags into {place}. Allow it on the server with "
            f"`TAGGER_WEB_WRITE={wanted}`, or do it there with `tagger metadata write`.",
        )


def writable(settings: Settings) -> tuple[Write, ...]:
    """What may be chosen, the least first."""
    ways = tuple(Write)
    return ways[: ways.index(Write(settings.web_write)) + 1]


def check_write(settings: Settings, asked: WriteAsked | None) -> None:
    """Raises:
    WriteRefused: it is more than the page may have written.
    """
    if asked is not None and (wanted := Write(asked.to)) not in writable(settings):
        raise WriteRefused(wanted)


def check_backfill(settings: Settings, database: Database, wanted: Backfill) -> None:
    """Of a backfill that may have been made elsewhere.

    Raises:
        FolderRefused: the operator named folders, and it goes outside them.
        WriteRefused: as `check_write`.
    """
    check_write(settings, wanted.write)
    allowed = allowed_folders(settings, database)
    if not allowed.is_set:
        return
    if not wanted.under:  # it takes photos of everywhere
        raise FolderRefused
    for folder in (*wanted.under, *wanted.scan):
        allowed.inside(folder)


def check_failing(settings: Settings, database: Database, failing: Failing) -> None:
    """Of photos that are to be looked at again.

    Raises:
        FolderRefused: the operator named folders, and one of the photos is outside them.
    """
    allowed = allowed_folders(settings, database)
    if not allowed.is_set:
        return
    with database.read() as connection:
        inside = [each.condition for each in path_ranges(connection, allowed.folders, settings.roots)]
        outside = select(photos.c.id).where(*failing_now(failing), not_(or_(false(), *inside))).limit(1)
        if connection.scalar(outside) is not None:
            raise FolderRefused


def check_room(database: Database) -> None:
    """Raises:
    HTTPException: so many jobs are open that no more are begun.
    """
    with database.read() as connection:
        count = connection.scalar(select(func.count()).where(jobs.c.state.in_(OPEN_STATES))) or 0
    if count >= MOST_OPEN:
        text = f"{count} jobs are open already. Cancel some, or let workers finish them, and start this one then."
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text)
