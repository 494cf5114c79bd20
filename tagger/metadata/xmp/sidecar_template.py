"""The start of a new sidecar: the photo's own packet without the fields that apply to the photo's file only."""

from tagger.metadata.xmp.fields import find_fields, remove_namespace
from tagger.metadata.xmp.namespaces import NAMESPACES
from tagger.metadata.xmp.packet import is_blank, read_packet

PHOTO_ONLY_FIELDS = (
    # Programs prefer a date in a sidecar over the camera's, which is more precise and has a time zone.
    *("xmp:CreateDate", "xmp:ModifyDate", "xmp:MetadataDate", "photoshop:DateCreated"),
    *("exif:DateTimeOriginal", "exif:DateTimeDigitized", "tiff:DateTime"),
    # A viewer that applies both orientations would rotate the image twice.
    "tiff:Orientation",
    # Refers to a block that only the photo has.
    "xmpNote:HasExtendedXMP",
)


def sidecar_template(packet: bytes | None) -> bytes | None:
    """The packet without dates, orientation and references to other blocks of the photo; None without a packet.

    Raises:
        WriteRefused: the packet cannot be read.
    """
    if packet is None or is_blank(packet):
        return None
    parsed = read_packet(packet)
    for occurrence in find_fields(parsed.rdf, *PHOTO_ONLY_FIELDS):
        occurrence.remove()
    remove_namespace(parsed.rdf, NAMESPACES["xmpNote"])
    return parsed.serialise(0)
