"""Putting new bytes in the place of a file, so that at every moment its name leads to the old file or the new one, whole.

`prepare` makes the new file beside the old one, hidden; `Prepared.replace` renames it. In between a caller notes what it is
about to do, for many files at once. Knows nothing of what the bytes mean.

Where this ends: a program that opens the file in the instant between the last look and the renaming writes into the old
file, which has no name any more. Programs on other machines are seen by what they changed only. Shares that cannot
lock, or rename a file that is open, are refused and left as they were.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tagger.metadata.originals import Original, busy, read_for_writing, still_the_same
from tagger.metadata.sidecars import is_sidecar_name
from tagger.metadata.temporaries import (
    Temporary,
    check_written,
    clear_leftover,
    clear_leftovers,
    locked_new,
    to_disk,
    write_whole,
)
from tagger.metadata.traits import carry_traits, confirm_traits, like_photo
from tagger.metadata.trouble import WriteFailed, explained

__all__ = [
    "Original",
    "Prepared",
    "WriteFailed",
    "clear_leftover",
    "clear_leftovers",
    "prepare",
    "read_for_writing",
]


def prepare(original: Original, data: bytes | None, *, photo: Path | None = None) -> "Prepared":
    """Make the file that is to take the original's place: on the disk, read back, and with all that the original has.

    The time of change stays a photo's, but not a sidecar's: programs read it again when it is newer. `data` None removes
    a sidecar. A sidecar that was not there gets owner and rights of `photo`; without one, it is this user's alone.

    Raises:
        WriteRefused: changed since it was read, in another's hands, or something of it could not be kept.
        WriteFailed: the disk is full or fails, or the folder is gone.
    """
    path = original.path
    if data is None and not is_sidecar_name(path.name):
        raise ValueError(f"only sidecars are ever removed, not {path}")
    with explained(path):
        prepared = Prepared(path, original.status, locked_new(path), removes=data is None)
        try:
            with still_the_same(path, original.status) as source:
                if data is not None:
                    _fill(prepared, data, source, photo)
        except BaseException:
            prepared.discard()
            raise
    return prepared


class Prepared:
    """The new file, waiting. It holds a lock and a descriptor until it is replaced or discarded, so hundreds at most.

    As a context it discards what was not replaced. `known` is the original as it was read, None where there was none.
    """

    def __init__(
        self, path: Path, known: os.stat_result | None, temporary: Temporary, *, removes: bool
    ) -> None:
        self.path = path
        self.known = known
        self.temporary = temporary
        self.removes = removes
        self._waits = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()

    def replace(self) -> None:
        """Put it in the original's place, if that is still the file that was read.

        Raises:
            WriteRefused: changed since it was read, open for writing elsewhere, or folder and file may not be written.
            WriteFailed: the disk or share fails; whether it was replaced then shows when the file is read.
        """
        if not self._waits:
            raise ValueError(f"what was prepared for {self.path} was replaced or discarded before")
        try:
            with explained(self.path):
                with still_the_same(self.path, self.known):
                    pass
                self._rename()
                _settle_folder(self.path.parent)
                self._verify()
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what was not put in place, and let go. Again, or after `replace`: nothing happens."""
        if self._waits:
            self._waits = False
            self.temporary.remove()

    def _rename(self) -> None:
        if self.removes:
            if self.known is not None:
                self.path.unlink()
            return
        if not self.temporary.is_at(self.temporary.path):
            raise busy(self.path)
        try:
            self.temporary.path.replace(self.path)
        except OSError:
            # A share can do it, lose its answer, and fail at the repeated request.
            if not self.temporary.is_at(self.path):
                raise

    def _verify(self) -> None:
        done = not os.path.lexists(self.path) if self.removes else self.temporary.is_at(self.path)
        if not done:
            raise WriteFailed(
                "unreadable",
                f"{self.path.name!r} is not what was just written there. Another program or the share changed it; "
                "look at it and write again.",
            )


def _fill(prepared: Prepared, data: bytes, source: int | None, photo: Path | None) -> None:
    known, target = prepared.known, prepared.temporary.descriptor
    with_times = not is_sidecar_name(prepared.path.name)
    write_whole(target, data)
    if known is not None and source is not None:
        carry_traits(source, known, target, with_times=with_times)
    elif photo is not None:
        like_photo(photo.stat(), target)
    to_disk(target)
    check_written(prepared.temporary, data)
    if known is not None:
        confirm_traits(known, target, with_times=with_times)


_CANNOT_SETTLE = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def _settle_folder(folder: Path) -> None:
    """Bring the renaming to the disk. Not every file system can do that for a folder, nor is every folder readable."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _CANNOT_SETTLE:
                raise
        finally:
            os.close(descriptor)
