"""Photos in buckets: listing them in the order of their keys, and reading them whole.

The version of an object is its size, its time and its ETag. `mtime_ns` holds the last two: the time in whole
seconds, which is what all servers agree on between listing and reading, and a digest of the ETag in place of
the rest.
"""

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from io import BytesIO
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tagger.errors import (
    BucketUnavailable,
    FailureKind,
    PathNotFound,
    PhotoFailed,
    RootUnavailable,
)
from tagger.photos import object_store
from tagger.photos.files import (
    MAX_TIME_NS,
    Mount,
    MountState,
    OpenFile,
    PhotoBytes,
    PhotoVersion,
    check_size,
)
from tagger.photos.folders import FolderProblem, FoundPhoto, PathFilter
from tagger.photos.names import (
    SIDECAR_EXTENSION,
    OtherFiles,
    is_marker,
    marked_reason,
    may_have_stem_sidecar,
)
from tagger.photos.object_store import (
    RETRY_TIMEOUT,
    error_text,
    is_worth_repeating,
    open_store,
    repeated,
    store_errors,
)
from tagger.photos.paths import ObjectPath
from tagger.photos.side_files import (
    SIDECAR_MAX_BYTES,
    Sidecars,
    SideFile,
    is_side_file_name,
    side_files_of,
)

if TYPE_CHECKING:
    from obstore import ObjectMeta

_SECOND_NS = 10**9
PAGE = 1000
# An object is opened in memory; larger ones are not.
MOST_OPENED_BYTES = 64 * 2**20
# A key with what `ObjectSource` found there.
_Listed = tuple[str, FoundPhoto | SideFile | None]
_NOT_IN_ORDER = (
    "its keys are not listed in order: one begins with a slash, or the server does not sort them. "
    "Rename that object"
)
_GONE_TEXT = (
    "There is no such object, or its key ends with a slash. If it was moved, tag the prefix "
    "it is in now."
)


