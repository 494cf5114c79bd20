"""Replacing files atomically: at every moment, a name refers to the complete old file or the new one.

`prepare` writes the new file beside the old one under a hidden name; `PreparedFile.replace` renames it. In
between, a caller can record many intended writes at once. Knows nothing of the content.

The owner, permissions, extended attributes and time of the old file are copied; one that cannot be copied
prevents the write. Not copied are creation times, which only macOS can set, file flags (`chattr`), and the
checksums that some systems store in attributes (`security.ima`).

Limits: other programs are noticed by what they have changed. One that has the file open and writes into it
after the rename writes into the old file, which is lost. Shares that cannot rename open files are refused.
"""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tagger.metadata import (
    RefusalKind,
    WriteFailed,
    WriteRefused,
    translated_os_errors,
)
from tagger.metadata.photo_files import (
    TemporaryFile,
    check_written,
    create_locked,
    is_being_replaced,
    is_sidecar_name,
    write_whole,
)
from tagger.photos.files import (
    OpenFolder,
    PhotoVersion,
    flush_to_disk,
    open_folder,
    version_of,
)


@dataclass(frozen=True)
class Original:
    """A file as it was read before a write; `data` and `status` are None if it did not exist.

    No link to a folder is followed below `root`. With None, the file's own folder is the root.
    """

    path: Path
    data: bytes | None
    status: os.stat_result | None
    root: Path | None = None

    @property
    def version(self) -> PhotoVersion | None:
        return version_of(self.status) if self.status else None


def read_for_writing(
    path: Path, *, max_bytes: int, root: Path | None = None
) -> Original:
    """Read a file that will be replaced, or find that it does not exist yet.

    Raises:
        WriteRefused: the file is a link, or in a folder that is one below `root`, has several hard links, is
            not a regular file, is write-protected (even if this user is root), is too large, or changed while
            it was read.
        WriteFailed: the file cannot be read.
    """
    with translated_os_errors(path):
        try:
            folder = open_folder(path.parent, root)
        except FileNotFoundError:
            return Original(path, None, None, root)
        with folder:
            try:
                status = folder.status(path.name)
            except FileNotFoundError:
                return Original(path, None, None, root)
            _check_writable(folder, path.name, status, max_bytes)
            descriptor = folder.open(path.name, _READ)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
                before = os.fstat(descriptor)
                _check_writable(folder, path.name, before, max_bytes)
                data = file.read(before.st_size + 1)
                after = os.fstat(descriptor)
    if _identity(before) != _identity(after) or len(data) != before.st_size:
        raise busy(path.name)
    return Original(path, data, before, root)


@contextmanager
def open_unchanged(
    folder: OpenFolder, name: str, expected: os.stat_result | None
) -> Iterator[int | None]:
    """Open a file of the folder if its status is still `expected`.

    Yields the descriptor, or None if the file does not exist and did not exist before.

    Raises:
        WriteRefused: the file has changed, or another process is replacing it.
        WriteFailed: the file is gone.
    """
    descriptor = None
    with suppress(FileNotFoundError):
        descriptor = folder.open(name, _READ)
    try:
        if descriptor is not None:
            status = os.fstat(descriptor)
            if (
                expected is None
                or _identity(status) != _identity(expected)
                or is_being_replaced(descriptor)
            ):
                raise busy(name)
        elif expected is not None:
            raise WriteFailed(
                "gone", f"{name!r} no longer exists. Scan the folder again."
            )
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def busy(name: str) -> WriteRefused:
    return WriteRefused(
        RefusalKind.BUSY,
        f"{name!r} is being written by another program. Try again when it has finished.",
    )


