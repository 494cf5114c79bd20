"""Photos in folders: listing them in the order of their paths' text, and reading them.

Names decide which files are photos (see names). How a file is opened and read is in files.
"""

import fnmatch
import os
import re
import stat
import time
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from pathlib import Path
from typing import ClassVar

from tagger.errors import (
    UNREACHABLE_ERRNOS,
    FailureKind,
    FolderReplaced,
    PathNotFound,
    PathUnreachable,
    PhotoFailed,
    RootUnavailable,
)
from tagger.photos.files import (
    Mount,
    MountState,
    OpenFile,
    OpenFolder,
    PhotoBytes,
    PhotoVersion,
    check_mount,
    is_mount_point,
    open_folder,
    open_scanned,
    os_error_text,
    read_photo,
    version_of,
)
from tagger.photos.names import (
    MARKERS,
    SIDECAR_EXTENSION,
    HasEntry,
    OtherFiles,
    extension_of,
    find_program_folder,
    is_marker,
    is_photo_name,
    marked_reason,
)
from tagger.photos.paths import parse_path, path_text
from tagger.photos.side_files import (
    METADATA_FOLDER,
    SIDECAR_MAX_BYTES,
    TAKEOUT_EXTENSION,
    ReadSidecar,
    Sidecars,
    SideFile,
    counts_beside_photos,
    is_in_takeout,
    is_side_file_name,
    metadata_files,
    names_a_photo,
    side_files_of,
    side_files_of_parts,
    sort_stem_sidecars,
)


@dataclass(frozen=True)
class FoundPhoto:
    """A photo with its location, size and time. A broken link has 0 for both and fails when it is read."""

    # Its absolute path, or its address in a bucket. As text: making a million paths takes seconds.
    location: str
    size_bytes: int
    mtime_ns: int
    # The one that counts first comes first; None: its folder was not listed.
    side_files: tuple[SideFile, ...] | None = None

    @property
    def path(self) -> Path:
        return parse_path(self.location)

    @property
    def version(self) -> PhotoVersion:
        return PhotoVersion(self.size_bytes, self.mtime_ns)


@dataclass(frozen=True)
class FolderProblem:
    """A path that could not be listed. Photos below it may still exist."""

    path: Path
    text: str
    # Whether it is a folder, of which nothing was listed.
    is_folder: bool = False


