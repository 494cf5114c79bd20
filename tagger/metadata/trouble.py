"""What the system says when a file cannot be written, as refusals and failures that a person can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tagger.metadata.refusals import RefusalKind, WriteRefused

TroubleKind = Literal["disk-full", "gone", "unreadable"]


class WriteFailed(Exception):
    """Writing one file came to nothing through no fault of the file: it is as it was, and the cause can pass.

    `kind` is disk-full, gone (file or folder), or unreadable (disk or share does not do what it is asked).
    """

    def __init__(self, kind: TroubleKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise whatever the system refuses while `path` is dealt with as WriteRefused or WriteFailed."""
    try:
        yield
    except OSError as error:
        raise _explanation(path, error) from error


_REFUSALS = {
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        (
            RefusalKind.READ_ONLY,
            "Give this user the right to write the file and its folder, or choose a folder that can be written.",
        ),
    ),
    **dict.fromkeys(
        (errno.EAGAIN, errno.EBUSY, errno.ETXTBSY),
        (RefusalKind.BUSY, "Another program has it in use. Close it there and try again."),
    ),
    errno.ELOOP: (RefusalKind.LINK, "It is a link. Name the file that it leads to."),
    errno.ENAMETOOLONG: (RefusalKind.TOO_LARGE, "The name is too long for this disk. Shorten the photo's."),
}
_FAILURES: dict[int | None, tuple[TroubleKind, str]] = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        ("disk-full", "There is no room for it. Free some space on this disk, or in this user's quota."),
    ),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.ESTALE),
        ("gone", "The file or its folder is not there any more. Scan the folder again."),
    ),
}
_OTHER: tuple[TroubleKind, str] = (
    "unreadable",
    "Check the disk or the network share it is on and try again.",
)


def _explanation(path: Path, error: OSError) -> WriteRefused | WriteFailed:
    reason = (error.strerror or str(error)).lower()
    if refusal := _REFUSALS.get(error.errno or 0):
        return WriteRefused(refusal[0], f"{path.name!r} cannot be written ({reason}). {refusal[1]}")
    kind, remedy = _FAILURES.get(error.errno, _OTHER)
    return WriteFailed(kind, f"{path.name!r} cannot be written ({reason}). {remedy}")
