"""Copying a file's attributes to the file that replaces it: owner, permissions, extended attributes, times.

An attribute that cannot be copied prevents the write. Not copied are creation times, which only macOS can set, file flags
(`chattr`), and the checksums that some systems store in attributes (`security.ima`).
"""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tagger.metadata.errors import RefusalKind, WriteRefused


def copy_attributes(source: int, original: os.stat_result, target: int, *, with_times: bool) -> None:
    """Copy the attributes of the open file `source` to the open file `target`. `original` is the status of `source`.

    Raises:
        WriteRefused: an attribute cannot be copied.
    """
    if (original.st_uid, original.st_gid) != _owner(target):
        try:
            os.fchown(target, original.st_uid, original.st_gid)
        except PermissionError as error:
            raise _not_copied("owner or group") from error
    _copy_extended_attributes(source, target)
    os.fchmod(target, stat.S_IMODE(original.st_mode))
    if with_times:
        _copy_times(original, target)


def check_attributes(original: os.stat_result, target: int, *, with_times: bool) -> None:
    """Check that the open file `target` has the copied attributes: some disks and shares accept and then ignore them.

    Raises:
        WriteRefused: an attribute was not copied.
    """
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


def copy_photo_permissions(photo: os.stat_result, target: int) -> None:
    """Give a new sidecar, open as `target`, its photo's permissions, and its owner where that is allowed.

    The owner can always write the sidecar, even of a write-protected photo, so that an undo can delete it.
    """
    if (photo.st_uid, photo.st_gid) != _owner(target):
        # If this is not allowed, the sidecar belongs to the current user.
        with suppress(PermissionError):
            os.fchown(target, photo.st_uid, photo.st_gid)
    os.fchmod(target, stat.S_IMODE(photo.st_mode) & 0o666 | 0o600)


_REQUIRED_PREFIXES = ("user.", "system.")
_NEVER_COPIED = ("security.ima", "security.evm")
"""Checksums of the file itself."""
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_COPYFILE_ACL, _COPYFILE_XATTR = 1, 4


def _owner(target: int) -> tuple[int, int]:
    status = os.fstat(target)
    return status.st_uid, status.st_gid


def _copy_times(original: os.stat_result, target: int) -> None:
    os.utime(target, ns=(original.st_atime_ns, original.st_mtime_ns))


def _copy_extended_attributes(source: int, target: int) -> None:
    """Copy extended attributes and access lists, and remove those that the folder gave to the new file."""
    if sys.platform == "darwin":
        _copy_extended_attributes_on_macos(source, target)
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
    """Refuse if a user's attribute cannot be copied. The system's (`security.`, `trusted.`) may differ."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        if name.startswith(_REQUIRED_PREFIXES):
            raise _not_copied(f"attribute {name!r}") from error


def _copy_extended_attributes_on_macos(source: int, target: int) -> None:
    """Python has no functions for extended attributes on macOS; the system's `fcopyfile` copies them."""
    copy = ctypes.CDLL(None, use_errno=True).fcopyfile
    copy.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
    if copy(source, target, None, _COPYFILE_ACL | _COPYFILE_XATTR) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _not_copied(attribute: str) -> WriteRefused:
    return WriteRefused(
        RefusalKind.READ_ONLY,
        f"The file's {attribute} cannot be copied by this user or on this disk. Write as the file's owner.",
    )
