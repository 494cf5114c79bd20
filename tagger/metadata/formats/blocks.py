"""What the readers and writers of all formats share: the metadata blocks of a file, and the refusals, so that one cause always has the same text."""

from dataclasses import dataclass

from tagger.metadata.errors import RefusalKind, WriteRefused


@dataclass(frozen=True)
class Blocks:
    """The content of a file's metadata blocks; None if the file has no such block.

    `xmp` is the packet (XML, with wrapper and padding if it has any). `exif` is a TIFF block without the prefix "Exif".
    `iptc` holds the IIM datasets without the Photoshop resource around them.
    """

    xmp: bytes | None = None
    exif: bytes | None = None
    iptc: bytes | None = None


def broken_structure(problem: str) -> WriteRefused:
    """The container is broken."""
    return WriteRefused(
        RefusalKind.STRUCTURE,
        f"The file is broken: {problem}. Copy it again from its source, or save it with an image editor.",
    )


def ambiguous_blocks(problem: str) -> WriteRefused:
    """The file has several blocks of a kind, so there is no single one to change."""
    return WriteRefused(
        RefusalKind.STRUCTURE,
        f"{problem}, and programs differ in which one they read. Save its metadata once with your photo program.",
    )


def fixed_offsets(problem: str) -> WriteRefused:
    """Data that is found by its offset would be lost."""
    return WriteRefused(
        RefusalKind.OFFSETS,
        f"{problem}, which a write into the file would break. Keep its tags in a sidecar.",
    )


def signed_file() -> WriteRefused:
    """Content credentials are a signature over the whole file, which any change breaks."""
    return WriteRefused(
        RefusalKind.SIGNED,
        "It carries content credentials (C2PA), a signature over the whole file, which a write into the file would break. "
        "Keep its tags in a sidecar.",
    )


def too_large(problem: str) -> WriteRefused:
    """The blocks exceed the room in the container."""
    return WriteRefused(RefusalKind.TOO_LARGE, f"{problem}. Keep its tags in a sidecar.")


def unsupported_block(problem: str) -> WriteRefused:
    """The container cannot hold the block."""
    return WriteRefused(RefusalKind.FORMAT, f"{problem}. Keep its tags in a sidecar.")
