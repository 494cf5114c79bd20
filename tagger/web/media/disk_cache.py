"""A cache of files on disk with a size limit; the least recently used files are evicted.

Files are written atomically, so several servers can share the folder. The size is tracked by a running sum; the folder
is listed only when the sum exceeds the limit, or after much was written.
"""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from tagger.system.permissions import make_private_folder

log = logging.getLogger(__name__)

EVICTION_TARGET = 0.9
"""The share of the limit that eviction leaves, so that the next one is not at once."""
RECOUNT_SHARE = 0.2
"""After this share of the limit was written, the folder is listed again: other servers write too."""
USE_INTERVAL_S = 3600.0
"""A use is recorded only if the last recorded one is older, so that not every read writes."""
_BLOCK_BYTES = 4096
"""The least space that a file takes on disk."""


class DiskCache:
    """At most `max_bytes` of files below `folder`."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sum_bytes: int | None = None
        self._written_bytes = 0

    def get(self, name: str) -> bytes | None:
        """Return the data stored under the name; None if there is none."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > USE_INTERVAL_S:
                    with suppress(OSError):
                        os.utime(path)
                return file.read() or None
        except OSError:
            return None

    def put(self, name: str, data: bytes) -> None:
        """Store data under the name. If the disk is full or read-only, log a warning and store nothing."""
        try:
            self._write(self._path(name), data)
            self._make_room(_disk_bytes(len(data)))
        except OSError as error:
            log.warning("cannot store thumbnails in %s: %s", self._folder, error.strerror)

    def _path(self, name: str) -> Path:
        digest = blake2b(name.encode(errors="surrogateescape"), digest_size=20).hexdigest()
        return self._folder / digest[:2] / digest[2:]

    def _write(self, path: Path, data: bytes) -> None:
        make_private_folder(path.parent)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - it is open already
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _make_room(self, written_bytes: int) -> None:
        with self._lock:
            self._written_bytes += written_bytes
            is_recount_due = self._written_bytes > self._max_bytes * RECOUNT_SHARE
            if self._sum_bytes is not None and not is_recount_due:
                self._sum_bytes += written_bytes
                if self._sum_bytes <= self._max_bytes:
                    return
            self._written_bytes = 0
            self._sum_bytes = self._evict()

    def _evict(self) -> int:
        """Delete the least recently used files if the limit is exceeded; returns the remaining bytes."""
        files = sorted(self._files())
        sum_bytes = sum(size_bytes for _, size_bytes, _ in files)
        if sum_bytes <= self._max_bytes:
            return sum_bytes
        for _, size_bytes, path in files:
            if sum_bytes <= self._max_bytes * EVICTION_TARGET:
                break
            with suppress(FileNotFoundError):  # another server has deleted it
                os.unlink(path)  # noqa: PTH108 - a hundred thousand of them
            sum_bytes -= size_bytes
        return sum_bytes

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Yield time of last use, size on disk and path of each file, temporary files of killed servers included."""
        with os.scandir(self._folder) as folders:
            for folder in folders:
                with suppress(OSError), os.scandir(folder.path) as files:
                    for file in files:
                        with suppress(FileNotFoundError):
                            status = file.stat(follow_symlinks=False)
                            yield status.st_mtime, _disk_bytes(status.st_size), file.path


def _disk_bytes(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
