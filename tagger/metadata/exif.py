"""EXIF blocks: our keywords, description and position put in and taken out again, and what a block says.

The one place that uses piexif, which loses or changes whatever it does not know. So what it makes is trusted only
after another reader (see exif_fields) found every tag in it as it was; otherwise the block is left alone. Knows
nothing of the files that EXIF is in.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import piexif

from tagger.metadata.additions import Additions
from tagger.metadata.camera import position_noted
from tagger.metadata.exif_ends import ENDS_BYTES, with_ends
from tagger.metadata.exif_fields import (
    ASCII,
    BLOCK_LIMIT,
    EXIF,
    FIRST,
    GPS,
    INTEROP,
    LONG,
    MAIN,
    PADDING,
    POINTERS,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    ExifUnsafe,
    Field,
    Fields,
    Place,
    difference,
    fields_of,
    named,
    unmovable,
)
from tagger.metadata.exif_values import (
    LATITUDE,
    LONGITUDE,
    OURS,
    Added,
    Tags,
    new_records,
    with_records,
    without_blank,
    without_records,
)
from tagger.photos.tiff import ORIENTATION, Directory, TiffBlock, open_tiff

__all__ = [
    "ExifChange",
    "ExifUnsafe",
    "add",
    "has_position",
    "only_ours_differs",
    "only_ours_went",
    "read",
    "remove",
]


@dataclass(frozen=True)
class ExifChange:
    """The block with our values, and these as (field, value): what taking them out again needs."""

    block: bytes | None
    added: tuple[Added, ...]


def add(block: bytes | None, additions: Additions) -> ExifChange:
    """Add what is not there yet; with nothing to add the block comes back as it was, byte for byte.

    Raises:
        ExifUnsafe: the block cannot be rewritten without risk.
    """
    before = fields_of(block)
    added = new_records(before.tags, additions)
    if not added:
        return ExifChange(block, ())
    return ExifChange(_rewritten(before, with_records(before.tags, added)), added)


def remove(block: bytes, added: Sequence[Added]) -> bytes | None:
    """Take out the `added` values that are still as we wrote them; None: nothing is left.

    Raises:
        ExifUnsafe: the block cannot be rewritten without risk.
    """
    if not any(field in OURS for field, _ in added):
        return block
    before = fields_of(block)
    left = without_records(before.tags, added)
    if left == before.tags:
        return block
    return _rewritten(before, left) if left or before.thumbnail is not None else None


def only_ours_differs(before: bytes | None, after: bytes | None, added: Sequence[Added]) -> str | None:
    """Compare two blocks without piexif: None if the `added` values are all that `after` has more than `before`.

    Otherwise the first difference in words.
    """
    ours = [(field, value) for field, value in added if field in OURS]
    if before == after and not ours:
        return None
    try:
        return _first_difference(fields_of(before), fields_of(after), ours)
    except ExifUnsafe as unsafe:
        return unsafe.text


def only_ours_went(before: bytes | None, after: bytes | None, added: Sequence[Added]) -> str | None:
    """Compare a block that others may have changed with what is left of it: None if only `added` values went.

    Otherwise the first difference in words.
    """
    if before == after:
        return None
    ours = [(field, value) for field, value in added if field in OURS]
    try:
        old = fields_of(before)
        found = difference(replace(old, tags=without_records(old.tags, ours)), fields_of(after))
    except ExifUnsafe as unsafe:
        return unsafe.text
    return f"In the EXIF something else than our values differs; {found}." if found else None


def _first_difference(old: Fields, new: Fields, ours: Sequence[Added]) -> str | None:
    """Both ways: the old with our values is the new, and the new without them is the old."""
    if moved := unmovable(old):
        return f"The EXIF was rewritten though it holds {moved}."
    found = difference(replace(old, tags=with_records(old.tags, ours)), new) or difference(
        replace(old, tags=without_blank(old.tags, ours)), replace(new, tags=without_records(new.tags, ours))
    )
    return f"In the EXIF something else than our values differs; {found}." if found else None


def has_position(block: bytes | None) -> bool:
    """Whether a latitude or longitude is there, be it only zeros: that place is taken then."""
    tiff = open_tiff(block or b"")
    gps = _directories(tiff).get(GPS) if tiff else None
    return gps is not None and any(tag in gps.entries for tag in (LATITUDE, LONGITUDE))


# --- Through piexif, and past it.

_DIRECTORIES = (MAIN, FIRST, EXIF, GPS, INTEROP)
_HEADER = b"Exif\0\0"


def _rewritten(before: Fields, tags: Tags) -> bytes:
    """The block with these tags instead; proven to have them and nothing else."""
    if moved := unmovable(before):
        raise ExifUnsafe(f"The EXIF holds {moved}, so it was left as it is.")
    wanted = replace(before, tags=tags)
    dumped = _dumped(wanted)
    if len(dumped) + ENDS_BYTES > BLOCK_LIMIT:
        raise ExifUnsafe(
            "With our values the EXIF would be larger than a JPEG can hold; it was left as it is."
        )
    block = _mended(with_ends(dumped), wanted)
    if found := difference(wanted, fields_of(block)):
        raise ExifUnsafe(f"Rewriting the EXIF would not keep it whole ({found}), so it was left as it is.")
    return block


def _dumped(wanted: Fields) -> bytes:
    """What piexif makes of the tags. It strips the thumbnail, so that one takes its place afterwards, at the end."""
    for place, field in wanted.tags.items():
        if wrong := _not_for_piexif(place, field):
            raise ExifUnsafe(f"The EXIF holds {named(place)}, which {wrong}; it was left as it is.")
    directories: dict[str, object] = {}
    try:
        for name in _DIRECTORIES:
            directories[name] = {
                tag: _for_piexif(field) for (of, tag), field in wanted.tags.items() if of == name
            }
        thumbnail = wanted.thumbnail or b""
        if thumbnail:
            directories["thumbnail"] = _STAND_IN + bytes(len(thumbnail) - len(_STAND_IN))
        dumped = bytes(piexif.dump(directories))
    except Exception as wrong:  # piexif raises whatever comes up
        raise ExifUnsafe(
            f"The EXIF cannot be rewritten ({_first_line(wrong)}), so it was left as it is."
        ) from wrong
    return dumped.removeprefix(_HEADER)[: -len(thumbnail) or None] + thumbnail


# Tags that many files have and piexif does not know: the version that stands beside every interoperability index,
# what else the standard has there, and the room that Windows keeps for later.
piexif.TAGS[INTEROP] |= {
    tag: {"name": name, "type": kind}
    for tag, name, kind in (
        (0x0002, "InteroperabilityVersion", UNDEFINED),
        (0x1000, "RelatedImageFileFormat", ASCII),
        (0x1001, "RelatedImageWidth", SHORT),
        (0x1002, "RelatedImageLength", SHORT),
    )
}
for _directory in (MAIN, EXIF):
    piexif.TAGS[_directory].setdefault(PADDING, {"name": "Padding", "type": UNDEFINED})
_STAND_IN = b"\xff\xd8\xff\xda"
_NUMBERS = {3: "H", 4: "I", 5: "I", 6: "b", 8: "h", 9: "i", 10: "i", 11: "f", 12: "d"}


def _not_for_piexif(place: Place, field: Field) -> str | None:
    name, tag = place
    known = piexif.TAGS[name].get(tag)
    if known is None:
        return "would be lost"
    if known["type"] == field.kind or (known["type"] == LONG and _is_single_short(field)):
        return None
    return "would change its type"


def _is_single_short(field: Field) -> bool:
    """Of widths and heights the standard allows both; piexif makes all of them long."""
    return field.kind == SHORT and len(field.value) == 2


def _for_piexif(field: Field) -> object:
    """Values in the form that piexif writes them from."""
    if field.kind == ASCII:
        return field.value[:-1]
    letter = _NUMBERS.get(field.kind)
    if letter is None:
        return field.value
    count = len(field.value) // struct.calcsize(">" + letter)
    numbers = struct.unpack(f">{count}{letter}", field.value)
    return (
        tuple(zip(numbers[::2], numbers[1::2], strict=True))
        if field.kind in (RATIONAL, SRATIONAL)
        else numbers
    )


def _first_line(wrong: Exception) -> str:
    return " ".join(str(wrong).split()) or type(wrong).__name__


def _mended(dumped: bytes, wanted: Fields) -> bytes:
    """What piexif does not need to change: single short numbers stay short, and entries stand in order."""
    block = bytearray(dumped)
    made = fields_of(dumped)
    for place, field in wanted.tags.items():
        there = made.tags.get(place)
        if _is_single_short(field) and there == Field(LONG, b"\0\0" + field.value):
            at = made.slots[place]
            struct.pack_into(">H", block, at + 2, SHORT)
            block[at + 8 : at + 12] = field.value + b"\0\0"
    for name in _DIRECTORIES:
        _sort_entries(block, sorted(at for (of, _), at in made.slots.items() if of == name))
    return bytes(block)


def _sort_entries(block: bytearray, slots: Sequence[int]) -> None:
    entries = sorted(bytes(block[at : at + 12]) for at in slots)
    for at, entry in zip(slots, entries, strict=True):
        block[at : at + 12] = entry


# --- For people.


def read(block: bytes | None) -> dict[str, str]:
    """What a block says, by the names that exiftool has; whatever cannot be read is absent."""
    tiff = open_tiff(block or b"")
    if block is None or tiff is None:
        return {}
    directories = _directories(tiff)
    said = {}
    for (name, tag), (shown, codec) in _SHOWN.items():
        entry = directories[name].entries.get(tag) if name in directories else None
        said[shown] = _text(bytes(entry.raw[:BLOCK_LIMIT]), codec) if entry else ""
    said["EXIF:Orientation"] = _turned(tiff, directories)
    latitude, longitude = position_noted(tiff)
    if latitude is not None and longitude is not None:
        said |= {"EXIF:GPSLatitude": f"{latitude:.7f}", "EXIF:GPSLongitude": f"{longitude:.7f}"}
    return {shown: text for shown, text in said.items() if text}


_SHOWN = {
    (MAIN, 0x010E): ("EXIF:ImageDescription", "utf-8"),
    (MAIN, 0x010F): ("EXIF:Make", "utf-8"),
    (MAIN, 0x0110): ("EXIF:Model", "utf-8"),
    (MAIN, 0x0131): ("EXIF:Software", "utf-8"),
    (MAIN, 0x013B): ("EXIF:Artist", "utf-8"),
    (MAIN, 0x8298): ("EXIF:Copyright", "utf-8"),
    (EXIF, 0x9003): ("EXIF:DateTimeOriginal", "utf-8"),
    (MAIN, 0x9C9B): ("EXIF:XPTitle", "utf-16-le"),
    (MAIN, 0x9C9C): ("EXIF:XPComment", "utf-16-le"),
    (MAIN, 0x9C9E): ("EXIF:XPKeywords", "utf-16-le"),
    (MAIN, 0x9C9F): ("EXIF:XPSubject", "utf-16-le"),
}
_TURNED = (
    "Horizontal (normal)",
    "Mirror horizontal",
    "Rotate 180",
    "Mirror vertical",
    "Mirror horizontal and rotate 270 CW",
    "Rotate 90 CW",
    "Mirror horizontal and rotate 90 CW",
    "Rotate 270 CW",
)


def _directories(tiff: TiffBlock) -> dict[str, Directory]:
    """The directories that can be read."""
    main = tiff.directory(tiff.first)
    found = {MAIN: main} if main else {}
    for (of, tag), name in POINTERS.items():
        offsets = tiff.integers(found[of].entries.get(tag)) if of in found else ()
        directory = tiff.directory(offsets[0]) if len(offsets) == 1 else None
        if directory:
            found[name] = directory
    return found


def _turned(tiff: TiffBlock, directories: dict[str, Directory]) -> str:
    values = tiff.integers(directories[MAIN].entries.get(ORIENTATION)) if MAIN in directories else ()
    return _TURNED[values[0] - 1] if len(values) == 1 and 1 <= values[0] <= len(_TURNED) else ""


def _text(raw: bytes, codec: str) -> str:
    """A text up to its first NUL; of those that are not UTF-8, most are Latin-1."""
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError:
        text = raw.decode("latin-1" if codec == "utf-8" else codec, errors="replace")
    return text.split("\0", 1)[0].strip()
