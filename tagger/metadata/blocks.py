"""The metadata blocks of a photo file, whatever its container: XMP, EXIF and IPTC, each as its own standard has it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Blocks:
    """What stands in a file beside its picture; None: there is none.

    `xmp` is the packet (XML, with its wrapper and padding if it has any); `exif` a TIFF block without the word Exif in front of it;
    `iptc` the IIM datasets, without the Photoshop resource around them.
    """

    xmp: bytes | None = None
    exif: bytes | None = None
    iptc: bytes | None = None
