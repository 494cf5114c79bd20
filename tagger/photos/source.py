"""Sources of photos, which scans list and the pipeline reads: folders, and prefixes of buckets."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import ClassVar, Protocol

from tagger.errors import ObjectUnsupported, PathNotFound, RootUnavailable
from tagger.photos import buckets
from tagger.photos.buckets import ObjectSource, find_object, is_object
from tagger.photos.files import Mount, OpenFile, PhotoBytes, PhotoVersion, read_photo
from tagger.photos.folders import (
    FolderProblem,
    FolderSource,
    FoundPhoto,
    find_photo,
    side_files_in,
)
from tagger.photos.names import OtherFiles
from tagger.photos.paths import ObjectPath, parse_path
from tagger.photos.side_files import Sidecars

PAGE = 1000
# How many objects are checked at a time; each takes a request.
PARALLEL_CHECKS = 16


class PhotoSource(Protocol):
    """A store of photos, each identified by its path within the source (text with slashes)."""

    # What people call it.
    noun: ClassVar[str]
    # How many reads beyond one for each core it serves well. More could slow each other down.
    extra_reads: ClassVar[int]
    # Whether metadata may be written into it.
    is_writable: ClassVar[bool]
    # Whether disks and shares can be mounted in it.
    has_mounts: ClassVar[bool]
    # Whether it can be listed as often as one likes. Each request to a bucket is paid for.
    is_free_to_list: ClassVar[bool]

    @property
    def location(self) -> str:
        """The address with which `open_source` opens the source, in this process or another."""

    def mount(self) -> Mount:
        """Check whether the source responds, and whether it has any content."""

    def photos(
        self,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        other_files: OtherFiles | None = None,
        unavailable: Collection[Path] = (),
    ) -> Iterator[FoundPhoto | FolderProblem]:
        """List the photos, each real file once, in ascending order of their paths.

        Hidden files and folders, folders in which other programs keep copies (see names), those that a file
        like `.nomedia` keeps out are skipped; the source itself is not. Links to folders are not followed.
        Patterns may contain `*`, `?` and `[...]`, ignore case, and are matched against the relative path
        (where `*` matches slashes too) and against the name. `exclude` omits photos and whole folders;
        `include`, if not empty, selects photos. `other_files` counts the files that only their extension
        leaves out, and the folders and copies that are skipped, and gets the folders that are mounted.
        Folders that are `unavailable` are not entered.

        Raises:
            PathNotFound: the folder does not exist. Folders below it that cannot be read are yielded as
            problems.
            BucketUnavailable: the bucket cannot be listed (further).
        """

    def read(self, path: str, *, max_bytes: int, settle_s: float = 0.0) -> PhotoBytes:
        """Read one whole photo, unless it changed less than `settle_s` ago.

        Raises:
            PhotoFailed: it is gone, unreadable, empty, too large, or still being written (`settling`).
        """

    def version(self, path: str) -> PhotoVersion | None:
        """Identify the photo's current content without reading it; None if it cannot be accessed."""

    def open(self, path: str, scanned: PhotoVersion) -> OpenFile:
        """Open the photo that a scan found with that version, or a later version of it.

        Raises:
            PhotoFailed: it is gone, unreadable or another file, or the source does not answer.
        """

    def current_version(self, path: str, scanned: PhotoVersion) -> PhotoVersion:
        """Return the version of what `open` opens. Raises as it does."""

    def is_settled(self, version: PhotoVersion, settle_s: float) -> bool:
        """Whether a photo changed at least `settle_s` ago, so that it is no longer being written."""

    def missing(self, paths: Collection[str]) -> set[str]:
        """Return the paths at which no photo exists.

        A path whose check fails is not among them, nor one that leads through a link to a folder.
        """

    def named(self) -> tuple[Path, bool]:
        """Return the path that a user named, as it is stored, and whether it is that of a folder or prefix.

        Raises:
            PathNotFound: it does not exist, or its disk or share does not answer.
            BucketUnavailable: the bucket does not answer.
        """

    def resolved(self) -> Path:
        """Return the path as it is stored, also if it does not exist: only links to folders are resolved."""

    def may_have_photos(self) -> bool:
        """Whether the source responds, as far as is known at once."""

    def subfolders(self) -> list[str]:
        """The names of the folders in it that a scan would enter, in order, as far as it can be browsed.

        Raises:
            PathNotFound: it cannot be listed.
        """

    def may_have_moved_to(self, folder: Path) -> bool:
        """Whether the source does not exist any more, or is a link to that folder."""

    def shown_name(self, folder: Path, root_name: str) -> str:
        """What messages call a folder in this source, which is a root, on each machine."""

    def unavailable(self, mount: Mount, photos: str) -> RootUnavailable:
        """The error for a source that is unavailable, though so many `photos` are stored in it."""

    def sidecars(self, path: str) -> Sidecars:
        """Find the sidecars of a photo.

        Raises:
            OSError: the folder is a link, may not be read, or its disk failed.
            BucketUnavailable: the bucket cannot be listed.
        """


