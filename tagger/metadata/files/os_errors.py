"""Operating system errors, translated to refusals and failures that state a remedy."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagger.metadata.errors import RefusalKind, WriteFailed, WriteFailureKind, WriteRefused
from tagger.photos.folders import FolderIsLink


@contextmanager
def translated_os_errors(path: Path) -> Iterator[None]:
    """Raise an OSError of the block as WriteRefused or WriteFailed, with `path` in its text."""
    try:
        yield
    except OSError as error:
        raise _translated(path, error) from error


_REFUSALS = {
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        (
            RefusalKind.READ_ONLY,
            "Give this user write permission for the file and its folder, or choose another folder.",
        ),
    ),
    **dict.fromkeys(
        (errno.EAGAIN, errno.EBUSY, errno.ETXTBSY),
        (RefusalKind.BUSY, "Another program uses it. Close it there and try again."),
    ),
    errno.ELOOP: (RefusalKind.LINK, "It is a link. Name the file that it points to."),
    errno.ENAMETOOLONG: (
        RefusalKind.TOO_LARGE,
        "The name is too long for this disk. Shorten the photo's name.",
    ),
}
_FAILURES: dict[int | None, tuple[WriteFailureKind, str]] = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        ("disk-full", "Free some space on this disk, or in this user's quota."),
    ),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.ESTALE),
        ("gone", "The file or its folder no longer exists. Scan the folder again."),
    ),
}
_OTHER: tuple[WriteFailureKind, str] = (
    "unreadable",
    "Check its disk or network share and try again.",
)


def _translated(path: Path, error: OSError) -> WriteRefused | WriteFailed:
    reason = (error.strerror or str(error)).lower()
    if isinstance(error, FolderIsLink):
        remedy = "Links to folders are not followed. Tag the folder that the link leads to."
        return WriteRefused(RefusalKind.LINK, f"{path.name!r} is left unchanged: {reason}. {remedy}")
    if refusal := _REFUSALS.get(error.errno or 0):
        return WriteRefused(refusal[0], f"{path.name!r} cannot be written ({reason}). {refusal[1]}")
    kind, remedy = _FAILURES.get(error.errno, _OTHER)
    return WriteFailed(kind, f"{path.name!r} cannot be written ({reason}). {remedy}")
