"""Watches folders and buckets for new photos. Knows nothing of the database.

The system's messages about folders may be missing (network shares) or lost (too many at once), and the end of a bucket's listing shows
only keys that grow, like names that begin with a date. Callers therefore also scan everything from time to time.
"""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from watchfiles import Change, watch
from watchfiles._rust_notify import WatchfilesRustInternalError

from tagger.errors import FolderMessagesLost, FoldersNotWatched
from tagger.photos.folder_walk import FoundPhoto, find_listed, find_photos
from tagger.photos.objects import ObjectSource
from tagger.photos.paths import ObjectPath

POLL_MS = 500
"""How long `FolderWatch.poll` waits for messages."""
_GATHER_MS = 200  # messages of one file come in bursts
_FileState = tuple[int, int] | None
"""The size and the time of a file; None: there is none."""
OVERLAP_S = 600.0
"""Parallel uploads end in any order, so a listing begins after the greatest key of this long ago."""
NEW_FOLDER_S = 1.0
"""A folder that has just been made is watched after a moment."""
_WATCHED_INODE = re.compile(r"^inotify .*\bino:([0-9a-f]+)", re.MULTILINE)


@dataclass(frozen=True)
class Changes:
    """What has happened: photos to read, and paths of files or folders that no longer exist.

    A watched folder is also missing if another one has taken its place, for example when a disk is mounted. It is then no longer watched.
    """

    photos: Sequence[Path] = ()
    missing: Sequence[Path] = ()