@dataclass(frozen=True)
class FolderSource:
    folder: Path
    noun: ClassVar[str] = "folder"
    extra_reads: ClassVar[int] = 8  # disks and shares seek between them
    is_writable: ClassVar[bool] = True
    has_mounts: ClassVar[bool] = True
    is_free_to_list: ClassVar[bool] = True

    @property
    def location(self) -> str:
        return str(self.folder)

    def mount(self) -> Mount:
        return check_mount(self.folder)

    def photos(
        self,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        other_files: OtherFiles | None = None,
        unavailable: Collection[Path] = (),
    ) -> Iterator[FoundPhoto | FolderProblem]:
        if not self.folder.exists():
            raise PathNotFound(path=self.folder)
        path_filter = PathFilter(
            str(self.folder.absolute()),
            os.path.lexists,
            include,
            exclude,
        )
        return _Walk(
            self.folder, path_filter, other_files, frozenset(map(str, unavailable))
        ).photos()

    def read(self, path: str, *, max_bytes: int, settle_s: float = 0.0) -> PhotoBytes:
        return read_photo(
            self.folder / path, max_bytes=max_bytes, settle_s=settle_s, root=self.folder
        )

    def version(self, path: str) -> PhotoVersion | None:
        try:
            return version_of((self.folder / path).stat())
        except OSError:
            return None

    def open(self, path: str, scanned: PhotoVersion) -> OpenFile:
        if self.mount().state is not MountState.FILLED:
            remedy = "Mount the disk or share it is on and try again."
            raise PhotoFailed(
                FailureKind.UNREACHABLE,
                f"The folder {self.folder} is not available. {remedy}",
            )
        return open_scanned(self.folder / path, self.folder, scanned)

    def current_version(self, path: str, scanned: PhotoVersion) -> PhotoVersion:
        opened = self.open(path, scanned)
        opened.file.close()
        return PhotoVersion(opened.size_bytes, opened.mtime_ns)

    def is_settled(self, version: PhotoVersion, settle_s: float) -> bool:
        # Times further in the future come from a wrong clock: waiting for them could take years.
        return abs(time.time_ns() - version.mtime_ns) >= settle_s * 1e9

    def missing(self, paths: Collection[str]) -> set[str]:
        missing = {path for path in paths if self._is_missing(path)}
        linked = {
            folder
            for folder in map(os.path.dirname, missing)
            if any((self.folder / path).is_symlink() for path in _paths_to(folder))
        }
        return {path for path in missing if os.path.dirname(path) not in linked}  # noqa: PTH120 - fast

    def sidecars(self, path: str) -> Sidecars:
        photo = self.folder / path
        try:
            opened = open_folder(photo.parent, self.folder)
        except FileNotFoundError:
            return Sidecars()
        with opened as folder:
            own = _spellings(folder, photo.name)
            of_stem = _spellings(folder, photo.stem) if photo.suffix else ()
            names = folder.file_names() if of_stem else ()
            read_sidecar = read_sidecar_in(photo.parent, self.folder)
            sorted_by_owner = sort_stem_sidecars(
                photo.name, of_stem, names, read_sidecar
            )
        return Sidecars((*own, *sorted_by_owner.own), sorted_by_owner.hidden)

    def named(self) -> tuple[Path, bool]:
        try:
            is_folder = self.folder.is_dir()
        except OSError as error:
            if error.errno in UNREACHABLE_ERRNOS:
                raise PathUnreachable(
                    path=self.folder, reason=error.strerror
                ) from error
            raise
        if not os.path.lexists(self.folder):
            raise PathNotFound(path=self.folder)
        return self.resolved(), is_folder

    def resolved(self) -> Path:
        is_folder = self.folder.is_dir()
        return (
            self.folder.resolve()
            if is_folder
            else self.folder.parent.resolve() / self.folder.name
        )

    def may_have_photos(self) -> bool:
        return self.mount().state in {MountState.FILLED, MountState.EMPTY}

    def subfolders(self) -> list[str]:
        try:
            with os.scandir(self.folder) as entries:
                return sorted(entry.name for entry in entries if _is_open_folder(entry))
        except OSError as error:
            raise PathNotFound(path=self.folder) from error

    def may_have_moved_to(self, folder: Path) -> bool:
        mount = self.mount()  # first: resolving a path could hang
        if mount.state is MountState.FILLED:
            return self.folder != folder and self.folder.resolve() == folder
        return mount.state is MountState.MISSING and mount.problem is None

    def shown_name(self, folder: Path, root_name: str) -> str:
        return str(root_name / folder.relative_to(self.folder))

    def unavailable(self, mount: Mount, photos: str) -> RootUnavailable:
        if mount.state is MountState.LINK:
            return FolderReplaced(
                folder=self.folder,
                photos=photos,
                target=self.folder.resolve(),
            )
        state = {
            MountState.SILENT: "does not answer",
            MountState.UNMOUNTED: "is no longer a disk or share of its own",
        }.get(mount.state, "is empty or missing")
        if mount.problem:
            state = f"cannot be read ({mount.problem})"
        return RootUnavailable(folder=self.folder, photos=photos, state=state)

    def _is_missing(self, path: str) -> bool:
        file = self.folder / path
        try:
            status = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return not file.is_symlink()  # a scan lists links that lead nowhere
        except OSError:
            return False
        return not stat.S_ISREG(status.st_mode)


_SIDECAR_ENDINGS = (".xmp", ".XMP", ".Xmp")


def _spellings(folder: OpenFolder, base: str) -> tuple[str, ...]:
    # The files `base`.xmp, each once: where the file system ignores case, all spellings are one file.
    # Each spelling is checked by name: listing the folder for every photo takes quadratic time. Only where
    # several are found, the listing says which there are: some shares number each spelling as a file.
    sidecars: dict[tuple[int, int], str] = {}
    for name in (base + ending for ending in _SIDECAR_ENDINGS):
        try:
            status = folder.status(name)
        except FileNotFoundError:
            continue
        sidecars.setdefault((status.st_dev, status.st_ino), name)
    found = tuple(sidecars.values())
    if len(found) > 1:
        listed = set(folder.file_names())
        found = tuple(name for name in found if name in listed) or found[:1]
    return found


