"""What a file's metadata says, for people: every field of it by name, and how two states of a file differ."""

from collections.abc import Mapping
from typing import TypeAlias

from tagger.metadata import exif, iptc, xmp
from tagger.metadata.additions import Additions
from tagger.metadata.boxes import read_boxes
from tagger.metadata.formats import can_embed, read_blocks
from tagger.metadata.refusals import WriteRefused
from tagger.photos.containers import exif_of

Fields: TypeAlias = Mapping[str, str | list[str]]
"""Values by name, as `XMP:dc:subject` or `EXIF:Model`; structures are spelled out."""


def photo_fields(data: bytes) -> Fields:
    """Of a photo's own file. What cannot be read is absent.

    Raises:
        WriteRefused: the container, or the XMP in it, does not hold together.
    """
    blocks = read_blocks(data) if can_embed(data) else read_boxes(data)
    return {
        **exif.read(exif_of(data) or blocks.exif),
        **(iptc.read(blocks.iptc) if blocks.iptc is not None else {}),
        **xmp_fields(blocks.xmp),
    }


def xmp_fields(packet: bytes | None) -> Fields:
    """Of an XMP packet or sidecar.

    Raises:
        WriteRefused: it cannot be read.
    """
    return {f"XMP:{name}": _spelled(value) for name, value in xmp.properties(packet).items()}


_ANY_KEYWORD = "Eiffel Tower"


def packet_of(data: bytes) -> bytes | None:
    """The XMP packet in a photo's own file."""
    return read_blocks(data).xmp if can_embed(data) else None


def exif_left_alone(data: bytes) -> str | None:
    """Why a JPEG photo's EXIF is not written, where it is not."""
    if not data.startswith(b"\xff\xd8"):
        return None
    try:
        exif.add(read_blocks(data).exif, Additions(keywords=(_ANY_KEYWORD,)))
    except (WriteRefused, exif.ExifUnsafe) as unsafe:
        return str(unsafe)
    return None


def differences(before: Fields, after: Fields) -> list[tuple[str, str, str]]:
    """(sign, field, value): `-` for what would go, `+` for what would come, in the order of fields."""
    lines = []
    for name in sorted({*before, *after}):
        old, new = _values(before.get(name)), _values(after.get(name))
        lines += [("-", name, value) for value in old if value not in new]
        lines += [("+", name, value) for value in new if value not in old]
    return lines


def _values(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _spelled(value: xmp.Value) -> str | list[str]:
    if isinstance(value, list):
        return [_in_line(each) for each in value]
    return _in_line(value)


def _in_line(value: xmp.Value) -> str:
    if isinstance(value, dict):
        if list(value) == ["x-default"]:
            return _in_line(value["x-default"])
        return "; ".join(f"{name.rpartition(':')[2]}={_in_line(each)}" for name, each in value.items())
    return ", ".join(map(_in_line, value)) if isinstance(value, list) else value
