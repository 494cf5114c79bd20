"""The fields of a file by name, as people read them, and what differs between two versions."""

from collections.abc import Mapping
from typing import TypeAlias

from tagger.metadata import exif, iptc, xmp
from tagger.metadata.errors import WriteRefused
from tagger.metadata.formats import is_jpeg, may_hold_tags, read_blocks
from tagger.metadata.tag_fields import TagFields
from tagger.photos.containers import exif_of

# Values by name, such as `XMP:dc:subject` or `EXIF:Model`. Structures are written as text.
Fields: TypeAlias = Mapping[str, str | list[str]]

# The fields of tagger's own record of what it wrote; they are not shown as fields.
TAGGER_RECORD = "landmarkTagger:"


def photo_fields(data: bytes) -> Fields:
    """The fields of a photo's own file. Values that cannot be read are absent.

    Raises:
        WriteRefused: the container or its XMP is broken.
    """
    blocks = read_blocks(data)
    return {
        **exif.read(exif_of(data) or blocks.exif),
        **(iptc.read(blocks.iptc) if blocks.iptc is not None else {}),
        **xmp_fields(blocks.xmp),
    }


def xmp_fields(packet: bytes | None) -> Fields:
    """The fields of an XMP packet or sidecar.

    Raises:
        WriteRefused: it cannot be read.
    """
    return {
        f"XMP:{name}": list(map(_one_line, value)) if isinstance(value, list) else _one_line(value)
        for name, value in xmp.properties(packet).items()
    }


def xmp_packet(data: bytes) -> bytes | None:
    """The XMP packet in a photo's own file."""
    return read_blocks(data).xmp if may_hold_tags(data) else None


def exif_refusal(data: bytes) -> str | None:
    """Why a JPEG photo's EXIF cannot be written; None if it can, or if the photo is not a JPEG."""
    if not is_jpeg(data):
        return None
    try:
        exif.add(read_blocks(data).exif, TagFields(keywords=("any keyword",)))
    except WriteRefused as error:
        return str(error)
    return None


def differences(before: Fields, after: Fields) -> list[tuple[str, str, str]]:
    """(sign, field, value) for each value that is removed (`-`) or added (`+`), sorted by field."""
    lines = []
    for name in sorted({*before, *after}):
        old, new = _values(before.get(name)), _values(after.get(name))
        lines += [("-", name, value) for value in old if value not in new]
        lines += [("+", name, value) for value in new if value not in old]
    return lines


def _values(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _one_line(value: xmp.Value) -> str:
    if isinstance(value, dict):
        if list(value) == ["x-default"]:
            return _one_line(value["x-default"])
        return "; ".join(f"{name.rpartition(':')[2]}={_one_line(item)}" for name, item in value.items())
    return ", ".join(map(_one_line, value)) if isinstance(value, list) else value
