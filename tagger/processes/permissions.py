"""Permissions of this program's own files: for their owner, or the group that shares the folder.

Files that other users can change are not used.
"""

import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from tagger.errors import PermissionsUnsafe

_SHARED = stat.S_ISGID | stat.S_IWGRP


def make_private_folder(folder: Path) -> None:
    """Create the folder and its parents, for the owner alone or the group that shares the parent."""
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        if folder.parent.is_dir():  # in a file system like /proc
            raise
        make_private_folder(folder.parent)
        make_private_folder(folder)
    except OSError:  # it exists, possibly on a read-only disk
        if not folder.is_dir():
            raise
    else:
        if _is_shared(folder.parent):
            folder.chmod(0o2770)


def create_private_file(file: Path) -> None:
    """Create an empty file for the owner, or the group that shares its folder, unless it exists."""
    with suppress(FileExistsError):
        descriptor = os.open(
            file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        try:
            if _is_shared(file.parent):
                os.fchmod(descriptor, 0o660)
        finally:
            os.close(descriptor)


def require_safe(path: Path) -> None:
    """Check that no other user can change the file or folder. Its absence is safe.

    Raises:
        PermissionsUnsafe: another user can.
    """
    if (problem := permission_problem(path)) is not None:
        reason, remedy = problem
        raise PermissionsUnsafe(path=path, reason=reason, remedy=remedy)


def permission_problem(path: Path) -> tuple[str, str] | None:
    """How another user can change the file or folder, and the command that prevents it; None if nobody."""
    if (problem := writable_by_all(path)) is not None:
        return problem
    try:
        status = path.stat()
    except OSError:
        return None
    is_own = os.geteuid() in {0, status.st_uid} or status.st_uid == 0
    own_groups = {os.getegid(), *os.getgroups()}
    if is_own or (status.st_mode & stat.S_IWGRP and status.st_gid in own_groups):
        return None
    return (
        f"it belongs to another user ({status.st_uid})",
        f"sudo chown $(id -u) {shlex.quote(str(path))}",
    )


def writable_by_all(path: Path) -> tuple[str, str] | None:
    """The problem that every user can change a file or folder, and the command that prevents it.

    Allowed are a sticky folder, like /tmp, and a mount point, whose permissions the mount sets.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    is_allowed = stat.S_ISDIR(status.st_mode) and (
        status.st_mode & stat.S_ISVTX or path.is_mount()
    )
    if is_allowed or not status.st_mode & stat.S_IWOTH:
        return None
    return (
        "every user of this machine can change it",
        f"chmod o-w {shlex.quote(str(path))}",
    )


def readable_by_others(path: Path) -> str | None:
    """The command that closes the folder or file to other users. None if it is closed or absent."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not status.st_mode & stat.S_IRWXO:
        return None
    if status.st_mode & _SHARED == _SHARED:
        mode = "o-rwx"
    else:
        mode = "700" if stat.S_ISDIR(status.st_mode) else "600"
    return f"chmod {mode} {shlex.quote(str(path))}"


def _is_shared(folder: Path) -> bool:
    return folder.stat().st_mode & _SHARED == _SHARED
