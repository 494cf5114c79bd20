"""The metadata blocks of a photo file, independent of its container: XMP, EXIF and IPTC."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Blocks:
    """The content of a file's metadata blocks; None if the file has no such block.

    `xmp` is the packet (XML, with wrapper and padding if it has any). `exif` is a TIFF block without the prefix "Exif".
    `iptc` holds the IIM datasets without the Photoshop resource around them.
    """

    xmp: bytes | None = None
    exif: bytes | None = None
    iptc: bytes | None = None
