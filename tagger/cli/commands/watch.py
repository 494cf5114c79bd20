"""`tagger watch`: tag what is new or changed in folders and buckets, and mark what is gone, until the command ends.

Folders are scanned again and again: what systems report of changes misses those on network shares, and their limits are low.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.commands.tag import tag_here
from tagger.cli.job_submission import submit_tag_job
from tagger.cli.option_groups import TagCommandOptions, WriteOptions, with_option_groups
from tagger.cli.options import BatchSize, DeviceName, NoWait
from tagger.cli.output import console
from tagger.cli.output.job_text import count_of, gone_text
from tagger.cli.session import open_session
from tagger.errors import (
    BucketUnavailable,
    BucketUnwritable,
    DatabaseRemoved,
    PathNotFound,
    TaggerError,
)
from tagger.system.interruption import announce_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tagger.cli.session import Session
    from tagger.jobs.enqueue.job_options import InferenceOptions
    from tagger.jobs.enqueue.scan import Selection
    from tagger.photos.folder_walk import FolderProblem, FoundPhoto
    from tagger.photos.paths import ObjectPath

SCAN_EVERY_S = 2.0
"""The shortest time from one scan of a folder to the next one."""
SCAN_PAUSES = 50
"""A pause is so many times as long as the processor worked for the scan before it: watching takes 2 % of a core at most."""


@dataclass(frozen=True)
class WatchIntervals:
    """How often buckets are scanned, and polled."""

    scan_every_s: float
    poll_every_s: float


class UnseenPhotos:
    """Makes jobs for photos that need one, with `tag`, and marks those that are gone. The selection has the patterns."""

    def __init__(self, session: Session, selection: Selection, tag: Callable[[Selection], object]) -> None:
        self._session = session
        self._tag = tag
        self.selection = selection

    def scan(self, folder: Path, listing: Iterable[FoundPhoto | FolderProblem]) -> Selection:
        """Mark what is gone by the complete listing of a folder or prefix, and return what to tag. Objects appear whole."""
        from tagger.jobs.enqueue.scan import require_available_roots
        from tagger.jobs.enqueue.watched_folders import scan_watched
        from tagger.photos.paths import ObjectPath

        settings, database = self._session
        selection = replace(self.selection, folders=(folder,))
        require_available_roots(database, selection, settings.roots)
        settle_s = 0.0 if isinstance(folder, ObjectPath) else settings.settle_s
        changes = scan_watched(
            database, selection, listing, self._inference(), settings.roots, settle_s=settle_s
        )
        if changes.gone:
            console.info(gone_text(changes.gone))
        return changes.unseen

    def tag(self, selection: Selection) -> None:
        """Make a job, if there is anything to tag."""
        if selection.files or selection.folders:
            self._tag(selection)

    def tag_found(self, prefix: Path, found: Sequence[FoundPhoto]) -> None:
        """Tag those photos of a prefix that need it."""
        from tagger.jobs.enqueue.watched_folders import unseen_photos

        settings, database = self._session
        unseen = unseen_photos(database, prefix, found, self._inference(), settings.roots)
        self.tag(replace(self.selection, folders=(), files=tuple(unseen)))

    def _inference(self) -> InferenceOptions:
        from tagger.jobs.enqueue.job_options import inference_options

        return inference_options(self._session.database, self._session.settings, reprocess=False)


class WatchedFolder:
    """A folder, which is scanned again and again."""

    def __init__(self, unseen: UnseenPhotos, folder: Path) -> None:
        self._unseen = unseen
        self._folder = folder
        self._is_first = True
        self.scan_at = time.monotonic()
        self.problem = ""

    def step(self) -> None:
        """Scan the folder if it is time."""
        from tagger.photos.source import open_source

        if time.monotonic() < self.scan_at:
            return
        began = time.process_time()
        selection, source = self._unseen.selection, open_source(str(self._folder))
        listing = source.photos(include=selection.include, exclude=selection.exclude)
        unseen = self._unseen.scan(self._folder, listing)
        worked = 0.0 if self._is_first else time.process_time() - began  # the first one also loads modules
        self._is_first = False
        self.scan_at = time.monotonic() + max(SCAN_EVERY_S, SCAN_PAUSES * worked)
        self._unseen.tag(unseen)
        self.problem = ""


class WatchedBucket:
    """A prefix of a bucket. Polls find new photos behind the greatest key, scans all that is new, changed or gone."""

    def __init__(self, unseen: UnseenPhotos, prefix: ObjectPath, intervals: WatchIntervals) -> None:
        from tagger.photos.objects import BucketTail

        self._unseen = unseen
        self._prefix = prefix
        self._intervals = intervals
        self._tail = BucketTail(prefix, unseen.selection.include, unseen.selection.exclude)
        self._poll_at = 0.0
        self.scan_at = time.monotonic()
        self.problem = ""

    def step(self) -> None:
        """Scan or poll the prefix if it is time."""
        now = time.monotonic()
        if now >= self.scan_at:
            self._unseen.tag(self._unseen.scan(self._prefix, self._tail.all_photos(now)))
            self.scan_at = time.monotonic() + self._intervals.scan_every_s
        elif now >= self._poll_at and not self.problem:
            self._unseen.tag_found(self._prefix, self._tail.new_photos(now))
        else:
            return
        self._poll_at = time.monotonic() + self._intervals.poll_every_s
        self.problem = ""


SCAN_EVERY_MIN = 60
ScanEvery = Annotated[
    int,
    typer.Option(
        "--scan-every",
        min=1,
        max=10_000,
        help="Minutes between scans of buckets, which find what changed or is gone.",
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
"""After an error, the folder or the bucket is scanned again so much later."""
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
    """Watches the folders and buckets of a selection. `tag` makes a job for photos.

    Errors are printed, and followed by a scan RETRY_S later: a disk may be back, or the database. An error in one folder or bucket is
    none in the others.
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
        unseen = UnseenPhotos(session, selection, tag)
        self._sources = [
            WatchedBucket(unseen, folder, intervals)
            if isinstance(folder, ObjectPath)
            else WatchedFolder(unseen, folder)
            for folder in selection.folders
        ]

    def step(self) -> None:
        """Scan and poll what it is time for.

        Raises:
            DatabaseRemoved: the database file was deleted.
            BucketUnwritable: tags would be written to metadata in a bucket.
        """
        self._database.require_file()
        for source in self._sources:
            self._step(source)

    def _step(self, source: WatchedFolder | WatchedBucket) -> None:
        from tagger.database.retry import DatabaseError, is_transient, outage_text

        try:
            source.step()
        except (BucketUnwritable, DatabaseRemoved):  # waiting does not help
            raise
        except TaggerError as error:
            self._scan_later(source, str(error))
        except DatabaseError as error:
            self._database.require_file()
            if not is_transient(error):
                raise
            self._scan_later(source, f"{outage_text(error)}; trying again until it works")

    def _scan_later(self, source: WatchedFolder | WatchedBucket, problem: str) -> None:
        """Print a problem once, however often it comes back, and find with a scan what was not tagged because of it."""
        if problem not in {each.problem for each in self._sources}:
            console.warning(problem)
        source.problem = problem
        source.scan_at = time.monotonic() + RETRY_S