@dataclass(frozen=True)
class ObjectSource:
    prefix: ObjectPath
    # Whether requests are repeated for up to a minute; otherwise for a few seconds.
    patient: bool = True

    noun: ClassVar[str] = "bucket"
    extra_reads: ClassVar[int] = (
        128  # connections: 2,500 photos a second where an answer takes 50 ms
    )
    is_writable: ClassVar[bool] = False
    has_mounts: ClassVar[bool] = False
    is_free_to_list: ClassVar[bool] = False

    @property
    def location(self) -> str:
        return str(self.prefix)

    def mount(self) -> Mount:
        try:
            is_empty = next(_pages(self.prefix, patient=False), None) is None
        except BucketUnavailable as problem:
            return Mount(MountState.MISSING, str(problem.values["reason"]))
        return Mount(MountState.EMPTY if is_empty else MountState.FILLED)

    def photos(
        self,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        other_files: OtherFiles | None = None,
        unavailable: Collection[Path] = (),  # noqa: ARG002 - nothing is mounted in a bucket
    ) -> Iterator[FoundPhoto | FolderProblem]:
        entries = self._entries(include, exclude, other_files)
        yield from _with_side_files(
            entries,
            lambda key: self.read_sidecar(key[len(self.prefix.key) :].lstrip("/")),
        )

    def _entries(
        self,
        include: Sequence[str],
        exclude: Sequence[str],
        other_files: OtherFiles | None,
    ) -> Iterator[_Listed]:
        path_filter = PathFilter(
            str(self.prefix),
            lambda address: has_entry(ObjectPath(address)),
            include,
            exclude,
        )
        folders = _OpenFolders(path_filter, other_files or OtherFiles())
        start = len(self.prefix.key) + 1 if self.prefix.key else 0
        for meta in _ordered(self.prefix):
            relative = meta["path"][start:]
            is_listed = folders.enter(relative) and path_filter.is_listed(relative)
            if (
                other_files is not None
                and folders.is_entered
                and not is_listed
                and meta["size"]
            ):
                path_filter.count_other(
                    relative, other_files
                )  # empty objects stand for folders
            entry: FoundPhoto | SideFile | None = None
            if is_listed:
                entry = _found(self.prefix / relative, meta)
            elif folders.is_entered and is_side_file_name(relative):
                entry = SideFile(relative.rpartition("/")[2], *object_version(meta))
            yield meta["path"], entry

    def read_sidecar(self, path: str) -> bytes | None:
        try:
            return self.read(path, max_bytes=SIDECAR_MAX_BYTES).data
        except PhotoFailed:
            return None

    def read(self, path: str, *, max_bytes: int, settle_s: float = 0.0) -> PhotoBytes:  # noqa: ARG002
        """Read one whole object: the bytes and their version come from one answer of the server.

        Raises:
            PhotoFailed: it is gone, unreadable, empty or too large, or the server does not answer.
        """
        try:
            return repeated(
                lambda: self._read_once(path, max_bytes),
                lambda error: self.patient and is_worth_repeating(error),
            )
        except BucketUnavailable as unavailable:
            raise PhotoFailed(FailureKind.UNREACHABLE, str(unavailable)) from None
        except FileNotFoundError:
            raise PhotoFailed(FailureKind.GONE, _GONE_TEXT) from None
        except store_errors() as error:
            text = f"The object cannot be read: {error_text(error)}."
            kind = (
                FailureKind.UNREACHABLE
                if is_worth_repeating(error)
                else FailureKind.UNREADABLE
            )
            raise PhotoFailed(kind, text) from None

    def version(self, path: str) -> PhotoVersion | None:
        try:
            return find_object(self.prefix / path, patient=self.patient).version
        except (BucketUnavailable, PathNotFound):
            return None

    def open(self, path: str, scanned: PhotoVersion) -> OpenFile:  # noqa: ARG002
        photo = self.read(path, max_bytes=MOST_OPENED_BYTES)
        return OpenFile(BytesIO(photo.data), photo.size_bytes, photo.mtime_ns)

    def current_version(self, path: str, scanned: PhotoVersion) -> PhotoVersion:  # noqa: ARG002
        try:
            return find_object(self.prefix / path, patient=self.patient).version
        except PathNotFound:
            raise PhotoFailed(FailureKind.GONE, _GONE_TEXT) from None
        except BucketUnavailable as unavailable:
            raise PhotoFailed(FailureKind.UNREACHABLE, str(unavailable)) from None

    def is_settled(self, version: PhotoVersion, settle_s: float) -> bool:  # noqa: ARG002
        return True  # objects appear whole

    def missing(self, paths: Collection[str]) -> set[str]:
        """Lists the range of the paths once more: a request per thousand keys instead of one per photo.

        Raises:
            BucketUnavailable: the bucket cannot be listed (further).
        """
        keys = {self._key(path): path for path in paths}
        if not keys:
            return set()
        last = max(keys)
        # Any text before the first key: a listing begins after it. The library refuses some that end in dots.
        before = min(keys)[:-1].rstrip("./")
        for page in _pages(self.prefix, before):
            for meta in page:
                keys.pop(meta["path"], None)
            if page[-1]["path"] >= last:
                break
        return set(keys.values())

    def sidecars(self, path: str) -> Sidecars:
        photo = self.prefix / path
        names = {photo.name, *_names_with_stem(photo.parent, photo.stem)}
        sidecars = {name for name in names if name.lower().endswith(SIDECAR_EXTENSION)}
        beside = ObjectSource(photo.parent)
        return Sidecars(
            side_files_of(names - sidecars, sidecars, beside.read_sidecar).get(
                photo.name, ()
            )
        )

    def named(self) -> tuple[Path, bool]:
        return self.prefix, not is_object(self.prefix)

    def resolved(self) -> Path:
        return self.prefix

    def may_have_photos(self) -> bool:
        return True  # a scan asks the bucket

    def subfolders(self) -> list[str]:
        return []  # listing prefixes takes as long as listing all objects

    def may_have_moved_to(self, folder: Path) -> bool:  # noqa: ARG002
        return False

    def shown_name(self, folder: Path, root_name: str) -> str:  # noqa: ARG002 - addresses are the same everywhere
        return str(folder)

    def unavailable(self, mount: Mount, photos: str) -> RootUnavailable:
        is_empty = (
            f"it is empty, but the database has {photos} in it. "
            f"If you deleted them, run `tagger forget {self.prefix}`"
        )
        return BucketUnavailable(folder=self.prefix, reason=mount.problem or is_empty)

    def _key(self, path: str) -> str:
        return f"{self.prefix.key}/{path}".lstrip("/")

    def _read_once(self, path: str, max_bytes: int) -> PhotoBytes:
        result = open_store(self.prefix, patient=self.patient).get(self._key(path))
        check_size(result.meta["size"], max_bytes)
        version = object_version(result.meta)
        data = result.bytes().to_bytes()
        if len(data) != version.size_bytes:
            raise OSError("the connection ended early")
        return PhotoBytes(data, *version)


