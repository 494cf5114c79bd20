"""How many photos each folder has, with those of its sub-folders; reads only."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from sqlalchemy import func, select

from tagger.database.connection import Database
from tagger.database.path_parts import folder_of
from tagger.database.tables import PRESENT, photos
from tagger.library.catalog.roots import RootPaths, list_roots


@dataclass(frozen=True)
class FolderCount:
    """A folder with photos in it or below it: its path relative to its root (empty: the root), and its whole path."""

    name: str
    path: str
    folder: str
    depth: int
    photos: int


def folder_counts(database: Database, root_paths: RootPaths) -> list[FolderCount]:
    """All folders in order of their paths, without those whose path is not text. Reads all photos."""
    folder = folder_of(photos.c.path)
    query = (
        select(photos.c.root_id, folder, func.count())
        .where(PRESENT, photos.c.path_bytes == b"")
        .group_by(photos.c.root_id, folder)
    )
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, root_paths)}
        numbers: Counter[tuple[int, str]] = Counter()
        for root_id, path, count in connection.execute(query):
            for each in _upwards(path.rstrip("/")):
                numbers[root_id, each] += count
    found = (
        FolderCount(
            name=PurePosixPath(path).name if path else str(roots[root_id].folder),
            path=path,
            folder=str(roots[root_id].folder / path),
            depth=path.count("/") + 1 if path else 0,
            photos=count,
        )
        for (root_id, path), count in numbers.items()
    )
    return sorted(found, key=lambda each: each.folder.split("/"))


def _upwards(path: str) -> Iterator[str]:
    """The folder and those that it is in, up to the root."""
    yield path
    while path:
        path = path.rpartition("/")[0]
        yield path
