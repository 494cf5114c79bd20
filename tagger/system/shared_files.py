"""What a folder's disk lacks for a file that several processes use: some network shares and FUSE disks have no locks or shared memory."""

import fcntl
import mmap
import tempfile
from pathlib import Path


def lacking_support(folder: Path) -> str | None:
    """`file locks` or `shared memory`, with the system's reason; None if the disk has both, or no file can be created there.

    It tries them with a file that has no name, or none for longer than a moment.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(mmap.PAGESIZE)
            return _lacking(file.fileno())
    except OSError:
        return None


def _lacking(file: int) -> str | None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return f"file locks ({error.strerror})"
    try:
        mmap.mmap(file, mmap.PAGESIZE, mmap.MAP_SHARED).close()
    except OSError as error:
        return f"shared memory ({error.strerror})"
    return None
