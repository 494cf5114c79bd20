"""The metadata of photo files: reading capture time and position, and writing tags to XMP, EXIF and IPTC.

Here is why metadata was not written: a refusal of this file, or a failure of the disk. Both leave it whole.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Literal

from tagger.errors import PicklableError
from tagger.photos.files import LinkRefused

WriteFailureKind = Literal["disk-full", "gone", "unreadable"]


class RefusalKind(StrEnum):
    """Kinds of refusal, by which people filter. Where possible, the tags go into a sidecar instead."""

    # The format cannot be changed without encoding the image again, or at all: HEIC, RAW, GIF, BMP.
    FORMAT = "format"
    # The container is broken or ambiguous, so the effect of a write is unknown.
    STRUCTURE = "structure"
    # Data in the file is found by its offset, which a write would change.
    OFFSETS = "offsets"
    # Content credentials (C2PA) sign the whole file, so any write would break the signature.
    SIGNED = "signed"
    # The existing XMP cannot be read, or holds our fields in a form in which values would be lost.
    XMP = "xmp"
    # The values exceed the room that the container has for them.
    TOO_LARGE = "too-large"
    # The photo is a symbolic link or has several hard links, which replacing the file would
    # separate.
    LINK = "link"
    # The image is not the one that was tagged.
    CHANGED = "changed"
    # Another program writes the file.
    BUSY = "busy"
    # The new file failed the comparison with the original.
    CHECK = "check"
    # The photo is an object in a bucket.
    BUCKET = "bucket"
    # The sidecar may belong to another photo as well: `a.jpg.xmp` beside `a.jpg` and `a.jpg.cr3`.
    SIDECAR = "sidecar"
    # A file that was written is not where it was, or another program has replaced it.
    LOST = "lost"
    # The file or its folder is write-protected.
    READ_ONLY = "read-only"
    # The photo is in a folder of another program, which keeps its own records of the files in it.
    LIBRARY = "library"


class WriteRefused(PicklableError):
    """A file cannot be written without risk. `text` states the reason and the remedy."""

    def __init__(self, kind: RefusalKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class WriteFailed(PicklableError):
    """The disk or share failed while a file was written: it is the old one or the new one, both whole.

    `kind` is disk-full, gone (file or folder), or unreadable (disk or share fails).
    """

    def __init__(self, kind: WriteFailureKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


@contextmanager
def translated_os_errors(path: Path) -> Iterator[None]:
    """Raise an OSError of the block as WriteRefused or WriteFailed, with `path` in its text."""
    try:
        yield
    except LinkRefused as error:
        text = f"{path.name!r} is left unchanged. {error.strerror}"
        raise WriteRefused(RefusalKind.LINK, text) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        text = f"{path.name!r} cannot be written ({reason})."
        if refusal := _REFUSALS.get(error.errno or 0):
            kind, remedy = refusal
            raise WriteRefused(kind, f"{text} {remedy}") from error
        failure, remedy = _FAILURES.get(error.errno, _OTHER_FAILURE)
        raise WriteFailed(failure, f"{text} {remedy}") from error


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
        (errno.ENOENT, errno.ENOTDIR),
        ("gone", "The file or its folder no longer exists. Scan the folder again."),
    ),
}
_OTHER_FAILURE: tuple[WriteFailureKind, str] = (
    "unreadable",
    "Check its disk or network share and try again.",
)
