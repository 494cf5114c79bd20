"""Which folders of photos are unavailable: roots, and disks and shares that are mounted below them.

An unavailable folder (missing, or empty although photos are stored in it) is never mistaken for one whose
photos were deleted. Scans record where another file system is mounted below a root. Such a folder is also
unavailable if nothing is mounted there any more and none of its photos is there, or if it became a link.
"""

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, select

from tagger.database.connection import Database
from tagger.database.statements import insert_missing
from tagger.database.tables import mounts, photos
from tagger.errors import BucketUnavailable, FolderReplaced, RootUnavailable
from tagger.ledger.workers import list_suspended_jobs, resume_suspended_jobs
from tagger.photos.folders import Mount, MountState, check_mount_point, is_mount_point
from tagger.photos.paths import ObjectPath, path_from_text, path_text
from tagger.roots.roots import Root, RootPaths, count_root_photos, list_roots, path_prefix, photos_below

PARALLEL_CHECKS = 16
"""Folders checked at a time, because a dead share blocks its check."""
SAMPLE = 100
"""So many photos are looked for, to know whether those of a folder are in it."""


@dataclass(frozen=True)
class UnavailableFolder:
    """A root that is unavailable, or a folder in it; with the answer of its file system."""

    root: Root
    folder: Path
    mount: Mount

    @property
    def is_root(self) -> bool:
        return self.folder == self.root.folder

    @property
    def name(self) -> str:
        """What messages call it, on each machine."""
        if self.root.is_bucket:
            return str(self.folder)
        return str(self.root.name / self.folder.relative_to(self.root.folder))

    @property
    def condition(self) -> ColumnElement[bool]:
        """The condition for the photos in it."""
        return photos_below(self.root, self.folder)

    def has(self, root_id: int, path: str) -> bool:
        """Whether a photo, with this column `path`, is in it."""
        return root_id == self.root.id and path.startswith(path_prefix(self.root, self.folder))

    def error(self, connection: Connection) -> RootUnavailable:
        """What to say about it. Asking the file system again could give another answer."""
        count = count_root_photos(connection, self.root, self.folder)
        photos_text = f"{count} photo{'' if count == 1 else 's'}"
        if isinstance(self.folder, ObjectPath):
            is_empty = (
                f"it is empty, but the database has {photos_text} in it. "
                f"If you deleted them, run `tagger forget {self.folder}`"
            )
            return BucketUnavailable(folder=self.folder, reason=self.mount.problem or is_empty)
        if self.mount.state is MountState.LINK:
            return FolderReplaced(folder=self.folder, photos=photos_text, target=self.folder.resolve())
        return RootUnavailable(folder=self.folder, photos=photos_text, state=self.mount.text)


def resume_jobs(database: Database, root_paths: RootPaths) -> list[str]:
    """Resume the jobs whose folders are available again; return the names of those that others wait for."""
    suspended = list_suspended_jobs(database)
    if not suspended:
        return []
    needed = {root_id for job in suspended.values() for root_id in job.root_ids}
    with database.read() as connection:
        roots = [root for root in list_roots(connection, root_paths) if root.id in needed]
        unavailable = unavailable_folders(connection, roots)
    names = {each.name for each in unavailable}
    waited_for = {job.folder for job in suspended.values()}
    available = {root.id for root in roots} - {each.root.id for each in unavailable if each.is_root}
    jobs = [
        number
        for number, job in suspended.items()
        if available.issuperset(job.root_ids) and job.folder not in names
    ]
    resume_suspended_jobs(database, jobs)
    return [each.name for each in unavailable if each.is_root or each.name in waited_for]


def unavailable_folders(connection: Connection, candidates: Sequence[Root]) -> list[UnavailableFolder]:
    """Those of the roots that are unavailable, and what is unavailable below the others."""
    checked = zip(candidates, root_mounts(candidates), strict=True)
    found = {
        root: UnavailableFolder(root, root.folder, mount)
        for root, mount in checked
        if _is_unavailable(connection, root, root.folder, mount)
    }
    available = (root for root in candidates if root not in found)
    return [*found.values(), *(each for root in available for each in _unmounted(connection, root))]


def root_mounts(candidates: Sequence[Root]) -> list[Mount]:
    """Check the disks and shares of roots, in parallel."""
    with ThreadPoolExecutor(PARALLEL_CHECKS) as pool:
        return list(pool.map(lambda root: root.source.mount(), candidates))


def unavailable_below(connection: Connection, root: Root, folder: Path) -> list[UnavailableFolder]:
    """What is unavailable below a folder of the root.

    Raises:
        RootUnavailable: the folder itself is unavailable, or one around it.
    """
    mount = replace(root, folder=folder).source.mount()
    unmounted = _unmounted(connection, root)
    around = [each for each in unmounted if folder.is_relative_to(each.folder)]
    if _is_unavailable(connection, root, folder, mount):
        around.append(UnavailableFolder(root, folder, mount))
    if around:
        raise around[0].error(connection)
    return [each for each in unmounted if each.folder.is_relative_to(folder)]