_READ = os.O_RDONLY | os.O_NONBLOCK
_ANY_WRITER = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def _check_writable(
    folder: OpenFolder, name: str, status: os.stat_result, max_bytes: int
) -> None:
    if stat.S_ISLNK(status.st_mode):
        remedy = "Replace it by" if is_sidecar_name(name) else "Name"
        raise WriteRefused(
            RefusalKind.LINK,
            f"{name!r} is a link. {remedy} the file that it points to.",
        )
    if not stat.S_ISREG(status.st_mode):
        raise WriteRefused(
            RefusalKind.FORMAT, f"{name!r} is not a file. Rename or remove it."
        )
    if status.st_nlink > 1:
        raise WriteRefused(
            RefusalKind.LINK,
            f"The file {name!r} has {status.st_nlink} hard links, which a write would separate. "
            "To write into it, replace it by a copy.",
        )
    # Root may write every file, but write protection is respected for root, too.
    if not status.st_mode & _ANY_WRITER or not folder.may_write(name):
        raise WriteRefused(
            RefusalKind.READ_ONLY,
            f"{name!r} is write-protected. Give this user write permission.",
        )
    if status.st_size > max_bytes:
        remedy = (
            "" if is_sidecar_name(name) else ", or raise the limit TAGGER_MAX_BYTES"
        )
        raise WriteRefused(
            RefusalKind.TOO_LARGE,
            f"{name!r} has {status.st_size} bytes, more than the limit of {max_bytes}. "
            f"Save it smaller{remedy}.",
        )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    # What changes when a file is replaced, written, or given other permissions or attributes.
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def prepare(
    original: Original, data: bytes | None, *, photo: Path | None = None
) -> "PreparedFile":
    """Write the new file, flush it to disk, read it back, and copy the original's attributes.

    The modification time of a photo is kept. That of a sidecar is not, because programs read a sidecar again
    when it is newer. `data` None deletes a sidecar. A new sidecar gets the owner and permissions of `photo`;
    without `photo`, it is readable by this user only.

    Raises:
        WriteRefused: the file has changed, is in use, or has attributes that cannot be copied.
        WriteFailed: the disk is full or fails, or the folder is gone.
    """
    path = original.path
    if data is None and not is_sidecar_name(path.name):
        raise ValueError(f"only sidecars are deleted, not {path}")
    with translated_os_errors(path):
        prepared = PreparedFile(
            path, original.status, _create_temporary(original), removes=data is None
        )
        try:
            with open_unchanged(prepared.folder, path.name, original.status) as source:
                if data is not None:
                    _write_new_file(prepared, data, source, photo)
        except BaseException:
            prepared.discard()
            raise
    return prepared


@dataclass
class PreparedFile:
    """A new file that is ready to replace the old one.

    It holds a lock and two descriptors, of file and folder, until `replace` or `discard`, so keep no more
    than hundreds. `original_status` is the original's status when it was read, None if it did not exist.
    """

    path: Path
    original_status: os.stat_result | None
    temporary: TemporaryFile
    removes: bool
    _is_pending: bool = True

    @property
    def folder(self) -> OpenFolder:
        return self.temporary.folder

    def replace(self) -> None:
        """Replace the original, if it is still the file that was read.

        Raises:
            WriteRefused: the original has changed, or file or folder are write-protected.
            WriteFailed: the disk or share fails. Read the file to find out whether it was replaced.
        """
        if not self._is_pending:
            raise ValueError(
                f"the file prepared for {self.path} was replaced or discarded before"
            )
        try:
            with translated_os_errors(self.path):
                with open_unchanged(self.folder, self.path.name, self.original_status):
                    pass
                self._rename()
                self.folder.flush()
                self._verify()
        finally:
            self.discard()

    def discard(self) -> None:
        """Delete the new file and release the lock. Does nothing after `replace`, or when called again."""
        if self._is_pending:
            self._is_pending = False
            self.temporary.remove()
            self.folder.close()

    def _rename(self) -> None:
        if self.removes:
            if self.original_status is not None:
                self.folder.unlink(self.path.name)
            return
        if not self.temporary.is_at(self.temporary.name):
            raise busy(self.path.name)
        try:
            self.folder.replace(self.path.name, by=self.temporary.name)
        except OSError:
            # A share can rename the file, lose the response, and fail when the request is repeated.
            if not self.temporary.is_at(self.path.name):
                raise

    def _verify(self) -> None:
        name = self.path.name
        is_replaced = (
            not self.folder.exists(name) if self.removes else self.temporary.is_at(name)
        )
        if not is_replaced:
            raise WriteFailed(
                "unreadable",
                f"{name!r} does not hold what was just written. Another program or the share changed it; "
                "check the file and write again.",
            )


def _create_temporary(original: Original) -> TemporaryFile:
    folder = open_folder(original.path.parent, original.root)
    try:
        return create_locked(folder, original.path.name)
    except BaseException:
        folder.close()
        raise