class FolderWatch:
    """The changes below some folders, of photos that a scan with the same patterns would find.

    It is a context manager; from its start on, no change is missed.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        *,
        quiet_s: float,
    ) -> None:
        """A photo that has not changed for `quiet_s` is complete: nobody is copying it any more."""
        self._folders = folders
        self._include = include
        self._exclude = exclude
        self._quiet = QuietPaths(_file_state, quiet_s)
        self.has_new_folders = True
        """Whether folders have been added since `unwatched` was called."""
        # Without a filter: the library's own one is made for folders of source code.
        self._messages: Iterator[set[tuple[Change, str]]] = watch(
            *folders,
            watch_filter=None,
            debounce=_GATHER_MS,
            rust_timeout=POLL_MS,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )

    def __enter__(self) -> Self:
        """Start.

        Raises:
            FoldersNotWatched: the system watches no more folders, for this user.
        """
        try:
            self._record(next(self._messages))
        except (OSError, WatchfilesRustInternalError) as error:
            raise FoldersNotWatched(reason=error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        close = getattr(self._messages, "close", None)
        if close is not None:
            close()

    def poll(self) -> Changes:
        """Wait up to POLL_MS for messages; returns what has been quiet.

        Raises:
            FolderMessagesLost: some messages could not be read. The watch is over.
        """
        try:
            messages = next(self._messages)
        except (OSError, WatchfilesRustInternalError) as error:
            raise FolderMessagesLost from error
        self._record(messages)
        due = self._quiet.due(time.monotonic())
        # A folder may have taken the place of what was deleted.
        photos = sorted(path for path, exists in due if exists and self._is_listed(path))
        missing = sorted(path for path, exists in due if not exists or path in self._folders)
        return Changes(photos, missing)

    def unwatched(self) -> list[Path]:
        """Return the outermost folders whose changes the system does not report, because it watches no more for this user.

        The library reports that limit for the outermost folders alone. Linux lists what it watches; elsewhere, none is returned.
        """
        self.has_new_folders = False
        if not self._unwatched_now():
            return []
        time.sleep(NEW_FOLDER_S)
        return self._unwatched_now()

    def _unwatched_now(self) -> list[Path]:
        watched = _watched_inodes()
        if not watched:
            return []
        found, waiting = list[Path](), [*self._folders]
        while waiting:
            folder = waiting.pop()
            with suppress(OSError), os.scandir(folder) as entries:
                if folder.stat().st_ino in watched:
                    waiting += [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
                else:
                    found.append(folder)
        return sorted(found)

    def _record(self, messages: set[tuple[Change, str]]) -> None:
        now = time.monotonic()
        for change, text in messages:
            path = _without_links(text)
            if not any(path.is_relative_to(folder) for folder in self._folders):
                continue
            if change is Change.deleted or self._is_listed(path):
                self._quiet.record(path, now)
            elif change is Change.added and os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114 - without errors
                self.has_new_folders = True
                # There are no messages about the files in a folder that was moved here.
                for found in find_photos(path):
                    if isinstance(found, FoundPhoto) and self._is_listed(found.path):
                        self._quiet.record(found.path, now)

    def _is_listed(self, path: Path) -> bool:
        return any(
            find_listed(folder, path, include=self._include, exclude=self._exclude) is not None
            for folder in self._folders
            if path.is_relative_to(folder)
        )


def _watched_inodes() -> set[int]:
    """The inodes that this process watches, by proc(5); none where the system does not tell."""
    inodes = set[int]()
    with suppress(OSError):
        for descriptor in Path("/proc/self/fdinfo").iterdir():
            with suppress(OSError):  # closed meanwhile
                inodes |= {int(inode, 16) for inode in _WATCHED_INODE.findall(descriptor.read_text())}
    return inodes


class QuietPaths:
    """Paths that have changed, until they have been quiet for a time. `state_of` tells the state of a file now."""

    def __init__(self, state_of: Callable[[Path], _FileState], quiet_s: float) -> None:
        self._state_of = state_of
        self._quiet_s = quiet_s
        self._changed: dict[Path, tuple[float, _FileState]] = {}

    def record(self, path: Path, now: float) -> None:
        """A change at `now`, in seconds of any clock."""
        self._changed[path] = now, self._state_of(path)

    def due(self, now: float) -> list[tuple[Path, bool]]:
        """Take the paths that are quiet, each with whether there is a file."""
        due = []
        for path, (since, state) in list(self._changed.items()):
            if now - since < self._quiet_s:
                continue
            # Not every system tells about each write.
            if (current := self._state_of(path)) != state:
                self._changed[path] = now, current
                continue
            del self._changed[path]
            due.append((path, state is not None))
        return due


def _without_links(path: str) -> Path:
    """The path on which a scan finds the file. The library follows links to folders, and reports only one path of each folder."""
    folder, name = os.path.split(path)
    return Path(os.path.realpath(folder), name)


def _file_state(path: Path) -> _FileState:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


class BucketTail:
    """The keys of a prefix, the last of which are listed repeatedly to find new ones.

    A listing that begins after the greatest key takes one request per thousand new keys, whatever the size of the bucket.
    """

    def __init__(self, prefix: ObjectPath, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._source = ObjectSource(prefix)
        self._include = include
        self._exclude = exclude
        self._greatest: deque[tuple[float, str]] = deque()
        self._listed: dict[Path, FoundPhoto] = {}

    def all_photos(self, now: float) -> Iterator[FoundPhoto]:
        """List all photos. `now` is the time in seconds of any clock.

        Raises:
            BucketUnavailable: the bucket cannot be listed (further).
        """
        last = ""
        for last, photo in self._source.objects(include=self._include, exclude=self._exclude):  # noqa: B007 - the last one
            if photo is not None:
                yield photo
        self._greatest = deque([(now, last)])
        self._listed = {}

    def new_photos(self, now: float) -> list[FoundPhoto]:
        """List the photos at the end that no earlier listing had, or had in another version. Needs `all_photos` first.

        Raises:
            BucketUnavailable: as `all_photos`.
        """
        while len(self._greatest) > 1 and self._greatest[1][0] <= now - OVERLAP_S:
            self._greatest.popleft()
        last = self._greatest[-1][1]
        photos = {}
        for key, photo in self._source.objects(
            include=self._include, exclude=self._exclude, after=self._greatest[0][1]
        ):
            last = max(last, key)
            if photo is not None:
                photos[photo.path] = photo
        new = [photo for path, photo in photos.items() if self._listed.get(path) != photo]
        self._greatest.append((now, last))
        self._listed = photos
        return new
