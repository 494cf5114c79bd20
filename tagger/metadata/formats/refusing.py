"""The sentences in which this room refuses, so that one cause is always told in the same words."""

from tagger.metadata.refusals import RefusalKind, WriteRefused


def broken(what: str) -> WriteRefused:
    """The container does not hold together."""
    return WriteRefused(
        RefusalKind.STRUCTURE,
        f"The file does not hold together: {what}. Copy it again from where it came, or save it anew with an image editor.",
    )


def ambiguous(what: str) -> WriteRefused:
    """It can be read, but there is no one place to write to."""
    return WriteRefused(
        RefusalKind.STRUCTURE,
        f"{what}, so it is not clear which of them counts. Write its metadata once with the program you keep photos in.",
    )


def fixed_offsets(what: str) -> WriteRefused:
    """Something would not be found any more."""
    return WriteRefused(
        RefusalKind.OFFSETS, f"{what}, which writing into the file would break. Keep its tags in a sidecar."
    )


def signed() -> WriteRefused:
    """Content credentials are a signature: it breaks with any change, wherever it is."""
    return fixed_offsets("It carries content credentials (C2PA), a signature over the whole file")


def too_large(what: str) -> WriteRefused:
    """There is no room for it."""
    return WriteRefused(RefusalKind.TOO_LARGE, f"{what}. Keep its tags in a sidecar.")


def no_place(what: str) -> WriteRefused:
    """The container has no place for this block."""
    return WriteRefused(RefusalKind.FORMAT, f"{what}. Keep its tags in a sidecar.")