def _write_new_file(
    prepared: PreparedFile, data: bytes, source: int | None, photo: Path | None
) -> None:
    original_status, target = prepared.original_status, prepared.temporary.descriptor
    with_times = not is_sidecar_name(prepared.path.name)
    write_whole(target, data)
    if original_status is not None and source is not None:
        if (original_status.st_uid, original_status.st_gid) != _owner(target):
            try:
                os.fchown(target, original_status.st_uid, original_status.st_gid)
            except PermissionError as error:
                raise _not_copied("owner or group") from error
        _copy_extended_attributes(source, target)
        _set_mode(target, stat.S_IMODE(original_status.st_mode))
        if with_times:
            _copy_times(original_status, target)
    elif photo is not None:
        _copy_photo_permissions(
            os.stat(photo.name, dir_fd=prepared.folder.descriptor), target
        )
    flush_to_disk(target)
    check_written(prepared.temporary, data)
    if original_status is not None:
        _check_attributes(original_status, target, with_times=with_times)


def _check_attributes(
    original: os.stat_result, target: int, *, with_times: bool
) -> None:
    # Check that the open file `target` has the attributes: some disks accept and then ignore them.
    # Raises WriteRefused: an attribute was not copied.
    if with_times:
        _copy_times(original, target)  # reading the file back changed the access time
    status = os.fstat(target)
    is_copied = (status.st_uid, status.st_gid, status.st_mode) == (
        original.st_uid,
        original.st_gid,
        original.st_mode,
    )
    if not is_copied or (with_times and status.st_mtime_ns != original.st_mtime_ns):
        raise _not_copied("owner, permissions or time")


def _copy_photo_permissions(photo: os.stat_result, target: int) -> None:
    # Give a new sidecar, open as `target`, its photo's permissions, and its owner where that is allowed.
    # The owner can always write the sidecar, even of a write-protected photo, so that an undo can delete it.
    if (photo.st_uid, photo.st_gid) != _owner(target):
        # If this is not allowed, the sidecar belongs to the current user.
        with suppress(PermissionError):
            os.fchown(target, photo.st_uid, photo.st_gid)
    _set_mode(target, stat.S_IMODE(photo.st_mode) & 0o666 | 0o600)


_REQUIRED_PREFIXES = ("user.", "system.")
# Checksums of the file itself.
_NEVER_COPIED = ("security.ima", "security.evm")
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_PERMISSIONS = (
    errno.EPERM,
    errno.EACCES,
    errno.EINVAL,
    *_NO_ATTRIBUTES,
)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_COPYFILE_ACL, _COPYFILE_XATTR = 1, 4


def _set_mode(target: int, mode: int) -> None:
    # Set the permissions, where there are some: exFAT, CIFS, gvfs and others have those of the mount.
    # A replaced file that has other permissions than its original is refused later (see _check_attributes).
    try:
        os.fchmod(target, mode)
    except OSError as error:
        if error.errno not in _NO_PERMISSIONS:
            raise


def _owner(target: int) -> tuple[int, int]:
    status = os.fstat(target)
    return status.st_uid, status.st_gid


def _copy_times(original: os.stat_result, target: int) -> None:
    os.utime(target, ns=(original.st_atime_ns, original.st_mtime_ns))


def _copy_extended_attributes(source: int, target: int) -> None:
    # Copy extended attributes and access lists, and remove those that the folder gave to the new file.
    if sys.platform == "darwin":
        # Python has no functions for extended attributes on macOS; the system's `fcopyfile` copies
        # them.
        copy = ctypes.CDLL(None, use_errno=True).fcopyfile
        copy.argtypes = (
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint32,
        )
        if copy(source, target, None, _COPYFILE_ACL | _COPYFILE_XATTR) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    elif hasattr(os, "listxattr"):
        source_names, target_names = _attribute_names(source), _attribute_names(target)
        for name in sorted(source_names):
            with _required(name):
                value = os.getxattr(source, name)
                # An attribute that the folder gave to the new file may be writable by the system only.
                if name not in target_names or os.getxattr(target, name) != value:
                    os.setxattr(target, name, value)
        for name in sorted(target_names - source_names):
            with _required(name):
                os.removexattr(target, name)


def _attribute_names(file: int) -> set[str]:
    try:
        names = os.listxattr(file)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return set()
        raise
    return {name for name in names if name not in _NEVER_COPIED}


@contextmanager
def _required(name: str) -> Iterator[None]:
    # Refuse if a user's attribute cannot be copied. The system's (`security.`, `trusted.`) may differ.
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        if name.startswith(_REQUIRED_PREFIXES):
            raise _not_copied(f"attribute {name!r}") from error


def _not_copied(attribute: str) -> WriteRefused:
    return WriteRefused(
        RefusalKind.READ_ONLY,
        f"The file's {attribute} cannot be copied by this user or on this disk. Write as the file's owner.",
    )
