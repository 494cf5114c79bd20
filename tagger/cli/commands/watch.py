"""`tagger watch`: tag what is new or changed in folders and buckets, and mark what is gone, until the command ends.

The system reports changes of folders; prefixes of buckets are polled.
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
    FolderMessagesLost,
    FoldersNotWatched,
    PathNotFound,
    TaggerError,
)
from tagger.system.interruption import announce_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from tagger.cli.session import Session
    from tagger.jobs.enqueue.job_options import InferenceOptions
    from tagger.jobs.enqueue.scan import Selection
    from tagger.photos.folder_walk import FolderProblem, FoundPhoto
    from tagger.photos.paths import ObjectPath
    from tagger.photos.watching import Changes, FolderWatch

UNWATCHED_EVERY_S = 60.0
"""How often folders are looked into whose changes the system does not report."""


@dataclass(frozen=True)
class WatchIntervals:
    """How often everything is scanned, and buckets are polled."""

    scan_every_s: float
    poll_every_s: float


class UnseenPhotos:
    """Makes jobs for photos that need one, with `tag`, and marks those that are gone. The selection has the patterns."""

    def __init__(self, session: Session, selection: Selection, tag: Callable[[Selection], object]) -> None:
        self._session = session
        self._tag = tag
        self.selection = selection

    @property
    def settle_s(self) -> float:
        return self._session.settings.settle_s

    def scan(self, folder: Path, listing: Iterable[FoundPhoto | FolderProblem]) -> None:
        """Act on the complete listing of a folder or prefix."""
        from tagger.jobs.enqueue.scan import require_available_roots
        from tagger.jobs.enqueue.watched_folders import scan_watched

        settings, database = self._session
        selection = replace(self.selection, folders=(folder,))
        require_available_roots(database, selection, settings.roots)
        changes = scan_watched(database, selection, listing, self._inference(), settings.roots)
        _print_gone(changes.gone)
        if changes.unseen.files or changes.unseen.folders:
            self._tag(changes.unseen)

    def tag_files(self, files: Sequence[Path]) -> None:
        """Tag those files that need it."""
        from tagger.jobs.enqueue.watched_folders import unseen_files

        settings, database = self._session
        self._tag_unseen(unseen_files(database, files, self._inference(), settings.roots))

    def tag_found(self, prefix: Path, found: Sequence[FoundPhoto]) -> None:
        """Tag those photos of a prefix that need it."""
        from tagger.jobs.enqueue.watched_folders import unseen_photos

        settings, database = self._session
        self._tag_unseen(unseen_photos(database, prefix, found, self._inference(), settings.roots))

    def mark_gone(self, paths: Sequence[Path]) -> None:
        """Mark the photos at or below these paths that no longer exist."""
        from tagger.jobs.enqueue.watched_folders import mark_gone

        _print_gone(mark_gone(self._session.database, paths, self._session.settings.roots))

    def _tag_unseen(self, unseen: Sequence[Path]) -> None:
        if unseen:
            self._tag(replace(self.selection, folders=(), files=tuple(unseen)))

    def _inference(self) -> InferenceOptions:
        from tagger.jobs.enqueue.job_options import inference_options

        return inference_options(self._session.database, self._session.settings, reprocess=False)


class WatchedFolders:
    """Some folders. The system reports changes; scans find what it does not report."""

    def __init__(self, unseen: UnseenPhotos, folders: Sequence[Path], intervals: WatchIntervals) -> None:
        self._unseen = unseen
        self._folders = folders
        self._scan_every_s = intervals.scan_every_s
        self._watch: FolderWatch | None = None
        self._has_unwatched = False
        self._look_at = 0.0
        self.scan_at = time.monotonic()
        self.problem = ""

    @property
    def is_watching(self) -> bool:
        return self._watch is not None

    def start(self) -> None:
        """Begin to follow what the system reports. If it reports nothing, a warning is printed."""
        from tagger.photos.watching import FolderWatch

        patterns = (self._unseen.selection.include, self._unseen.selection.exclude)
        try:
            self._watch = FolderWatch(self._folders, *patterns, quiet_s=self._unseen.settle_s).__enter__()
        except FoldersNotWatched as error:
            console.warning(
                f"{error} Until then, they are scanned every {self._scan_every_s / 60:.0f} minutes."
            )

    def stop(self) -> None:
        """End what `start` began."""
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
            self._watch = None

    def step(self) -> None:
        """Wait for changes for a moment, and act on them; scan all folders if it is time."""
        if self._watch is not None:
            self._act(self._watch.poll())
            is_new = self._watch.has_new_folders
            if (is_new or self._has_unwatched) and time.monotonic() >= self._look_at:
                self._look_into_unwatched(self._watch)
        if time.monotonic() >= self.scan_at:
            self._scan()

    def _look_into_unwatched(self, watch: FolderWatch) -> None:
        """Tag new photos of the folders that the system does not watch, and mark those that are gone there."""
        from tagger.photos.folder_walk import FoundPhoto
        from tagger.photos.source import open_source

        folders = watch.unwatched()
        if folders and not self._has_unwatched:
            more = f" and {count_of(len(folders) - 1, 'other folder')}" if len(folders) > 1 else ""
            console.warning(
                f"the system does not report changes in {folders[0]}{more}, because it watches no more folders for you. "
                f"They are looked into every {UNWATCHED_EVERY_S:.0f} s. On Linux, raise fs.inotify.max_user_watches with sysctl."
            )
        self._has_unwatched = bool(folders)
        selection, complete_before = self._unseen.selection, time.time() - self._unseen.settle_s
        for folder in folders:
            listing = open_source(str(folder)).photos(include=selection.include, exclude=selection.exclude)
            found = [each for each in listing if isinstance(each, FoundPhoto)]
            self._unseen.tag_found(folder, [each for each in found if each.mtime_ns < complete_before * 1e9])
            self._unseen.mark_gone([folder])
        self._look_at = time.monotonic() + UNWATCHED_EVERY_S

    def _act(self, changes: Changes) -> None:
        if not set(self._folders).isdisjoint(changes.missing):
            self.scan_at = time.monotonic()
        if changes.missing:
            self._unseen.mark_gone(changes.missing)
        if changes.photos:
            self._unseen.tag_files(changes.photos)

    def _scan(self) -> None:
        """Find what no message told: on network shares, in folders that were not mounted, or when there were too many at once."""
        from tagger.photos.source import open_source

        # Anew: the folders of a disk that was unmounted are not watched any more.
        self.stop()
        self.start()
        selection = self._unseen.selection
        for folder in self._folders:
            source = open_source(str(folder))
            self._unseen.scan(folder, source.photos(include=selection.include, exclude=selection.exclude))
        self.scan_at = time.monotonic() + self._scan_every_s
        self.problem = ""


class WatchedBucket:
    """A prefix of a bucket. Polls find new photos behind the greatest key, scans all that is new, changed or gone."""

    def __init__(self, unseen: UnseenPhotos, prefix: ObjectPath, intervals: WatchIntervals) -> None:
        from tagger.photos.watching import BucketTail

        self._unseen = unseen
        self._prefix = prefix
        self._intervals = intervals
        self._tail = BucketTail(prefix, unseen.selection.include, unseen.selection.exclude)
        self._poll_at = 0.0
        self.scan_at = time.monotonic()
        self.problem = ""

    def stop(self) -> None:
        """Nothing is open between two requests."""

    def step(self) -> None:
        """Scan or poll the prefix if it is time."""
        now = time.monotonic()
        if now >= self.scan_at:
            self._unseen.scan(self._prefix, self._tail.all_photos(now))
            self.scan_at = time.monotonic() + self._intervals.scan_every_s
        elif now >= self._poll_at and not self.problem:
            self._unseen.tag_found(self._prefix, self._tail.new_photos(now))
        else:
            return
        self._poll_at = time.monotonic() + self._intervals.poll_every_s
        self.problem = ""


def _print_gone(count: int) -> None:
    if count:
        console.info(gone_text(count))


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

    In folders, that takes seconds. Deleted photos are marked as gone. Buckets are asked every minute for photos behind their greatest key. Everything is scanned from time to time, too: network shares and buckets do not report changes. Photos that failed are tried again when they change.

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
    with Watcher(session, selection, intervals, tag_photos) as watcher:
        console.info(f"watching {_sources_text(selection)}; press Ctrl-C to stop")
        while True:
            watcher.step()


def _sources_text(selection: Selection) -> str:
    """`2 folders`, `1 folder and 1 bucket`."""
    from tagger.photos.paths import ObjectPath

    buckets = sum(isinstance(folder, ObjectPath) for folder in selection.folders)
    counts = (("folder", len(selection.folders) - buckets), ("bucket", buckets))
    return " and ".join(count_of(count, noun) for noun, count in counts if count)