FoldersAndPrefixes = Annotated[
    list[Path],
    typer.Argument(
        help="Folders, with the folders in them, or prefixes of buckets: s3://BUCKET/PREFIX.",
        metavar="FOLDER",
    ),
]
Enqueue = Annotated[
    bool, typer.Option("--enqueue", help="Leave the photos to workers, in jobs, as tagger enqueue does.")
]


@with_option_groups
def watch(
    paths: FoldersAndPrefixes,
    options: TagCommandOptions,
    write_options: WriteOptions,
    enqueue: Enqueue = False,
    poll_every: PollEvery = POLL_EVERY_S,
    scan_every: ScanEvery = SCAN_EVERY_MIN,
    device: DeviceName = None,
    batch_size: BatchSize = None,
    no_wait: NoWait = False,
) -> None:
    """Tag the new and changed photos in folders and buckets, at once and then as they come, until Ctrl-C.

    Deleted photos are marked as gone. Folders are scanned every few seconds, large ones less often. Buckets are asked every minute for photos behind their greatest key, and scanned every hour. Photos that failed are tried again when they change.

    Example: tagger watch ~/Pictures s3://holidays/incoming
    """
    from tagger.jobs.enqueue.scan import select_paths

    metadata = write_options.metadata()
    settings = options.settings(device=device, batch_size=batch_size)
    session = open_session(settings, settle_jobs=True)
    select = partial(select_paths, paths, options.include or (), options.exclude or ())
    selection = select() if no_wait else wait_for_sources(select)
    if selection.files:
        text = f"{selection.files[0]} is a single photo; name the folder or prefix that it is in"
        raise typer.BadParameter(text, param_hint="FOLDER")

    def tag_photos(photos: Selection) -> int:
        if enqueue:
            return submit_tag_job(session, photos, Priority.BULK, write=metadata, start_redis=True)
        return tag_here(session, photos, metadata)[0]

    from tagger.database.enums import Priority

    announce_stop("start the same command again: it finds what is not tagged yet")
    intervals = WatchIntervals(60.0 * scan_every, poll_every)
    watcher = Watcher(session, selection, intervals, tag_photos)
    console.info(f"watching {_sources_text(selection)}; press Ctrl-C to stop")
    while True:
        watcher.step()
        time.sleep(POLL_S)


def _sources_text(selection: Selection) -> str:
    """`2 folders`, `1 folder and 1 bucket`."""
    from tagger.photos.paths import ObjectPath

    buckets = sum(isinstance(folder, ObjectPath) for folder in selection.folders)
    counts = (("folder", len(selection.folders) - buckets), ("bucket", buckets))
    return " and ".join(count_of(count, noun) for noun, count in counts if count)
