"""The folders and files that a command or a web request names."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tagger.database.connection import Database
from tagger.errors import PathNotFound
from tagger.library.catalog.roots import RootPaths, find_root, unavailable_error, unavailable_mount
from tagger.photos.objects import is_object
from tagger.photos.paths import ObjectPath, parse_path


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
    """Sort paths into folders and files: resolve links in folders, drop duplicates and what is inside another folder.

    Raises:
        PathNotFound: a path does not exist.
        ObjectAddressInvalid, BucketUnavailable: an address of a bucket is invalid, or the bucket does not answer.
    """
    folders, files = set[Path](), set[Path]()
    for path in map(parse_path, paths):
        if isinstance(path, ObjectPath):
            (files if is_object(path) else folders).add(path)
        elif path.is_dir():
            folders.add(path.resolve())
        elif os.path.lexists(path):
            files.add(path.parent.resolve() / path.name)
        else:
            raise PathNotFound(path=path)
    outermost = {folder for folder in folders if not any(parent in folders for parent in folder.parents)}
    single = {file for file in files if not any(parent in outermost for parent in file.parents)}
    return Selection(tuple(sorted(outermost)), tuple(sorted(single)), tuple(include), tuple(exclude))


def require_available_roots(database: Database, selection: Selection, root_paths: RootPaths) -> None:
    """Check, before anything is recorded, that the disks of all folders are mounted.

    Raises:
        RootUnavailable: a folder is empty, but the database has photos in it.
    """
    with database.read() as connection:
        for folder in selection.folders:
            root = find_root(connection, folder, root_paths)
            mount = None if root is None else unavailable_mount(connection, root, folder)
            if root is not None and mount is not None:
                raise unavailable_error(connection, root, folder, mount)