class _OpenFolders:
    # The folders around the present key of an ordered listing, and which of them are closed to photos.
    # Markers like `.nomedia` close their folder to what comes after them, which are most names.
    def __init__(self, path_filter: PathFilter, other_files: OtherFiles) -> None:
        self._filter = path_filter
        self._other_files = other_files
        self._parent = ""
        # The open folders, outermost first, to the first one that is closed.
        self._folders: list[str] = []
        self.is_entered = True

    def enter(self, relative: str) -> bool:
        # Go to the folder of a key. Returns whether photos in it are listed.
        parent, _, name = relative.rpartition("/")
        if parent != self._parent:
            self._parent = parent
            around = [
                parent[:at]
                for at, letter in enumerate(f"{parent}/")
                if letter == "/" and at
            ]
            if self._folders[-1:] != around[: len(self._folders)][-1:]:
                self._folders = [folder for folder in self._folders if folder in around]
                self.is_entered = True
            for folder in around[len(self._folders) :]:
                if self.is_entered:
                    self._folders.append(folder)
                    self._close(folder, self._filter.closed_by(folder))
        if is_marker(name) and parent and self.is_entered:
            self._close(parent, marked_reason(parent, name))
        return self.is_entered

    def _close(self, folder: str, reason: str | None) -> None:
        if reason is None or not self.is_entered:
            return
        self.is_entered = False
        del self._folders[self._folders.index(folder) + 1 :]
        if reason:
            self._other_files.folders[reason].add(f"{self._filter.location}/{folder}")


def find_object(path: ObjectPath, *, patient: bool = True) -> FoundPhoto:
    """Return a single object, whatever its extension.

    Raises:
        PathNotFound: there is none at `path`.
        BucketUnavailable: the bucket does not answer.
    """
    try:
        return _found(path, open_store(path, patient=patient).head(path.key))
    except FileNotFoundError:
        raise PathNotFound(path=path) from None
    except store_errors() as error:
        raise BucketUnavailable(folder=path, reason=error_text(error)) from None


def _names_with_stem(folder: ObjectPath, stem: str) -> Iterator[str]:
    start = len(folder.key) + 1 if folder.key else 0
    for page in _pages(folder, f"{folder.key}/{stem}".lstrip("/").rstrip("./")):
        listed = [meta["path"][start:] for meta in page]
        yield from (
            name for name in listed if name.startswith(f"{stem}.") and "/" not in name
        )
        if listed[-1] > f"{stem}/":  # every name with the stem sorts before
            break


def has_entry(path: ObjectPath) -> bool:
    """Whether there is an object at this address, or one below it.

    Raises:
        BucketUnavailable: the bucket cannot be listed.
    """
    if next(_pages(path, patient=False), None) is not None:
        return True
    with suppress(PathNotFound):
        return bool(find_object(path, patient=False))
    return False


def is_object(path: ObjectPath) -> bool:
    """Whether the address is that of an object, and not of a prefix or a bucket.

    Raises:
        BucketUnavailable: the bucket does not answer, or does not exist.
    """
    if path.key:
        with suppress(PathNotFound):
            find_object(path, patient=False)
            return True
    if problem := ObjectSource(path).mount().problem:
        raise BucketUnavailable(folder=path, reason=problem)
    return False


