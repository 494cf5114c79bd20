"""The files that hold a photo's metadata: its own, its sidecars by every naming, those on record; the fields
in them by name; and the temporary files that replace them.

digiKam, darktable, Immich and this program name sidecars `photo.jpg.xmp`; Adobe's programs `photo.xmp`.
Whose the latter is, says `owner_of_stem_sidecar`, as for reading. What this program wrote is looked for where
it was written: what stands beside a photo today decides only about what is not on record.
"""

import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tagger.database import Target
from tagger.errors import BucketUnavailable, PhotoFailed
from tagger.metadata import (
    RefusalKind,
    TagFields,
    WriteFailed,
    WriteRefused,
    exif,
    iptc,
    translated_os_errors,
    xmp,
)
from tagger.metadata.formats import is_jpeg, may_hold_tags, read_blocks
from tagger.photos.files import OpenFolder, open_folder
from tagger.photos.formats import exif_of
from tagger.photos.names import (
    RAW_EXTENSIONS,
    extension_of,
    find_program_folder,
    is_photo_name,
)
from tagger.photos.paths import folded_name, path_in, path_text
from tagger.photos.side_files import (
    SIDECAR_MAX_BYTES,
)
from tagger.photos.source import has_entry, open_source, read_named

# In a JPEG, our XMP comes before the image, whose bytes are not read.
_JPEG_HEAD_BYTES = 2**20


@dataclass(frozen=True)
class WrittenFile:
    """A file on record: where it was written, the digests of its content and of its original (None: none).

    `is_complete`: it is known that it was written. `is_own`: it is one of this photo, and not of a photo with
    the same image that is gone, which may be this photo under its former name. `has_moved`: its photo is
    gone, and its image is elsewhere.
    """

    path: Path
    target: Target
    written_digest: str
    base_digest: str | None
    is_complete: bool = True
    is_own: bool = True
    has_moved: bool = False


@dataclass(frozen=True)
class PhotoFiles:
    """The sidecars of a photo: those beside it, the one to write first, and those on record elsewhere.

    `hidden`: those read as long as it has none of its own. `absent`: those on record that are not there, and
    whether it is known that they were written. `left`: what was written for the photo under a former name,
    with its digest.
    """

    beside: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    recorded: tuple[Path, ...] = ()
    absent: Mapping[Path, bool] = field(default_factory=dict)
    left: Mapping[Path, str] = field(default_factory=dict)


def find_photo_files(
    photo: Path, root: Path | None = None, written: Sequence[WrittenFile] = ()
) -> PhotoFiles:
    """Find the sidecars of a photo. No link to a folder is followed below `root`.

    `written`: the photo's files on record.

    Raises:
        WriteRefused: the folder is a link or may not be read.
        WriteFailed: the disk or share failed.
    """
    folder = root or photo.parent
    with translated_os_errors(photo):
        try:
            sidecars = open_source(str(folder)).sidecars(path_in(folder, photo))
        except BucketUnavailable as error:
            text = f"Its sidecars cannot be found: {error.values['reason']}."
            raise WriteFailed("unreadable", text) from error
    beside, hidden = (
        tuple(map(photo.with_name, sidecars.own)),
        tuple(map(photo.with_name, sidecars.hidden)),
    )
    recorded: list[Path] = []
    absent: dict[Path, bool] = {}
    left: dict[Path, str] = {}
    for file in written:
        if file.target is not Target.SIDECAR:
            continue
        path = _find_written(file.path, root)
        if not file.is_own:
            left[path] = file.written_digest
        elif not has_entry(str(path)):
            absent[path] = absent.get(path, True) and file.is_complete
        elif not is_among(path, (*beside, *recorded)):
            recorded.append(path)
    return PhotoFiles(beside, hidden, tuple(recorded), absent, left)