def _is_open_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def find_photo(path: Path, side_files: Sequence[str] | None = None) -> FoundPhoto:
    """Return a single file, whatever its extension, with those side files.

    Raises:
        PathNotFound: `path` does not exist.
    """
    if not os.path.lexists(path):
        raise PathNotFound(path=path)
    absolute = os.path.abspath(path)  # noqa: PTH100 - links are not resolved
    found = (
        None
        if side_files is None
        else _side_files(os.path.dirname(absolute), side_files)  # noqa: PTH120
    )
    try:
        return _found(absolute, os.stat(absolute), found)  # noqa: PTH116 - see names.extension_of
    except OSError:
        return _found(absolute, None, found)


def side_files_in(folder: Path) -> Mapping[str, Sequence[str]]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are needed
    except OSError:
        return {}
    others = [
        name for name in names if not is_photo_name(name) and counts_beside_photos(name)
    ]
    others += metadata_files(str(folder)) if METADATA_FOLDER in names else []
    photos = list(filter(is_photo_name, names))
    return _side_files_of(str(folder), photos, others, read_sidecar_in(folder))[0]


def _side_files_of(
    folder: str,
    photos: Collection[str],
    others: Collection[str],
    read_sidecar: ReadSidecar,
) -> tuple[Mapping[str, Sequence[str]], Collection[str]]:
    # The side files of each photo in a folder, and the JSON files in it that are of no photo.
    names_of = side_files_of(photos, others, read_sidecar)
    json_files = {name for name in others if extension_of(name) == TAKEOUT_EXTENSION}
    lone = json_files.difference(*names_of.values())
    if not is_in_takeout(folder):
        return names_of, lone
    lacking = [
        photo for photo in photos if json_files.isdisjoint(names_of.get(photo, ()))
    ]
    of_parts, of_other_parts = side_files_of_parts(folder, lacking, lone)
    added = {
        photo: (*names_of.get(photo, ()), name) for photo, name in of_parts.items()
    }
    return {**names_of, **added}, lone.difference(of_other_parts)


def read_sidecar_in(folder: Path, root: Path | None = None) -> ReadSidecar:
    """What reads the sidecars of a folder by name. In a `root`, links are followed as by `open_photo`."""

    def read(name: str) -> bytes | None:
        try:
            return read_photo(
                folder / name, max_bytes=SIDECAR_MAX_BYTES, root=root
            ).data
        except PhotoFailed:
            return None

    return read


class PathFilter:
    """Decides which photos a scan lists: not hidden, no copies, matching the patterns.

    Paths are relative to its folder, which is at `location`.
    """

    def __init__(
        self,
        location: str,
        has_entry: HasEntry,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
    ) -> None:
        self.location = location.rstrip("/")
        self._has_entry = has_entry
        self._include = _pattern(include)
        self._exclude = _pattern(exclude)

    def closed_by(self, relative: str) -> str | None:
        """Why a folder is not entered, to be read after `with`; empty: hidden or excluded; None: it is."""
        if _matches(self._exclude, relative):
            return ""
        owner = find_program_folder(f"{self.location}/{relative}", self._has_entry)
        if owner is not None and owner.content:
            return owner.reason
        return "" if relative.rpartition("/")[2].startswith(".") else None

    def reaches(self, folder: str) -> bool:
        """Whether this folder and all around it are entered."""
        return all(self.closed_by(path) is None for path in _paths_to(folder))

    def closed_folder(self, folder: str) -> str | None:
        """The name of the first folder on this path that is not entered, also for a file like `.nomedia`."""
        for path in _paths_to(folder):
            is_marked = any(
                marked_reason(path, each)
                for each in MARKERS
                if self._has_entry(f"{self.location}/{path}/{each}")
            )
            if is_marked or self.closed_by(path) is not None:
                return path.rpartition("/")[2]
        return None

    def is_listed(self, relative: str) -> bool:
        """Whether this file is listed as a photo, if its folders are entered."""
        name = relative.rpartition("/")[2]
        return is_photo_name(name) and self._is_selected(name, relative)

    def count_other(self, relative: str, other_files: OtherFiles) -> None:
        """Count a file that is not listed, if the reason is only its extension and it is no sidecar."""
        name = relative.rpartition("/")[2]
        extension = extension_of(name)
        if extension != SIDECAR_EXTENSION and self._is_selected(name, relative):
            other_files.add(extension)

    def _is_selected(self, name: str, relative: str) -> bool:
        if name.startswith(".") or _matches(self._exclude, relative):
            return False
        return self._include is None or _matches(self._include, relative)


