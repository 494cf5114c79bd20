"""What a file has beside its bytes: owner, rights, extended attributes, times. Carried over to the file that replaces it.

What cannot be kept is a reason not to write. A birth time cannot be set anywhere but on macOS, so the new file has its
own; so have file flags (`chattr`), and the checksums over attributes that some systems keep (`security.ima`).
"""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tagger.metadata.refusals import RefusalKind, WriteRefused


def carry_traits(source: int, known: os.stat_result, target: int, *, with_times: bool) -> None:
    """Give the open file `target` what the open file `source` has, of which `known` is the status when it was read.

    Raises:
        WriteRefused: something of it cannot be kept.
    """
    if (known.st_uid, known.st_gid) != _owner(target):
        try:
            os.fchown(target, known.st_uid, known.st_gid)
        except PermissionError as error:
            raise _lost("owner or group") from error
    _carry_attributes(source, target)
    os.fchmod(target, stat.S_IMODE(known.st_mode))
    if with_times:
        _carry_times(known, target)


def confirm_traits(known: os.stat_result, target: int, *, with_times: bool) -> None:
    """Refuse unless the open file `target` has what was carried: some disks and shares take it and keep nothing."""
    if with_times:
        _carry_times(known, target)  # Reading it back was an access.
    now = os.fstat(target)
    kept = (now.st_uid, now.st_gid, now.st_mode) == (known.st_uid, known.st_gid, known.st_mode)
    if not kept or (with_times and now.st_mtime_ns != known.st_mtime_ns):
        raise _lost("owner, rights or time")


def like_photo(photo: os.stat_result, target: int) -> None:
    """Give a new sidecar, open as `target`, its photo's owner where that is allowed, and its rights to read and write.

    Its owner may write it whatever the photo's rights are, or else nobody could take it back.
    """
    if (photo.st_uid, photo.st_gid) != _owner(target):
        # Where that is not allowed, it belongs to who writes it, as files do.
        with suppress(PermissionError):
            os.fchown(target, photo.st_uid, photo.st_gid)
    os.fchmod(target, stat.S_IMODE(photo.st_mode) & 0o666 | 0o600)


_MUST_BE_KEPT = ("user.", "system.")
_NOT_CARRIED = ("security.ima", "security.evm")
"""Checksums of the very file they are on."""
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_COPYFILE_ACL, _COPYFILE_XATTR = 1, 4


def _owner(target: int) -> tuple[int, int]:
    now = os.fstat(target)
    return now.st_uid, now.st_gid


def _carry_times(known: os.stat_result, target: int) -> None:
    os.utime(target, ns=(known.st_atime_ns, known.st_mtime_ns))


def _carry_attributes(source: int, target: int) -> None:
    """Extended attributes and access lists: all that the source has, and none that a folder gives to its new files."""
    if sys.platform == "darwin":
        _carry_attributes_on_macos(source, target)
    elif hasattr(os, "listxattr"):
        wanted, given = _attribute_names(source), _attribute_names(target)
        for name in sorted(wanted):
            with _kept(name):
                value = os.getxattr(source, name)
                # What the folder gave it already may be the system's to set.
                if name not in given or os.getxattr(target, name) != value:
                    os.setxattr(target, name, value)
        for name in sorted(given - wanted):
            with _kept(name):
                os.removexattr(target, name)


def _attribute_names(file: int) -> set[str]:
    try:
        names = os.listxattr(file)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return set()
        raise
    return {name for name in names if name not in _NOT_CARRIED}


@contextmanager
def _kept(name: str) -> Iterator[None]:
    """What is people's must be kept; what is the system's (`security.`, `trusted.`) it may give as it sees fit."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        if name.startswith(_MUST_BE_KEPT):
            raise _lost(f"attribute {name!r}") from error


def _carry_attributes_on_macos(source: int, target: int) -> None:
    """Python has no calls for them there; the system's own copying has."""
    copy = ctypes.CDLL(None, use_errno=True).fcopyfile
    copy.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
    if copy(source, target, None, _COPYFILE_ACL | _COPYFILE_XATTR) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _lost(what: str) -> WriteRefused:
    return WriteRefused(
        RefusalKind.READ_ONLY,
        f"The file's {what} could not be kept for this user or on this disk. "
        "Write as the file's owner, or write a sidecar.",
    )
