"""Files that can be made again, on disk, within a bound: what was not used for longest goes first.

Each file is written whole or not at all, so several servers may share the folder. The bound is checked by a running sum;
the folder is gone through only when the sum says that it is full, or after much was written.
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

log = logging.getLogger(__name__)

KEPT_SHARE = 0.9
"""Of the bound, once something had to go: the next time is not at once."""
RECOUNTED_SHARE = 0.2
"""So much of the bound written, others may have written as well."""
USED_S = 3600.0
"""A use is noted where the last one was so long ago: reading should not write each time."""
_BLOCK_BYTES = 4096
"""What a small file takes on a disk at least."""


class DiskCache:
    """At most `most_bytes` of files below `folder`, by names of any kind."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._sum_bytes: int | None = None
        self._written_bytes = 0

    def get(self, name: str) -> bytes | None:
        """What was put under that name, if it is still there."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > USED_S:
                    with suppress(OSError):
                        os.utime(path)
                return file.read() or None
        except OSError:
            return None

    def put(self, name: str, data: bytes) -> None:
        """Keep it, and make room. A disk that is full or cannot be written keeps nothing, and says so in the log."""
        try:
            self._write(self._path(name), data)
            self._make_room(_taken(len(data)))
        except OSError as error:
            log.warning("thumbnails are not kept in %s: %s", self._folder, error.strerror)

    def _path(self, name: str) -> Path:
        digest = blake2b(name.encode(errors="surrogateescape"), digest_size=20).hexdigest()
        return self._folder / digest[:2] / digest[2:]

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
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
            recount = self._written_bytes > self._most_bytes * RECOUNTED_SHARE
            if self._sum_bytes is not None and not recount:
                self._sum_bytes += written_bytes
                if self._sum_bytes <= self._most_bytes:
                    return
            self._written_bytes = 0
            self._sum_bytes = self._within_bound()

    def _within_bound(self) -> int:
        """Delete what was not used for longest; returns what is left, in bytes."""
        known = sorted(self._files())
        left = sum(size for _, size, _ in known)
        if left <= self._most_bytes:
            return left
        for _, size, path in known:
            if left <= self._most_bytes * KEPT_SHARE:
                break
            with suppress(FileNotFoundError):  # another server's doing
                os.unlink(path)  # noqa: PTH108 - a hundred thousand of them
            left -= size
        return left

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Time of last use, size on disk and path of each, those that a killed server left half written included."""
        with os.scandir(self._folder) as folders:
            for folder in folders:
                with suppress(OSError), os.scandir(folder.path) as files:
                    for file in files:
                        with suppress(FileNotFoundError):
                            known = file.stat(follow_symlinks=False)
                            yield known.st_mtime, _taken(known.st_size), file.path


def _taken(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
