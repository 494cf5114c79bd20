"""Watch folders and buckets from a command: tag what is new or changed, and mark what is gone, until the command ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.output import console
from tagger.cli.watched_sources import UnseenPhotos, WatchedBucket, WatchedFolders, WatchIntervals
from tagger.errors import (
    BucketUnavailable,
    BucketUnwritable,
    DatabaseRemoved,
    FolderMessagesLost,
    PathNotFound,
    TaggerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from tagger.cli.session import Session
    from tagger.jobs.enqueue.selection import Selection

SCAN_EVERY_MIN = 60
ScanEvery = Annotated[
    int,
    typer.Option(
        "--scan-every",
        min=1,
        max=10_000,
        help="Minutes between scans of everything, which find what was not reported, and in buckets what changed or is gone.",
        metavar="MINUTES",
    ),
]
POLL_EVERY_S = 60
PollEvery = Annotated[
    int,
    typer.Option(
        "--poll-every",
        min=1,
        max=100_000,
        help="Seconds between requests for new photos at the end of a bucket.",
        metavar="SECONDS",
    ),
]
RETRY_S = 60.0
"""After an error, the folders or the bucket are scanned again so much later."""
POLL_S = 0.5
START_RETRY_S = 5.0


def wait_for_sources(select: Callable[[], Selection]) -> Selection:
    """Call `select` until all folders and buckets are available. Prints once which one is not."""
    problem = ""
    while True:
        try:
            return select()
        except (PathNotFound, BucketUnavailable) as error:
            if str(error) != problem:
                problem = str(error)
                console.warning(f"{problem} Waiting for it.")
        time.sleep(START_RETRY_S)


class Watcher:
    """Watches the folders and buckets of a selection, and scans them first. `tag` makes a job for photos.

    A context: what changes from its start on is found. Errors are printed, and followed by a scan RETRY_S later: a disk may be
    back, or the database. An error in one bucket is none in the others.
    """

    def __init__(
        self,
        session: Session,
        selection: Selection,
        intervals: WatchIntervals,
        tag: Callable[[Selection], object],
    ) -> None:
        from tagger.photos.paths import ObjectPath

        self._database = session.database
        self._intervals = intervals
        unseen = UnseenPhotos(session, selection, tag)
        folders = tuple(folder for folder in selection.folders if not isinstance(folder, ObjectPath))
        self._folders = WatchedFolders(unseen, folders, intervals) if folders else None
        buckets = [
            WatchedBucket(unseen, prefix, intervals)
            for prefix in selection.folders
            if isinstance(prefix, ObjectPath)
        ]
        self._sources: list[WatchedFolders | WatchedBucket] = [
            *([self._folders] if self._folders else []),
            *buckets,
        ]

    def __enter__(self) -> Self:
        if self._folders is not None:
            self._folders.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._folders is not None:
            self._folders.stop()

    def step(self) -> None:
        """Wait for changes up to POLL_S, and act on them; scan what it is time for.

        Raises:
            DatabaseRemoved: the database file was deleted.
            BucketUnwritable: tags would be written to metadata in a bucket.
        """
        self._database.require_file()
        if self._folders is None or not self._folders.is_watching:
            time.sleep(POLL_S)
        for source in self._sources:
            self._step(source)

    def _step(self, source: WatchedFolders | WatchedBucket) -> None:
        from tagger.database.retry import DatabaseError, is_transient, outage_text

        try:
            source.step()
        except (BucketUnwritable, DatabaseRemoved):  # waiting does not help
            raise
        except FolderMessagesLost as error:
            source.stop()
            self._scan_later(source, str(error))
        except TaggerError as error:
            self._scan_later(source, str(error))
        except DatabaseError as error:
            self._database.require_file()
            if not is_transient(error):
                raise
            self._scan_later(source, f"{outage_text(error)}; trying again until it works")

    def _scan_later(self, source: WatchedFolders | WatchedBucket, problem: str) -> None:
        """Print a problem once, however often it comes back, and find with a scan what was not tagged because of it."""
        if problem not in {each.problem for each in self._sources}:
            console.warning(problem)
        source.problem = problem
        source.scan_at = time.monotonic() + min(RETRY_S, self._intervals.scan_every_s)