def _find_written(path: Path, root: Path | None = None) -> Path:
    # Where the file that was written as `path` is now: under its name, but for case and accents.
    # The name may be as the database stores it, with replacements for what is no Unicode. If there is no such
    # file, `path` itself.
    # Raises WriteRefused, WriteFailed: the folder cannot be read.
    if not open_source(str(path)).is_writable:
        return path
    with translated_os_errors(path):
        try:
            folder = open_folder(path.parent, root)
        except FileNotFoundError:
            return path
        with folder:
            if folder.exists(path.name):
                return path
            folded = folded_name(path.name)
            spellings = [
                name
                for name in folder.file_names()
                if folded_name(path_text(name)[0]) == folded
            ]
    return path.with_name(spellings[0]) if len(spellings) == 1 else path


def is_among(path: Path, others: Collection[Path]) -> bool:
    """Whether a path leads to one of these files, also by another spelling of its name."""
    if path in others:
        return True
    folded = folded_name(path.name)
    return any(
        folded_name(other.name) == folded and _is_same_file(path, other)
        for other in others
        if other.parent == path.parent
    )


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def new_sidecar(photo: Path) -> Path:
    return photo.with_name(f"{photo.name}.xmp")


def refuse_shared(photo: Path, root: Path | None, sidecars: Iterable[Path]) -> None:
    """Refuse to add values to `photo.jpg.xmp` beside a RAW file `photo.jpg.cr3`: Lightroom gives it them.

    Raises:
        WriteRefused: there is such a RAW file.
    """
    own = new_sidecar(photo).name
    if not any(sidecar.name.lower() == own.lower() for sidecar in sidecars):
        return
    with (
        translated_os_errors(photo),
        suppress(FileNotFoundError),
        open_folder(photo.parent, root) as folder,
    ):
        # Each is checked by its name, as sidecars are.
        extensions = [
            extension
            for name in sorted(RAW_EXTENSIONS)
            for extension in (name, name.upper())
        ]
        for name in filter(
            folder.exists, (photo.name + extension for extension in extensions)
        ):
            reason = (
                f"Its sidecar {own} may also be that of {name}: Lightroom names it so. Nothing is written. "
                "Rename one of the two photos, then write again."
            )
            raise WriteRefused(RefusalKind.SIDECAR, reason)


def is_sidecar_name(name: str) -> bool:
    return name.lower().endswith(".xmp")


def files_with_our_values(paths: Iterable[Path], max_bytes: int) -> Iterator[Path]:
    """Yield the photos and sidecars at or below `paths` that hold values of ours, by what they say.

    Folders of other programs below them are left out: libraries, snapshots, trash. So are buckets. What
    writers that died left in the folders is removed.
    """
    for path in paths:
        if not open_source(str(path)).is_writable:
            continue
        if path.is_file() and _holds_our_values(path, max_bytes):
            yield path
        top = path.resolve()
        for parent, folders, names in os.walk(top):
            folders[:] = sorted(
                name
                for name in folders
                if not find_program_folder(f"{parent}/{name}", os.path.lexists)
            )
            with suppress(WriteRefused, WriteFailed):
                remove_leftovers(Path(parent), top)
            for name in sorted(names):
                file = Path(parent, name)
                if (
                    not file.is_symlink()
                    and file.is_file()
                    and _holds_our_values(file, max_bytes)
                ):
                    yield file


def _holds_our_values(file: Path, max_bytes: int) -> bool:
    # Whether a photo or sidecar says that it holds values of ours. False for one that cannot be read.
    try:
        if is_sidecar_name(file.name):
            return xmp.names_our_namespace(
                read_named(file, max_bytes=SIDECAR_MAX_BYTES).data
            )
        if extension_of(file.name) in (".jpg", ".jpeg", ".jpe"):
            with file.open("rb") as jpeg:
                return xmp.names_our_namespace(jpeg.read(_JPEG_HEAD_BYTES))
        if not is_photo_name(file.name):
            return False
        return xmp.has_our_fields(
            xmp_packet(read_named(file, max_bytes=max_bytes).data)
        )
    except (OSError, PhotoFailed, WriteRefused):
        return False


# The fields of a file by name, as people read them, and what differs between two versions.

# Values by name, such as `XMP:dc:subject` or `EXIF:Model`. Structures are written as text.
Fields: TypeAlias = Mapping[str, str | list[str]]