def _ordered(prefix: ObjectPath) -> Iterator["ObjectMeta"]:
    # List all objects in strict order: photos that a scan does not find between two keys count as gone.
    last = ""
    for page in _pages(prefix):
        for meta in page:
            if meta["path"] > last:
                last = meta["path"]
                yield meta


def _pages(
    prefix: ObjectPath, after: str = "", *, patient: bool = True
) -> Iterator[Sequence["ObjectMeta"]]:
    # List all objects after a key in order, page by page. One that fails goes on after the last key.
    failures, deadline = 0, time.monotonic() + RETRY_TIMEOUT.total_seconds()
    while True:
        try:
            store = open_store(prefix, patient=patient)
            for page in store.list(
                prefix.key or None,
                offset=after or None,
                chunk_size=PAGE,
            ):
                for meta in page:
                    # The empty object that stands for a folder is listed without the slash at its end.
                    if meta["path"] <= after and meta["size"]:
                        raise BucketUnavailable(folder=prefix, reason=_NOT_IN_ORDER)
                    after = max(after, meta["path"])
                yield page
                failures, deadline = 0, time.monotonic() + RETRY_TIMEOUT.total_seconds()
        except store_errors() as error:
            failures += 1
            is_last = (
                failures >= object_store.ATTEMPTS
                or time.monotonic() > deadline
                or not patient
            )
            if is_last or not is_worth_repeating(error):
                raise BucketUnavailable(
                    folder=prefix, reason=error_text(error)
                ) from None
            time.sleep(object_store.RETRY_PAUSE_S * 2 ** (failures - 1))
        else:
            return


def _found(path: ObjectPath, meta: "ObjectMeta") -> FoundPhoto:
    return FoundPhoto(str(path), *object_version(meta))


_NAME_START = re.compile(r"[^(.-]*")
# Names that Takeout cuts have more characters in common.
_COMMON_START = 40
_MOST_WAITING = 20_000


def _with_side_files(
    entries: Iterator[_Listed], read_sidecar: Callable[[str], bytes | None]
) -> Iterator[FoundPhoto]:
    # The photos, which wait for the names that begin as theirs, as those of side files do.
    for _, group in groupby(entries, key=_start):
        while page := list(islice(group, _MOST_WAITING)):
            names = {
                key.rpartition("/")[2]: entry
                for key, entry in page
                if isinstance(entry, FoundPhoto)
            }
            files = {
                entry.name: entry for _, entry in page if isinstance(entry, SideFile)
            }
            found = (
                _side_files_of(page, names, files, read_sidecar)
                if names and files
                else {}
            )
            for key, entry in page:
                if isinstance(entry, FoundPhoto):
                    of_photo = found.get(key.rpartition("/")[2], ())
                    yield replace(
                        entry, side_files=tuple(files[name] for name in of_photo)
                    )


def _side_files_of(
    page: Sequence[_Listed],
    photos: Collection[str],
    files: Collection[str],
    read_sidecar: Callable[[str], bytes | None],
) -> Mapping[str, tuple[str, ...]]:
    folder = page[0][0].rpartition("/")[0]
    unlisted = (
        name for key, _ in page if may_have_stem_sidecar(name := key.rpartition("/")[2])
    )
    others = [*files, *(name for name in unlisted if name not in photos)]
    return side_files_of(
        photos, others, lambda name: read_sidecar(f"{folder}/{name}".lstrip("/"))
    )


def _start(listed: _Listed) -> tuple[str, str]:
    # The folder of a key, and the beginning of its name that side files share.
    folder, _, name = listed[0].rpartition("/")
    match = _NAME_START.match(name)
    return folder, (match[0] if match else "")[:_COMMON_START]


def object_version(meta: "ObjectMeta") -> PhotoVersion:
    etag = (meta["e_tag"] or "").removeprefix("W/").strip('"')
    digest = int.from_bytes(blake2b(etag.encode(), digest_size=8).digest()) % _SECOND_NS
    time_ns = int(meta["last_modified"].timestamp()) * _SECOND_NS + digest
    return PhotoVersion(meta["size"], min(MAX_TIME_NS, time_ns))
