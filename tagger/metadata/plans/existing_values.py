"""The owner's values in a photo that decide what we add: fields that are taken, and keywords that XMP must repeat."""

from collections.abc import Iterable
from dataclasses import replace

from tagger.metadata import exif, iptc, xmp
from tagger.metadata.formats.blocks import Blocks
from tagger.metadata.tag_fields import TagFields
from tagger.metadata.xmp.namespaces import POSITION
from tagger.photos.containers import exif_of


def without_occupied_fields(photo: bytes, blocks: Blocks, tag_fields: TagFields) -> TagFields:
    """Drop position and description if any block of the file has one: programs differ in which block they read."""
    properties = xmp.properties(blocks.xmp)
    exif_data = exif_of(photo) or blocks.exif
    has_position = exif.has_position(exif_data) or has_position_fields(properties)
    captions = (
        exif.read(exif_data).get("EXIF:ImageDescription"),
        iptc.read(blocks.iptc).get("IPTC:Caption-Abstract") if blocks.iptc else None,
        properties.get("dc:description"),
    )
    return replace(
        tag_fields,
        position=None if has_position else tag_fields.position,
        description=None if any(captions) else tag_fields.description,
    )


def has_position_fields(names: Iterable[str]) -> bool:
    """Whether XMP has a position, or a part of one: a datum or method without a position would misdescribe ours."""
    return not set(POSITION).isdisjoint(names)


def existing_keywords(blocks: Blocks) -> tuple[str, ...]:
    """The owner's keywords in IPTC and EXIF. Programs that find keywords in XMP do not read these, so XMP repeats them."""
    iptc_keywords = iptc.read(blocks.iptc).get("IPTC:Keywords", []) if blocks.iptc else []
    exif_keywords = exif.read(blocks.exif).get("EXIF:XPKeywords", "").split(";")
    return tuple(dict.fromkeys(keyword for keyword in (*iptc_keywords, *exif_keywords) if keyword))
