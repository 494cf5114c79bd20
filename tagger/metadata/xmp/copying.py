"""The beginning of a sidecar that we make: what the photo's own packet says, but for what is true of the photo alone."""

from tagger.metadata.xmp.fields import forget_namespace, places
from tagger.metadata.xmp.names import NAMESPACES
from tagger.metadata.xmp.packet import is_blank, read_packet

OF_THE_FILE = (
    # Programs that find a date in a sidecar forget the camera's, which is finer and knows its zone.
    *("xmp:CreateDate", "xmp:ModifyDate", "xmp:MetadataDate", "photoshop:DateCreated"),
    *("exif:DateTimeOriginal", "exif:DateTimeDigitized", "tiff:DateTime"),
    # A viewer that turns the photo by both turns it twice.
    "tiff:Orientation",
    # It names a block that stands in the photo only.
    "xmpNote:HasExtendedXMP",
)


def copied(packet: bytes | None) -> bytes | None:
    """The packet without dates, orientation, and what leads to other blocks of the photo; None where there is none.

    Raises:
        WriteRefused: it cannot be read.
    """
    if packet is None or is_blank(packet):
        return None
    edited = read_packet(packet)
    for place in places(edited.rdf, *OF_THE_FILE):
        place.drop()
    forget_namespace(edited.rdf, NAMESPACES["xmpNote"])
    return edited.written(0)
