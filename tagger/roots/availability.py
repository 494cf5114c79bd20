"""Which folders of photos are unavailable, and which were moved.

An unavailable folder (missing, or empty although photos are stored in it) is never mistaken for one whose
photos were deleted. That is so for roots, and for recorded folders below them, which are of two kinds:

- Mounted folders, where a scan found another file system. They are also unavailable if nothing is mounted
  there any more and none of their photos is there.
- Guarded folders, which were roots before a folder around them became one, or which became links. The next
  scan that finds files there makes ordinary folders of them, or mounted ones.

The photos of a moved root are elsewhere, at the same paths within another folder.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, select, update

from tagger.database.connection import AuditAction, Database, record_action
from tagger.database.statements import lock_tables
from tagger.database.tables import mounts, photos, roots
from tagger.errors import (
    PathNotFound,
    PhotoNotFound,
    RootMoveRefused,
    RootUnavailable,
)
from tagger.ledger.workers import list_suspended_jobs, resume_suspended_jobs
from tagger.photos.files import Mount, MountState, check_folder, is_mount_point
from tagger.photos.paths import path_from_text, path_text
from tagger.photos.source import open_source
from tagger.roots import (
    Root,
    RootPaths,
    count_root_photos,
    forget_path,
    is_stored,
    list_roots,
    path_prefix,
    photos_below,
    store_mount_rows,
)

# Folders checked at a time, because a dead share blocks its check.
PARALLEL_CHECKS = 16
# So many photos are looked for, to know whether those of a folder are in it.
SAMPLE = 100


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
        return self.root.source.shown_name(self.folder, self.root.name)

    @property
    def condition(self) -> ColumnElement[bool]:
        return photos_below(self.root, self.folder)

    def has(self, root_id: int, path: str) -> bool:
        return root_id == self.root.id and path.startswith(
            path_prefix(self.root, self.folder)
        )

    def error(self, connection: Connection) -> RootUnavailable:
        """What to say about it. Asking the file system again could give another answer."""
        count = count_root_photos(connection, self.root, self.folder)
        photos_text = f"{count} photo{'' if count == 1 else 's'}"
        return replace(self.root, folder=self.folder).source.unavailable(
            self.mount, photos_text
        )


def resume_jobs(database: Database, root_paths: RootPaths) -> list[str]:
    """Resume the jobs whose folders are available again; return the names of those that others wait for."""
    suspended = list_suspended_jobs(database)
    if not suspended:
        return []
    needed = {root_id for _, root_ids in suspended.values() for root_id in root_ids}
    with database.read() as connection:
        roots = [
            root for root in list_roots(connection, root_paths) if root.id in needed
        ]
        unavailable = unavailable_folders(connection, roots)
    names = {each.name for each in unavailable}
    waited_for = {folder for folder, _ in suspended.values()}
    available = {root.id for root in roots} - {
        each.root.id for each in unavailable if each.is_root
    }
    jobs = [
        number
        for number, (folder, root_ids) in suspended.items()
        if available.issuperset(root_ids) and folder not in names
    ]
    resume_suspended_jobs(database, jobs)
    return [
        each.name for each in unavailable if each.is_root or each.name in waited_for
    ]


def unavailable_folders(
    connection: Connection, candidates: Sequence[Root]
) -> list[UnavailableFolder]:
    """Those of the roots that are unavailable, and what is unavailable below the others."""
    with ThreadPoolExecutor(PARALLEL_CHECKS) as pool:
        root_mounts = list(pool.map(lambda root: root.source.mount(), candidates))
    roots_away: list[UnavailableFolder] = []
    folders_away: list[UnavailableFolder] = []
    for root, mount in zip(candidates, root_mounts, strict=True):
        if _is_unavailable(connection, root, root.folder, mount):
            roots_away.append(UnavailableFolder(root, root.folder, mount))
        else:
            folders_away += _unmounted(connection, root)
    return [*roots_away, *folders_away]


def unavailable_below(
    connection: Connection, root: Root, folder: Path
) -> list[UnavailableFolder]:
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


def _is_unavailable(
    connection: Connection, root: Root, folder: Path, mount: Mount
) -> bool:
    if mount.state is not MountState.EMPTY:
        return mount.state is not MountState.FILLED
    stored = exists().where(
        photos_below(root, folder),
        photos.c.gone_since.is_(None),
    )
    return bool(connection.scalar(select(stored)))


def _unmounted(connection: Connection, root: Root) -> list[UnavailableFolder]:
    unavailable: list[UnavailableFolder] = []
    for recorded in _recorded_folders(connection, root):
        folder = recorded.folder
        is_inner = any(folder.is_relative_to(each.folder) for each in unavailable)
        if not is_inner and not recorded.is_available(connection, root):
            unavailable.append(UnavailableFolder(root, folder, recorded.mount))
    return unavailable


@dataclass(frozen=True)
class _RecordedFolder:
    # A mounted or guarded folder below a root, with the answer of its file system.
    folder: Path
    is_mounted: bool
    mount: Mount

    def is_available(self, connection: Connection, root: Root) -> bool:
        # Whether the photos in it may be gone if they are not found there.
        if self.mount.state is MountState.FILLED:
            return True
        sample = _sample_photos(connection, root, self.folder)
        # Somebody may have moved them from the disk to the folder.
        is_here = self.mount.state is MountState.UNMOUNTED and any(
            _is_photo_at(root, photo) for photo in sample
        )
        return is_here or not sample


def _recorded_folders(connection: Connection, root: Root) -> list[_RecordedFolder]:
    rows = connection.execute(
        select(mounts).where(mounts.c.root_id == root.id).order_by(mounts.c.path)
    )
    paths = [path_from_text(row.path, row.path_bytes) for row in rows]
    if not paths:
        return []
    folders = [root.folder / path for path in paths]
    are_mounted = [not path.endswith("/") for path in paths]
    with ThreadPoolExecutor(PARALLEL_CHECKS) as pool:
        answers = pool.map(
            lambda path, is_mounted: check_folder(path, was_mounted=is_mounted),
            folders,
            are_mounted,
        )
        return list(map(_RecordedFolder, folders, are_mounted, answers))


def _sample_photos(
    connection: Connection, root: Root, folder: Path
) -> Sequence[Row[Any]]:
    # Some stored photos that are not gone.
    present = select(photos).where(
        photos_below(root, folder),
        photos.c.gone_since.is_(None),
    )
    return connection.execute(present.order_by(photos.c.path).limit(SAMPLE)).all()


def _is_photo_at(root: Root, photo: Row[Any]) -> bool:
    # Whether a file of its size has its name, which shows it without reading it.
    with suppress(OSError):
        path = root.path_of(photo.path, photo.path_bytes)
        return bool(path.stat().st_size == photo.size_bytes)
    return False


def store_mounts(
    database: Database,
    root: Root,
    folder: Path,
    mount_points: Iterable[str],
    links: Iterable[str],
) -> None:
    """Record the mounted folders that a scan of a folder found, and links in whose place photos are stored.

    Those outside of the folder are left out. A recorded folder is an ordinary one from now on if it is no
    longer mounted, and has its photos; or if it is guarded, and has files.
    """
    around = (
        outer
        for outer in (folder, *folder.parents)
        if outer.is_relative_to(root.folder)
    )
    mounted = {path for path in map(Path, mount_points) if path.is_relative_to(folder)}
    mounted.update(filter(is_mount_point, around))
    guarded = set[Path]()
    outdated = set[tuple[str, bytes]]()
    with database.read() as connection:
        for link in map(Path, links):
            if link.is_relative_to(folder) and count_root_photos(
                connection, root, link
            ):
                guarded.add(link)
        recorded = _recorded_folders(connection, root)
        for each in recorded:
            if each.mount.state is MountState.LINK:
                is_over = each.is_mounted and each.folder in guarded
            elif each.is_mounted:
                is_over = (
                    each.mount.state is MountState.UNMOUNTED
                    and each.is_available(connection, root)
                )
            else:
                is_over = each.is_available(connection, root)
                if is_over and is_mount_point(
                    each.folder
                ):  # one that the scan did not enter
                    mounted.add(each.folder)
            if is_over:
                outdated.add(_key(root, each.folder, is_mounted=each.is_mounted))
    known = {_key(root, each.folder, is_mounted=each.is_mounted) for each in recorded}
    new = {_key(root, path, is_mounted=True) for path in mounted}
    new |= {_key(root, path, is_mounted=False) for path in guarded}
    if new <= known and not outdated:
        return
    with database.write() as connection:
        store_mount_rows(connection, root, new - known)
        for path, path_bytes in outdated:
            is_row = (
                mounts.c.root_id == root.id,
                mounts.c.path == path,
                mounts.c.path_bytes == path_bytes,
            )
            connection.execute(delete(mounts).where(*is_row))


def _key(root: Root, folder: Path, *, is_mounted: bool) -> tuple[str, bytes]:
    path = "" if folder == root.folder else str(folder.relative_to(root.folder))
    return path_text(path if is_mounted else path + "/")


def moved_roots(
    connection: Connection, folder: Path, root_paths: RootPaths
) -> Iterator[Root]:
    """The roots whose folder does not exist, or is a link to this one, and whose photos are in this one."""
    if not open_source(str(folder)).has_mounts:
        return
    for root in list_roots(connection, root_paths):
        if root.source.may_have_moved_to(folder) and _is_at(connection, root, folder):
            yield root


def move_root(database: Database, old: Path, new: Path, root_paths: RootPaths) -> int:
    """Let the root of the folder `old`, which was moved, be the folder `new`. Returns its number of photos.

    All that is known of its photos stays. What was stored for `new` meanwhile is forgotten first.

    Raises:
        PathNotFound, PhotoNotFound: `new` is no folder, or `old` is no root.
        RootMoveRefused: `old` exists, or its photos are not in `new`; or `new` is in another root.
    """
    if not new.is_dir():
        raise PathNotFound(path=new)
    new = new.resolve()
    with database.read() as connection:
        all_roots = list_roots(connection, root_paths)
        places = {old, old.parent.resolve() / old.name}  # it may be a link to `new` now
        root = next((each for each in all_roots if each.folder in places), None)
        if root is None:
            raise PhotoNotFound(path=old)
        count = count_root_photos(connection, root)
        if reason := _refusal(connection, root, new, all_roots, root_paths):
            raise RootMoveRefused(old=old, new=new, reason=reason)
    if is_stored(database, new, root_paths):
        forget_path(database, new, root_paths)
    with database.write() as connection:
        lock_tables(connection, roots)
        record_action(
            connection,
            AuditAction.PHOTOS_MOVE,
            old,
            to=str(new),
            photos=count,
        )
        location, location_bytes = path_text(str(new))
        values = {"location": location, "location_bytes": location_bytes}
        connection.execute(update(roots).where(roots.c.id == root.id).values(values))
    return count


def _refusal(
    connection: Connection,
    root: Root,
    new: Path,
    all_roots: list[Root],
    root_paths: RootPaths,
) -> str | None:
    if root.name in root_paths:
        return f"TAGGER_ROOTS says where {root.name} is. Change it there"
    if not root.source.may_have_moved_to(new):
        return "it is still there, or does not answer"
    if any(
        each.folder != new and new.is_relative_to(each.folder) for each in all_roots
    ):
        return "that is inside another folder of the database. Tag it there, then forget the old photos"
    return (
        None
        if _is_at(connection, root, new)
        else "its photos are not at the same paths there"
    )


def _is_at(connection: Connection, root: Root, folder: Path) -> bool:
    moved = replace(root, folder=folder)
    sample = _sample_photos(connection, root, root.folder)
    are_there = [_is_photo_at(moved, photo) for photo in sample]
    return sum(are_there) * 2 > len(are_there)