# The fields of tagger's own record of what it wrote; they are not shown as fields.
TAGGER_RECORD = "landmarkTagger:"


def photo_fields(data: bytes) -> Fields:
    """The fields of a photo's own file. Values that cannot be read are absent.

    Raises:
        WriteRefused: the container or its XMP is broken.
    """
    blocks = read_blocks(data)
    return {
        **exif.read(exif_of(data) or blocks.exif),
        **iptc.read(blocks.iptc),
        **xmp_fields(blocks.xmp),
    }


def xmp_fields(packet: bytes | None) -> Fields:
    """The fields of an XMP packet or sidecar.

    Raises:
        WriteRefused: it cannot be read.
    """
    return {
        f"XMP:{name}": list(map(_one_line, value))
        if isinstance(value, list)
        else _one_line(value)
        for name, value in xmp.properties(packet).items()
    }


def xmp_packet(data: bytes) -> bytes | None:
    return read_blocks(data).xmp if may_hold_tags(data) else None


def exif_refusal(data: bytes) -> str | None:
    """Why a JPEG photo's EXIF cannot be written; None if it can, or if the photo is not a JPEG."""
    if not is_jpeg(data):
        return None
    try:
        exif.add(read_blocks(data).exif, TagFields(keywords=("any keyword",)))
    except WriteRefused as error:
        return str(error)
    return None


def differences(before: Fields, after: Fields) -> list[tuple[str, str, str]]:
    """(sign, field, value) for each value that is removed (`-`) or added (`+`), sorted by field."""
    lines = []
    for name in sorted({*before, *after}):
        old, new = _values(before.get(name)), _values(after.get(name))
        lines += [("-", name, value) for value in old if value not in new]
        lines += [("+", name, value) for value in new if value not in old]
    return lines