def has_entry(path: str) -> bool:
    """Whether there is a file, folder or object at a path, or an object below it.

    Raises:
        BucketUnavailable: the bucket does not answer.
    """
    parsed = parse_path(path)
    return (
        buckets.has_entry(parsed)
        if isinstance(parsed, ObjectPath)
        else os.path.lexists(parsed)
    )


def check_exists(path: Path) -> bool:
    """Check that a user named a file, folder or object that exists. Returns whether it is a folder.

    Raises:
        PathNotFound: there is none.
        BucketUnavailable: the bucket does not answer.
    """
    if not (is_object(path) if isinstance(path, ObjectPath) else path.exists()):
        raise PathNotFound(path=path)
    return not isinstance(path, ObjectPath) and path.is_dir()


def read_named(path: Path, *, max_bytes: int) -> PhotoBytes:
    """Read a single file or object that the user named.

    Raises:
        PhotoFailed: as `PhotoSource.read`.
    """
    if isinstance(path, ObjectPath):
        return ObjectSource(path.parent).read(path.name, max_bytes=max_bytes)
    return read_photo(path, max_bytes=max_bytes)


def find_named(paths: Iterable[Path]) -> Iterator[FoundPhoto | FolderProblem]:
    """Return single files and objects, whatever their extension. Those that no longer exist are problems.

    Raises:
        BucketUnavailable: a bucket does not answer.
    """
    for in_bucket, group in groupby(
        paths, key=lambda path: isinstance(path, ObjectPath)
    ):
        if not in_bucket:
            for folder, files in groupby(group, key=lambda path: path.parent):
                side_files = side_files_in(folder)
                yield from (
                    _find_named(path, side_files.get(path.name, ())) for path in files
                )
            continue
        with ThreadPoolExecutor(PARALLEL_CHECKS) as pool:
            while page := list(islice(group, PAGE)):
                yield from pool.map(_find_named, page)


def _find_named(
    path: Path, side_files: Sequence[str] = ()
) -> FoundPhoto | FolderProblem:
    try:
        return (
            find_object(path)
            if isinstance(path, ObjectPath)
            else find_photo(path, side_files)
        )
    except PathNotFound:
        return FolderProblem(path, "It does not exist any more.")


def require_writable(paths: Iterable[Path]) -> None:
    """Raises:
    ObjectUnsupported: one of the paths is in a bucket, which is only read.
    """
    for path in paths:
        if not open_source(str(path)).is_writable:
            raise ObjectUnsupported(path=str(path))


def open_source(location: str, *, patient: bool = True) -> PhotoSource:
    """Open the source at a `PhotoSource.location`: the only place that knows the kinds of sources.

    `patient`: requests to a bucket are repeated for up to a minute; otherwise for a few seconds.
    """
    path = parse_path(location)
    return (
        ObjectSource(path, patient)
        if isinstance(path, ObjectPath)
        else FolderSource(path)
    )