def _paths_to(folder: str) -> Iterator[str]:
    # The paths of the folders on a path, outermost first, with its own.
    return accumulate(folder.split("/"), "{}/{}".format) if folder else iter(())


class _Kind(IntEnum):
    FOLDER = 0
    FILE = 1
    LINK = 2


# The text by which a photo or folder is sorted, its name, and what it is.
_Entry = tuple[str, str, _Kind]


class _Walk:
    # One walk through a folder. Holds one sorted listing per level.
    def __init__(
        self,
        root: Path,
        path_filter: PathFilter,
        other_files: OtherFiles | None = None,
        unavailable: AbstractSet[str] = frozenset(),
    ) -> None:
        self.root = str(root)
        self.real_root = os.path.realpath(root)
        self._unavailable = unavailable
        self._filter = path_filter
        self._other_files = OtherFiles() if other_files is None else other_files

    def photos(self) -> Iterator[FoundPhoto | FolderProblem]:
        # Walk with a stack of listings instead of recursion, so that depth is not limited.
        listings = [self._listing("")]
        while listings:
            step = next(listings[-1], None)
            if step is None:
                listings.pop()
            elif isinstance(step, str):
                listings.append(self._listing(step))
            else:
                yield step

    def _listing(self, folder: str) -> Iterator[FoundPhoto | FolderProblem | str]:
        # Yield a folder's photos, problems and sub-folders (relative, with a slash at the end) in order.
        path = os.path.join(self.root, folder)  # noqa: PTH118 - see names.extension_of
        entries, side_files, problem = self._entries(path, folder)
        if problem:
            yield problem
        previous = None
        for text, name, kind in entries:
            if text == previous:
                yield FolderProblem(
                    Path(path + name),
                    "Its name reads the same as another's. Rename it.",
                )
            elif kind is _Kind.FOLDER:
                yield folder + name + "/"
            else:
                names = side_files.get(name)
                found = _side_files(path, names) if names else ()
                yield from self._photo(
                    path + name,
                    found,
                    is_link=kind is _Kind.LINK,
                )
            previous = text

    def _entries(
        self, path: str, folder: str
    ) -> tuple[list[_Entry], Mapping[str, Sequence[str]], FolderProblem | None]:
        # The photos and sub-folders, sorted as whole paths (folders with a slash), and photos' side files.
        # Little is kept of each: a folder may have millions.
        entries: list[_Entry] = []
        others: list[str] = []
        problem = marked = None
        try:
            with os.scandir(path) as listing:
                self._note_mount(path, folder)
                for entry in listing:
                    name, relative = entry.name, folder + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        others += (
                            metadata_files(path) if name == METADATA_FOLDER else []
                        )
                        if self._enters(relative):
                            entries.append(
                                (path_text(name)[0] + "/", name, _Kind.FOLDER)
                            )
                    elif self._filter.is_listed(relative):
                        kind = _Kind.LINK if entry.is_symlink() else _Kind.FILE
                        entries.append((path_text(name)[0], name, kind))
                    elif is_side_file_name(name):
                        others.append(name)
                    elif entry.is_symlink():
                        self._note_link(relative, path + name)
                    elif entry.is_file(follow_symlinks=False):
                        others += [name] if counts_beside_photos(name) else []
                        marked = marked or self._closing_marker(folder, name)
        except OSError as error:
            problem = FolderProblem(
                Path(path),
                os_error_text("The folder", error),
                is_folder=True,
            )
        if marked and folder:  # not in the folder that the user named
            self._other_files.folders[marked].add(
                f"{self._filter.location}/{folder}".rstrip("/")
            )
            return [], {}, None
        entries.sort()
        return entries, self._side_files(entries, others, folder), problem

    def _closing_marker(self, folder: str, name: str) -> str | None:
        # Count a file that is no photo. Why photos in its folder are left out, if it says so.
        self._filter.count_other(folder + name, self._other_files)
        return marked_reason(folder.rstrip("/"), name) if is_marker(name) else None

    def _note_mount(self, path: str, folder: str) -> None:
        if folder and is_mount_point(path):
            self._other_files.mounts.add(path.rstrip("/"))

    def _note_link(self, relative: str, path: str) -> None:
        # Note a link that may have taken the place of a folder, and where it leads, if that is elsewhere.
        target = os.path.realpath(path)
        if os.path.isfile(target) or self._filter.closed_by(relative) is not None:  # noqa: PTH113
            return
        self._other_files.links.add(path)
        root = f"{self.real_root.rstrip('/')}/"
        if os.path.isdir(target) and not f"{target}/".startswith(root):  # noqa: PTH112
            self._other_files.outward_links.add(f"{path} to {target}")

    def _enters(self, relative: str) -> bool:
        if f"{self.root.rstrip('/')}/{relative}" in self._unavailable:
            return False
        reason = self._filter.closed_by(relative)
        if reason:
            self._other_files.folders[reason].add(f"{self._filter.location}/{relative}")
        return reason is None

    def _side_files(
        self, entries: Iterable[_Entry], others: Sequence[str], folder: str
    ) -> Mapping[str, Sequence[str]]:
        # The side files of each photo. JSON files that are none are other files, except in `metadata`.
        path = Path(self.root, folder)
        if not (others or is_in_takeout(str(path))):
            return {}
        photos = [name for _, name, kind in entries if kind is not _Kind.FOLDER]
        read_sidecar = read_sidecar_in(path, Path(self.root))
        names_of, lone_json = _side_files_of(
            str(path),
            photos,
            others,
            read_sidecar,
        )
        for name in lone_json:
            if f"/{METADATA_FOLDER}/" not in f"/{folder}{name}":
                self._filter.count_other(folder + name, self._other_files)
                self._other_files.lone_json += names_a_photo(name)
        return names_of

    def _photo(
        self, path: str, side_files: tuple[SideFile, ...], *, is_link: bool
    ) -> Iterator[FoundPhoto | FolderProblem]:
        if is_link:
            target = os.path.realpath(path)
            if os.path.isdir(target) or self._reaches(target):  # noqa: PTH112 - see names.extension_of
                return
        status = None
        try:
            status = os.stat(path)  # noqa: PTH116 - see names.extension_of
        except FileNotFoundError:
            if not is_link:
                return  # deleted since the folder was listed
        except OSError:
            pass
        if status is not None and not stat.S_ISREG(status.st_mode):
            text = "It is a pipe, socket or device and not a file. Rename or remove it."
            yield FolderProblem(Path(path), text)
        else:
            yield _found(path, status, side_files)

    def _reaches(self, target: str) -> bool:
        # Whether the walk also reaches the target of a link directly.
        is_inside = target.startswith(f"{self.real_root.rstrip('/')}/")
        if not is_inside or not os.path.isfile(target):  # noqa: PTH113
            return False
        relative = target[len(self.real_root) :].strip("/")
        return self._filter.is_listed(relative) and self._filter.reaches(
            relative.rpartition("/")[0]
        )


def _found(
    path: str, status: os.stat_result | None, side_files: tuple[SideFile, ...] | None
) -> FoundPhoto:
    if status is None:
        return FoundPhoto(path, 0, 0, side_files)
    return FoundPhoto(path, *version_of(status), side_files)


def _side_files(folder: str, names: Iterable[str]) -> tuple[SideFile, ...]:
    # The side files of these names in a folder that exist still.
    found = []
    for name in names:
        with suppress(OSError):
            status = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - see extension_of
            found.append(SideFile(name, *version_of(status)))
    return tuple(found)


def _pattern(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(
        fnmatch.translate(pattern.strip("/").casefold()) for pattern in patterns
    )
    return re.compile(joined) if joined else None


def _matches(pattern: re.Pattern[str] | None, relative: str) -> bool:
    if pattern is None:
        return False
    folded = path_text(relative)[0].casefold()
    return bool(pattern.match(folded) or pattern.match(folded.rpartition("/")[2]))
