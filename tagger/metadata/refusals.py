"""Why a photo file was not written though its tags were asked for: then it stays as it is, byte for byte."""

from enum import StrEnum


class RefusalKind(StrEnum):
    """People filter by these names, and a sidecar takes the tags instead where one can."""

    FORMAT = "format"
    """A container that is not written without encoding the picture anew, or not at all: HEIC, RAW, GIF, BMP."""
    STRUCTURE = "structure"
    """The container does not hold together, so nobody can say what writing would move."""
    OFFSETS = "offsets"
    """Something in the file is found by its distance from something else, and writing would change that distance."""
    XMP = "xmp"
    """The XMP that is there cannot be read, or holds our fields in a form that would lose values."""
    TOO_LARGE = "too-large"
    """It does not fit into what the container has for it."""
    LINK = "link"
    """The photo is a symbolic link, or has several names (hard links): replacing it would part them."""
    CHANGED = "changed"
    """Not the picture that was tagged any more."""
    BUSY = "busy"
    """Another program has it open for writing, or is writing it."""
    CHECK = "check"
    """What would have been written did not pass the comparison with the original."""
    READ_ONLY = "read-only"
    """File or folder may not be written."""


class WriteRefused(Exception):
    """Carries why out of the writing of one file. `text` is a sentence a person can act on."""

    def __init__(self, kind: RefusalKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
