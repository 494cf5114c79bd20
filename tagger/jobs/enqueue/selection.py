"""What a scan reads: the paths that were named, and the photos in a folder, page by page."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tagger.database.connection import Database
from tagger.jobs.enqueue.photo_rows import PathKey
from tagger.photos.folders import FolderProblem, FoundPhoto
from tagger.photos.names import OtherFiles
from tagger.photos.paths import path_text
from tagger.photos.source import open_source
from tagger.roots import RootPaths, find_root, list_roots
from tagger.roots.availability import (
    UnavailableFolder,
    check_mounted,
    unavailable_below,
)

PAGE = 2000
# PostgreSQL cannot index longer paths.
LONGEST_PATH_BYTES = 2000


@dataclass(frozen=True)
class Selection:
    """Folders to scan (none inside another), single files, and patterns for the photos in the folders."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def select_paths(
    paths: Iterable[Path], include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Selection:
    """Sort paths into folders and files, without links in folders, duplicates and what is inside another.

    Raises:
        PathNotFound: a path does not exist, or its disk or share does not answer.
        ObjectAddressInvalid, BucketUnavailable: an address is invalid, or its bucket does not answer.
    """
    folders, files = set[Path](), set[Path]()
    for path in paths:
        resolved, is_folder = open_source(str(path)).named()
        (folders if is_folder else files).add(resolved)
    outermost = {
        folder
        for folder in folders
        if not any(parent in folders for parent in folder.parents)
    }
    single = {
        file
        for file in files
        if not any(parent in outermost for parent in file.parents)
    }
    return Selection(
        tuple(sorted(outermost)), tuple(sorted(single)), tuple(include), tuple(exclude)
    )


def require_available_roots(
    database: Database, selection: Selection, root_paths: RootPaths
) -> None:
    """Check, before anything is recorded, that the disks of all folders are mounted.

    Raises:
        RootUnavailable: a folder is empty, but the database has photos in it.
    """
    for folder in selection.folders:
        unavailable_in(database, folder, root_paths)
    with database.read() as connection:
        for root in list_roots(connection, root_paths) if selection.files else ():
            check_mounted(connection, root, selection.files)


def unavailable_in(
    database: Database, folder: Path, root_paths: RootPaths
) -> list[UnavailableFolder]:
    """As `unavailable_below`. Nothing is known of a folder in no root."""
    with database.read() as connection:
        root = find_root(connection, folder, root_paths)
        return [] if root is None else unavailable_below(connection, root, folder)


@dataclass(frozen=True)
class ListedPage:
    """Photos of a folder, and the paths in it that they cover: after `first`, to `last` or the end."""

    photos: list[FoundPhoto]
    first: str
    last: str | None


def without_problems(
    entries: Iterable[FoundPhoto | FolderProblem], problems: list[FolderProblem]
) -> Iterator[FoundPhoto]:
    """The photos that can be recorded; `problems` gets the others."""
    for entry in entries:
        if isinstance(entry, FolderProblem):
            problems.append(entry)
        # A character has up to four bytes.
        elif (
            len(entry.location) * 4 > LONGEST_PATH_BYTES
            and len(os.fsencode(entry.location)) > LONGEST_PATH_BYTES
        ):
            text = (
                f"The path is longer than {LONGEST_PATH_BYTES} bytes. Move the file to a folder nearer "
                f"the top."
            )
            problems.append(FolderProblem(entry.path, text))
        else:
            yield entry


def list_folder(
    folder: Path,
    selection: Selection,
    other_files: OtherFiles,
    unavailable: Sequence[UnavailableFolder],
) -> Iterator[FoundPhoto | FolderProblem]:
    """List what the selection has in a folder, without what is unavailable."""
    return open_source(str(folder)).photos(
        include=selection.include,
        exclude=selection.exclude,
        other_files=other_files,
        unavailable=[each.folder for each in unavailable],
    )


def listed_pages(found: Iterator[FoundPhoto], folder: Path) -> Iterator[ListedPage]:
    """Pages of photos whose ranges together cover the folder."""
    first = ""
    while True:
        page = list(islice(found, PAGE))
        if len(page) < PAGE:
            yield ListedPage(page, first, None)
            return
        ((last, _),) = path_keys(folder, page[-1:])
        yield ListedPage(page, first, last)
        first = last


def path_keys(folder: Path, page: Iterable[FoundPhoto]) -> list[PathKey]:
    # The same as relative_to for photos in the folder, ten times as fast.
    length = len(str(folder))
    return [path_text(photo.location[length:].lstrip("/")) for photo in page]