def _values(value: str | list[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def _one_line(value: xmp.Value) -> str:
    if isinstance(value, dict):
        if list(value) == ["x-default"]:
            return _one_line(value["x-default"])
        return "; ".join(
            f"{name.rpartition(':')[2]}={_one_line(item)}"
            for name, item in value.items()
        )
    return ", ".join(map(_one_line, value)) if isinstance(value, list) else value


# Hidden temporary files beside the files that they will replace: created, locked, checked and
# removed.
#
# Every writer of a file uses the same temporary name, so writers find each other, and the leftovers
# of writers that died. A lock belongs to a file, not to its name. A name may be removed or renamed
# only by the process that holds the lock of the file it refers to, and a lock counts only while the
# name refers to its file. Where a share has no locks, creating the name takes their place, and a
# leftover is removed when it is old.


@dataclass(frozen=True)
class TemporaryFile:
    """A hidden file, held open and locked even if its name refers to another file meanwhile."""

    folder: OpenFolder
    name: str
    descriptor: int

    def is_at(self, name: str) -> bool:
        return _refers_to(self.folder, name, self.descriptor)

    def remove(self) -> None:
        """Remove the name if it still refers to this file, and close the file."""
        with suppress(OSError):
            if self.is_at(self.name):
                self.folder.unlink(self.name)
        with suppress(OSError):
            os.close(self.descriptor)


def create_locked(folder: OpenFolder, name: str) -> TemporaryFile:
    """Create the temporary file for a file of a folder; it replaces the leftover of a writer that died.

    Raises:
        WriteRefused: another process is writing the file.
    """
    temporary = temporary_name(name)
    for _ in range(_ATTEMPTS):
        descriptor = _create(folder, temporary)
        if descriptor is not None:
            return TemporaryFile(folder, temporary, descriptor)
        _remove_unlocked(folder, temporary)
    raise WriteRefused(
        RefusalKind.BUSY,
        f"{name!r} is being written by another process of this program. Try again when it has finished.",
    )


def temporary_name(name: str) -> str:
    """The name of the temporary file, which is the same for every writer of the file `name`."""
    return (
        f".tagger-{hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()}.part"
    )


def is_being_replaced(descriptor: int) -> bool:
    """Whether another process has just renamed the open file, whose lock it holds until it has checked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:  # a share without locks
        return False
    return False


def write_whole(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def check_written(temporary: TemporaryFile, data: bytes) -> None:
    """Read the file back, bypassing the page cache where the system allows this, and compare it.

    Raises:
        WriteFailed: the file differs.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(temporary.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    at = 0
    view = memoryview(data)
    descriptor = temporary.folder.open(temporary.name, _READ)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - it is open already
        while piece := file.read(_PIECE_BYTES):
            if piece != view[at : at + len(piece)]:
                break
            at += len(piece)
        has_size = at == len(data) == os.fstat(file.fileno()).st_size
        is_equal = has_size and _refers_to(
            temporary.folder,
            temporary.name,
            file.fileno(),
        )
    if not is_equal:
        raise WriteFailed(
            "unreadable",
            "The new file reads back differently, so the photo was left unchanged. Check its disk or share.",
        )


def remove_leftovers(path: Path, root: Path | None = None) -> int:
    """Remove the files that writers left in a folder when they died; return their number. Locked ones stay.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be read.
    """
    with translated_os_errors(path), open_folder(path, root) as folder:
        leftovers = [
            entry.name for entry in folder.entries() if _LEFTOVER.fullmatch(entry.name)
        ]
        removed = 0
        for leftover in leftovers:
            with suppress(OSError, WriteRefused):
                removed += _remove_unlocked(folder, leftover)
    return removed


def remove_leftover(path: Path, root: Path | None = None) -> None:
    with suppress(OSError, WriteRefused), open_folder(path.parent, root) as folder:
        _remove_unlocked(folder, temporary_name(path.name))


_READ = os.O_RDONLY | os.O_NONBLOCK
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
_EXISTING = os.O_RDWR | os.O_NONBLOCK
_LEFTOVER = re.compile(r"\.tagger-[0-9a-f]{32}\.part")
_ATTEMPTS = 10
_PIECE_BYTES = 1 << 20
# What network shares without locks answer: NFS without lockd, CIFS with `nobrl`, gvfs.
_NO_LOCKS = (
    errno.ENOLCK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EINVAL,
)
# On a share without locks, an older temporary file is a leftover. A slower process finds its file
# gone, and leaves the photo as it is.
_OLD_S = 600.0


def _create(folder: OpenFolder, temporary: str) -> int | None:
    # Create and lock a file. None if it exists, or if another process removes it as a leftover now.
    try:
        descriptor = folder.open(temporary, _NEW, 0o600)
    except FileExistsError:
        return None
    try:
        if _lock(descriptor) is not False and _refers_to(folder, temporary, descriptor):
            return descriptor
    except OSError:
        with suppress(FileNotFoundError):
            folder.unlink(temporary)
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove_unlocked(folder: OpenFolder, leftover: str) -> bool:
    path = folder.path / leftover
    try:
        if not stat.S_ISREG(folder.status(leftover).st_mode):
            raise WriteRefused(
                RefusalKind.BUSY,
                f"{path} is not a regular file and blocks the write. Remove it.",
            )
        descriptor = folder.open(leftover, _EXISTING)
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise WriteRefused(
            RefusalKind.BUSY,
            f"Another user is writing it, or died while writing. Try again; if {path} remains, remove it.",
        ) from error
    try:
        # Whether the process that wrote a temporary file has died.
        is_locked = _lock(descriptor)
        is_abandoned = (
            time.time() - os.fstat(descriptor).st_mtime > _OLD_S
            if is_locked is None
            else is_locked
        )

        if is_abandoned and _refers_to(folder, leftover, descriptor):
            folder.unlink(leftover)
            return True
        return False
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    # Lock an open file. False if another process has locked it, None if its share has no locks.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Some shares raise the latter for a file that is locked.
    except (
        BlockingIOError,
        PermissionError,
    ):
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _refers_to(folder: OpenFolder, name: str, descriptor: int) -> bool:
    try:
        status = folder.status(name)
    except FileNotFoundError:
        return False
    return os.path.samestat(status, os.fstat(descriptor))
