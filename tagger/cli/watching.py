"""Watch folders from a command: tag what is new or changed, and mark what is gone, until the command ends."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.output import console
from tagger.errors import FolderMessagesLost, FoldersNotWatched, TaggerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from tagger.cli.session import Session
    from tagger.enqueue.selection import Selection
    from tagger.photos.folder_watch import Changes, FolderWatch

SCAN_EVERY_MIN = 60
ScanEvery = Annotated[
    int,
    typer.Option(
        "--scan-every",
        min=1,
        max=10_000,
        help="Minutes between scans of all folders, which find what the system did not report.",
        metavar="MINUTES",
    ),
]
RETRY_S = 60.0
"""After an error, the folders are scanned again so much later."""
POLL_S = 0.5


class Watcher:
    """Watches the folders of a selection, and scans them first. `tag` makes a job for photos, and returns its number.

    A context: what changes from its start on is found. Errors are printed, and followed by a scan RETRY_S later: a disk may be
    back, or the database.
    """

    def __init__(
        self, session: Session, selection: Selection, scan_every_s: float, tag: Callable[[Selection], int]
    ) -> None:
        self._session = session
        self._selection = selection
        self._scan_every_s = scan_every_s
        self._tag = tag
        self._watch: FolderWatch | None = None
        self._job: int | None = None
        self._problem = ""
        self._scan_at = time.monotonic()

    def __enter__(self) -> Self:
        self._watch = self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def step(self) -> None:
        """Wait for changes up to POLL_S, and act on them; scan all folders if it is time."""
        from tagger.database.errors import DatabaseError
        from tagger.database.retry import is_transient

        try:
            changes = self._changes()
            if changes is not None:
                self._act(changes)
            if time.monotonic() >= self._scan_at and not self._is_busy():
                self._scan()
        except FolderMessagesLost as error:
            self._stop()
            self._scan_later(str(error))
        except TaggerError as error:
            self._scan_later(str(error))
        except DatabaseError as error:
            if not is_transient(error):
                raise
            self._scan_later("the database does not answer; trying again until it does")

    def _act(self, changes: Changes) -> None:
        from tagger.enqueue.watched_folders import mark_gone

        if not set(self._selection.folders).isdisjoint(changes.missing):
            self._scan_at = time.monotonic()
        if changes.missing:
            mark_gone(self._session.database, changes.missing, self._session.settings.roots)
        if changes.photos:
            self._tag_unseen(replace(self._selection, folders=(), files=tuple(changes.photos)))

    def _scan(self) -> None:
        """Find what no message told: on network shares, in folders that were not mounted, or when there were too many at once."""
        from tagger.enqueue.watched_folders import mark_gone

        # Anew: the folders of a disk that was unmounted are not watched any more.
        self._stop()
        self._watch = self._start()
        self._tag_unseen(self._selection)
        mark_gone(self._session.database, self._selection.folders, self._session.settings.roots)
        self._scan_at = time.monotonic() + self._scan_every_s
        self._problem = ""

    def _tag_unseen(self, selection: Selection) -> None:
        from tagger.enqueue.inference_options import inference_options
        from tagger.enqueue.selection import require_available_roots
        from tagger.enqueue.watched_folders import unseen_photos

        settings, database = self._session
        require_available_roots(database, self._selection, settings.roots)
        inference = inference_options(database, settings, reprocess=False)
        unseen = unseen_photos(database, selection, inference, settings.roots)
        if unseen.files:
            self._job = self._tag(unseen)

    def _is_busy(self) -> bool:
        """Whether workers still have photos of the last job, which a scan would take for unseen."""
        from tagger.ledger.progress import list_jobs

        return self._job is not None and not list_jobs(self._session.database, self._job)[0].is_over

    def _changes(self) -> Changes | None:
        if self._watch is None:
            time.sleep(POLL_S)
            return None
        return self._watch.poll()

    def _start(self) -> FolderWatch | None:
        from tagger.photos.folder_watch import FolderWatch

        folders, patterns = self._selection.folders, (self._selection.include, self._selection.exclude)
        watch = FolderWatch(folders, *patterns, quiet_s=self._session.settings.settle_s)
        try:
            return watch.__enter__()
        except FoldersNotWatched as error:
            console.warning(
                f"{error} Until then, they are scanned every {self._scan_every_s / 60:.0f} minutes."
            )
            return None

    def _stop(self) -> None:
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
            self._watch = None

    def _scan_later(self, problem: str) -> None:
        """Print a problem once, however often it comes back, and find with a scan what was not tagged because of it."""
        if problem != self._problem:
            console.warning(problem)
        self._problem = problem
        self._scan_at = time.monotonic() + min(RETRY_S, self._scan_every_s)