def check_mounted(connection: Connection, root: Root, paths: Collection[Path]) -> None:
    """Raises:
    RootUnavailable: one of the paths is on a disk or share below the root that is unavailable.
    """
    for each in _unmounted(connection, root):
        if any(path.is_relative_to(each.folder) for path in paths):
            raise each.error(connection)


def _is_unavailable(connection: Connection, root: Root, folder: Path, mount: Mount) -> bool:
    if mount.state is not MountState.EMPTY:
        return mount.state is not MountState.FILLED
    stored = exists().where(photos_below(root, folder), photos.c.gone_since.is_(None))
    return bool(connection.scalar(select(stored)))


def _unmounted(connection: Connection, root: Root) -> list[UnavailableFolder]:
    """The outermost of the recorded folders of a root that are unavailable."""
    found: list[UnavailableFolder] = []
    for folder, mount in _recorded_mounts(connection, root).items():
        is_inner = any(folder.is_relative_to(each.folder) for each in found)
        if not is_inner and not _has_its_photos(connection, root, folder, mount):
            found.append(UnavailableFolder(root, folder, mount))
    return found


def _recorded_mounts(connection: Connection, root: Root) -> dict[Path, Mount]:
    """The recorded folders of a root, an outer one before those in it, with their answers."""
    of_root = select(mounts).where(mounts.c.root_id == root.id).order_by(mounts.c.path)
    folders = [root.folder / path_from_text(row.path, row.path_bytes) for row in connection.execute(of_root)]
    if not folders:
        return {}
    with ThreadPoolExecutor(PARALLEL_CHECKS) as pool:
        return dict(zip(folders, pool.map(check_mount_point, folders), strict=True))


def _has_its_photos(connection: Connection, root: Root, folder: Path, mount: Mount) -> bool:
    """Whether the photos in a recorded folder may be gone if they are not found there.

    That is so if it is mounted; if it has none; or if somebody moved them from the disk to the folder.
    """
    if mount.state is MountState.FILLED:
        return True
    sample = sample_photos(connection, root, folder)
    is_here = mount.state is MountState.UNMOUNTED and any(photo.is_at(root) for photo in sample)
    return is_here or not sample


@dataclass(frozen=True)
class StoredFile:
    """A stored photo, as one recognises it without reading it."""

    path: str
    path_bytes: bytes
    size_bytes: int

    def is_at(self, root: Root) -> bool:
        """Whether a file of this size is at its path in the root."""
        with suppress(OSError):
            return root.path_of(self.path, self.path_bytes).stat().st_size == self.size_bytes
        return False


def sample_photos(connection: Connection, root: Root, folder: Path) -> list[StoredFile]:
    """The first photos in a folder of the root that are not gone."""
    columns = (photos.c[each.name] for each in fields(StoredFile))
    present = select(*columns).where(photos_below(root, folder), photos.c.gone_since.is_(None))
    return [StoredFile(*row) for row in connection.execute(present.order_by(photos.c.path).limit(SAMPLE))]


def store_mounts(
    database: Database, root: Root, folder: Path, found: Iterable[str], links: Iterable[str]
) -> None:
    """Record the mounted folders that a scan of a folder found, and links in whose place photos are stored.

    Those outside of the folder are left out. What is no longer mounted, and has its photos, is an ordinary
    folder from now on.
    """
    around = (outer for outer in (folder, *folder.parents) if outer.is_relative_to(root.folder))
    paths = {path for path in map(Path, found) if path.is_relative_to(folder)}
    paths.update(filter(is_mount_point, around))
    with database.read() as connection:
        for link in map(Path, links):
            if link.is_relative_to(folder) and count_root_photos(connection, root, link):
                paths.add(link)
        recorded = _recorded_mounts(connection, root)
        ordinary = [
            each
            for each, mount in recorded.items()
            if mount.state is MountState.UNMOUNTED and _has_its_photos(connection, root, each, mount)
        ]
    new = [_row(root, path) for path in sorted(paths - recorded.keys())]
    if not new and not ordinary:
        return
    with database.write() as connection:
        insert_missing(connection, mounts, new)
        for path in ordinary:
            values = _row(root, path)
            connection.execute(delete(mounts).where(*(mounts.c[name] == values[name] for name in values)))


def _row(root: Root, folder: Path) -> dict[str, Any]:
    path, path_bytes = path_text("" if folder == root.folder else str(folder.relative_to(root.folder)))
    return {"root_id": root.id, "path": path, "path_bytes": path_bytes}
