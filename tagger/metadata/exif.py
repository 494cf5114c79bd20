"""EXIF blocks: our keywords, description and position are added and removed, and nothing else changes.

A block is written in a new layout, and in its own byte order. The result is used only after the parser (see
exif_block) has found every tag in it unchanged. Knows nothing of the files that hold EXIF.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from tagger.geo import is_on_earth
from tagger.metadata import (
    PositionEstimate,
    TagFields,
    WriteRefused,
    keyword_key,
)
from tagger.metadata.camera import exif_position
from tagger.metadata.exif_block import (
    ASCII,
    BLOCK_LIMIT,
    BYTE,
    EXIF,
    FIRST,
    GPS,
    INTEROP,
    LONG,
    MAIN,
    POINTERS,
    PROCESSING_METHOD,
    RATIONAL,
    UNDEFINED,
    ParsedBlock,
    TagKey,
    TagValue,
    difference,
    exif_refused,
    parse_block,
    rewrite_obstacle,
    swapped,
)
from tagger.photos.containers import (
    EXIF_POINTER,
    GPS_POINTER,
    ORIENTATION,
    VALUE_SIZES,
    StoredValue,
    append_directory,
    tiff_in,
)
from tagger.texts import undeclared_text

Tags: TypeAlias = Mapping[TagKey, TagValue]
AddedValue: TypeAlias = tuple[str, str]

_THUMBNAIL, _THUMBNAIL_SIZE = 0x0201, 0x0202
# Where the first directory begins, after the header.
_FIRST_AT = 8


def add(
    block: bytes | None, tag_fields: TagFields
) -> tuple[bytes | None, tuple[AddedValue, ...]]:
    """Add the values that the block lacks; return them as (field, value), too, which a removal needs.

    If it lacks none, it is returned unchanged, byte for byte.

    Raises:
        WriteRefused: the block cannot be rewritten without risk.
    """
    before = parse_block(block)
    added = (
        *_new_keywords(before.tags, tag_fields.keywords),
        *_new_description(before.tags, tag_fields.description),
        *_new_position(before.tags, tag_fields.position),
    )
    if not added:
        return block, ()
    return _rewritten(before, with_values(before.tags, added)), added


def remove(block: bytes, added: Sequence[AddedValue]) -> bytes | None:
    """Remove the `added` values that are still as we wrote them; None if the block is empty then.

    Raises:
        WriteRefused: the block cannot be rewritten without risk.
    """
    if not any(field in OUR_FIELDS for field, _ in added):
        return block
    before = parse_block(block)
    remaining = without_values(before.tags, added)
    if remaining == before.tags:
        return block
    return (
        _rewritten(before, remaining)
        if remaining or before.thumbnail is not None
        else None
    )


def _rewritten(block: ParsedBlock, tags: Tags) -> bytes:
    # Write the block with these tags, and verify that it holds them and nothing else.
    if obstacle := rewrite_obstacle(block):
        raise exif_refused(f"The EXIF holds {obstacle}, so it was left unchanged.")
    target = replace(block, tags=tags)
    data = _packed(target)
    if len(data) > BLOCK_LIMIT:
        raise exif_refused(
            "With our values the EXIF would exceed the limit of a JPEG segment, so it was left unchanged."
        )
    if change := difference(target, parse_block(data)):
        raise exif_refused(
            f"Rewriting the EXIF would change other tags ({change}), so it was left unchanged."
        )
    return data


def _packed(block: ParsedBlock) -> bytes:
    # Each directory, followed by its values; the thumbnail is last.
    order = block.order
    number = struct.Struct(order + "I")
    packed = bytearray(
        struct.pack(
            order + "2sHI",
            b"II" if order == "<" else b"MM",
            42,
            _FIRST_AT,
        )
    )

    # The values of each directory, with room for the offsets of other directories and of the
    # thumbnail.
    directories: dict[str, dict[int, StoredValue]] = {
        name: {} for name in (MAIN, FIRST, EXIF, GPS, INTEROP)
    }
    for (name, tag), value in block.tags.items():
        raw = swapped(value.value, value.kind) if block.order == "<" else value.value
        directories[name][tag] = (
            value.kind,
            len(raw) // VALUE_SIZES[value.kind],
            raw,
        )
    # Interoperability first: its pointer may be the EXIF directory's only tag, which then needs one, too.
    for (parent, tag), name in reversed(POINTERS.items()):
        if directories[name]:
            directories[parent][tag] = (LONG, 1, bytes(4))
    if block.thumbnail is not None:
        size = struct.pack(block.order + "I", len(block.thumbnail))
        directories[FIRST] |= {
            _THUMBNAIL: (LONG, 1, bytes(4)),
            _THUMBNAIL_SIZE: (LONG, 1, size),
        }

    slots = {MAIN: append_directory(packed, order, directories[MAIN])}
    for (parent, tag), name in POINTERS.items():
        if directories[name]:
            number.pack_into(packed, slots[parent][tag], len(packed))
            slots[name] = append_directory(packed, order, directories[name])
    if directories[FIRST]:
        following_at = _FIRST_AT + 2 + 12 * len(directories[MAIN])
        number.pack_into(packed, following_at, len(packed))
        slots[FIRST] = append_directory(packed, order, directories[FIRST])
    if block.thumbnail is not None:
        number.pack_into(packed, slots[FIRST][_THUMBNAIL], len(packed))
        packed += block.thumbnail
    return bytes(packed)


# Our values in an EXIF block, the block's values as shown to people, and differences between two
# blocks.
#
# Our values are tags and (field, value) pairs, which are recorded in the photo's XMP. The pairs
# determine the tags to write and, later, those to remove. Values that cannot be read are not shown.
# A write must cause no differences other than our values: blocks are compared by the parser alone,
# without the writer.

KEYWORDS, DESCRIPTION, POSITION = "EXIF:XPKeywords", "EXIF:ImageDescription", "EXIF:GPS"
GPS_METHOD, GPS_ERROR = "EXIF:GPSProcessingMethod", "EXIF:GPSHPositioningError"
GPS_VERSION = "EXIF:GPSVersionID"
OUR_FIELDS = {KEYWORDS, DESCRIPTION, POSITION, GPS_METHOD, GPS_ERROR, GPS_VERSION}
LATITUDE, LONGITUDE = 2, 4

_KEYWORDS: TagKey = (MAIN, 0x9C9E)
_DESCRIPTION: TagKey = (MAIN, 0x010E)
_VERSION: TagKey = (GPS, 0)
_LATITUDE_REF, _LONGITUDE_REF, _DATUM, _ERROR = 1, 3, 18, 31
_COORDINATES = (_LATITUDE_REF, LATITUDE, _LONGITUDE_REF, LONGITUDE)
# The character code at the start of texts of an undefined type.
_ASCII = b"ASCII\0\0\0"
_SEPARATOR = ";"
# A tenth of a metre.
_SAME_DEGREES = 1e-6


def with_values(tags: Tags, added: Sequence[AddedValue]) -> Tags:
    """The tags with our values, whose fields are free. Only that of keywords may hold others, which stay."""
    result = dict(tags)
    keywords = [value for field, value in added if field == KEYWORDS]
    if keywords:
        text, end = _keywords_text(tags.get(_KEYWORDS))
        parts = text.split(_SEPARATOR) if text else []
        # Windows ends a list with a separator, or does not.
        at = len(parts) - text.endswith(_SEPARATOR)
        parts[at:at] = keywords
        result[_KEYWORDS] = TagValue(
            BYTE,
            _utf16(_SEPARATOR.join(parts) + (end if text else "\0")),
        )
    for field, value in added:
        result |= _tags_of(field, value)
    return result


def without_values(tags: Tags, added: Sequence[AddedValue]) -> Tags:
    """The tags without our values, where they still hold what we wrote."""
    remaining = _without_keywords(
        tags,
        [value for field, value in added if field == KEYWORDS],
    )
    # Remove our description and position. If another program changed the coordinates, only method and
    # error of the position are removed.
    our_tags: dict[TagKey, TagValue] = {}
    for field, value in added:
        our_tags |= _tags_of(field, value)
    unchanged = {
        key for key, value in our_tags.items() if _is_same(remaining.get(key), value)
    }
    if not all((GPS, tag) in unchanged for tag in _COORDINATES):
        unchanged &= {_DESCRIPTION, (GPS, PROCESSING_METHOD), (GPS, _ERROR)}
    return {key: value for key, value in remaining.items() if key not in unchanged}


def without_blank_values(tags: Tags, added: Sequence[AddedValue]) -> Tags:
    fields = {field for field, _ in added}
    remaining = dict(tags)
    if (
        DESCRIPTION in fields
        and _DESCRIPTION in remaining
        and _is_blank(remaining[_DESCRIPTION])
    ):
        del remaining[_DESCRIPTION]
    if (
        KEYWORDS in fields
        and _KEYWORDS in remaining
        and not _keywords_text(remaining[_KEYWORDS])[0]
    ):
        del remaining[_KEYWORDS]
    return remaining


def _new_keywords(tags: Tags, keywords: Sequence[str]) -> list[AddedValue]:
    if not keywords:
        return []
    text, _ = _keywords_text(tags.get(_KEYWORDS))
    existing = {keyword_key(part) for part in text.split(_SEPARATOR)}
    added = []
    for keyword in keywords:
        key = keyword_key(keyword)
        if _is_writable(keyword) and _SEPARATOR not in keyword and key not in existing:
            existing.add(key)
            added.append((KEYWORDS, keyword.strip()))
    return added


def _new_description(tags: Tags, description: str | None) -> list[AddedValue]:
    existing = tags.get(_DESCRIPTION)
    is_free = existing is None or _is_blank(existing)
    if description is None or not _is_writable(description) or not is_free:
        return []
    return [(DESCRIPTION, description)]


def _new_position(tags: Tags, position: PositionEstimate | None) -> list[AddedValue]:
    # A position is added only without its tags: another's datum, method or error would misdescribe ours.
    if (
        position is None
        or not is_on_earth(position.latitude, position.longitude)
        or not 0 <= position.error_m <= 4e7
        or any(
            (GPS, tag) in tags
            for tag in (*_COORDINATES, _DATUM, PROCESSING_METHOD, _ERROR)
        )
    ):
        return []
    added = [
        (
            POSITION,
            f"{_decimal(position.latitude, 7)},{_decimal(position.longitude, 7)}",
        ),
        (GPS_METHOD, position.method),
        (GPS_ERROR, _decimal(position.error_m, 2)),
    ]
    return added if _VERSION in tags else [*added, (GPS_VERSION, "2.3.0.0")]


def _is_writable(text: str) -> bool:
    # Whether EXIF can hold the text: not blank, no NUL, which ends texts, and no lone surrogate.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return bool(text.strip()) and "\0" not in text


def _is_blank(value: TagValue) -> bool:
    return not value.value.strip(b" \0")


def _decimal(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _tags_of(field: str, value: str) -> dict[TagKey, TagValue]:
    match field:
        case "EXIF:ImageDescription":
            # The standard requires ASCII; current programs read UTF-8.
            return {_DESCRIPTION: TagValue(ASCII, value.encode() + b"\0")}
        case "EXIF:GPS":
            latitude, longitude = (float(part) for part in value.split(","))
            return {
                (GPS, _LATITUDE_REF): TagValue(
                    ASCII, b"S\0" if latitude < 0 else b"N\0"
                ),
                (GPS, LATITUDE): _degrees(abs(latitude)),
                (GPS, _LONGITUDE_REF): TagValue(
                    ASCII, b"W\0" if longitude < 0 else b"E\0"
                ),
                (GPS, LONGITUDE): _degrees(abs(longitude)),
                (GPS, _DATUM): TagValue(ASCII, b"WGS-84\0"),
            }
        case "EXIF:GPSProcessingMethod":
            return {
                (GPS, PROCESSING_METHOD): TagValue(UNDEFINED, _ASCII + value.encode())
            }
        case "EXIF:GPSHPositioningError":
            return {(GPS, _ERROR): _rationals((round(float(value) * 100), 100))}
        case "EXIF:GPSVersionID":
            return {
                _VERSION: TagValue(
                    BYTE,
                    bytes(int(part) for part in value.split(".")),
                )
            }
    return {}


def _degrees(degrees: float) -> TagValue:
    # Degrees, minutes and seconds to a ten-thousandth, which is 3 mm.
    minutes, seconds = divmod(round(degrees * 36_000_000), 600_000)
    return _rationals((minutes // 60, 1), (minutes % 60, 1), (seconds, 10_000))


def _rationals(*fractions: tuple[int, int]) -> TagValue:
    return TagValue(
        RATIONAL,
        b"".join(struct.pack(">II", *fraction) for fraction in fractions),
    )


def _without_keywords(tags: Tags, keywords: Sequence[str]) -> dict[TagKey, TagValue]:
    # Our keywords come last, so of equal ones the last is removed.
    remaining = dict(tags)
    if not keywords or _KEYWORDS not in tags:
        return remaining
    text, end = _keywords_text(tags[_KEYWORDS])
    parts = text.split(_SEPARATOR)
    for keyword in reversed(keywords):
        matching = [at for at, part in enumerate(parts) if part.strip() == keyword]
        if matching:
            del parts[matching[-1]]
    if len(parts) == len(text.split(_SEPARATOR)):
        return remaining
    if parts:
        remaining[_KEYWORDS] = TagValue(
            BYTE,
            _utf16(_SEPARATOR.join(parts) + end),
        )
    else:
        del remaining[_KEYWORDS]
    return remaining


def _is_same(existing: TagValue | None, value: TagValue) -> bool:
    # Whether a tag still has our value. Others write 30.24 seconds as 756/25, or split degrees otherwise.
    if (
        existing is None
        or existing == value
        or (existing.kind, value.kind) != (RATIONAL, RATIONAL)
    ):
        return existing == value
    existing_degrees, our_degrees = _decimal_degrees(existing), _decimal_degrees(value)
    if existing_degrees is None or our_degrees is None:
        return False
    return abs(existing_degrees - our_degrees) < _SAME_DEGREES


def _decimal_degrees(value: TagValue) -> float | None:
    # Decimal degrees; None if a denominator is zero.
    fractions = list(struct.iter_unpack(">II", value.value))
    if not all(denominator for _, denominator in fractions):
        return None
    return float(
        sum(
            numerator / denominator / 60**at
            for at, (numerator, denominator) in enumerate(fractions)
        )
    )


def _keywords_text(value: TagValue | None) -> tuple[str, str]:
    # The text in XPKeywords, and its terminator.
    if value is None:
        return "", "\0"
    try:
        decoded = value.value.decode("utf-16-le")
    except UnicodeDecodeError:
        decoded = "\0?"
    text = decoded.rstrip("\0")
    if value.kind != BYTE or "\0" in text:
        raise exif_refused(
            "The EXIF's keywords (XPKeywords) are not as Windows writes them, so they were left unchanged."
        )
    return text, decoded[len(text) :]


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le")


def read(block: bytes | None) -> dict[str, str]:
    """The block's values by their names in exiftool."""
    tiff = tiff_in(block)
    directories = {MAIN: tiff.tags, EXIF: tiff.tags_behind(EXIF_POINTER)}
    values = {}
    for (directory, tag), (name, encoding) in _NAMES.items():
        entry = directories[directory].get(tag)
        values[name] = _text(bytes(entry.raw[:BLOCK_LIMIT]), encoding) if entry else ""
    orientations = tiff.integers(tiff.tags.get(ORIENTATION))
    if len(orientations) == 1 and 1 <= orientations[0] <= len(_ORIENTATIONS):
        values["EXIF:Orientation"] = _ORIENTATIONS[orientations[0] - 1]
    latitude, longitude = exif_position(tiff)
    if latitude is not None and longitude is not None:
        values |= {
            "EXIF:GPSLatitude": f"{latitude:.7f}",
            "EXIF:GPSLongitude": f"{longitude:.7f}",
        }
    return {name: text for name, text in values.items() if text}


def has_position(block: bytes | None) -> bool:
    """Whether the block has a latitude or longitude, even zeros: the field is taken then."""
    gps = tiff_in(block).tags_behind(GPS_POINTER)
    return LATITUDE in gps or LONGITUDE in gps


_NAMES = {
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
_ORIENTATIONS = (
    "Horizontal (normal)",
    "Mirror horizontal",
    "Rotate 180",
    "Mirror vertical",
    "Mirror horizontal and rotate 270 CW",
    "Rotate 90 CW",
    "Mirror horizontal and rotate 90 CW",
    "Rotate 270 CW",
)


def _text(raw: bytes, encoding: str) -> str:
    # Decode a text up to its first NUL.
    is_utf8 = encoding == "utf-8"
    text = undeclared_text(raw) if is_utf8 else raw.decode(encoding, errors="replace")
    return text.split("\0", 1)[0].strip()


def insertion_difference(
    before: bytes | None, after: bytes | None, added: Sequence[AddedValue]
) -> str | None:
    """None if `after` is `before` plus the `added` values, else the first other difference in words."""
    our_values = _exif_values(added)
    if before == after and not our_values:
        return None
    try:
        return _other_order(before, after) or _insertion_difference(
            parse_block(before), parse_block(after), our_values
        )
    except WriteRefused as error:
        return error.text


def removal_difference(
    before: bytes | None, after: bytes | None, added: Sequence[AddedValue]
) -> str | None:
    """Return None if `after` is `before`, which others may have changed, less some of the `added` values.

    Otherwise the first other difference in words.
    """
    if before == after:
        return None
    old = parse_block(before)
    remaining = replace(old, tags=without_values(old.tags, _exif_values(added)))
    return _other_order(before, after) or _described(
        difference(remaining, parse_block(after))
    )


def _other_order(before: bytes | None, after: bytes | None) -> str | None:
    # A change of byte order, on which content of an undefined type depends, such as a comment in UTF-16.
    return (
        "The EXIF has another byte order."
        if before and after and before[:2] != after[:2]
        else None
    )


def _insertion_difference(
    old: ParsedBlock, new: ParsedBlock, our_values: Sequence[AddedValue]
) -> str | None:
    # Compare both ways: the old block with our values is the new one, and the new one without is the old.
    if obstacle := rewrite_obstacle(old):
        return f"The EXIF was rewritten although it holds {obstacle}."
    expected, actual = with_values(old.tags, our_values), new.tags
    if any(field == KEYWORDS for field, _ in our_values):
        # Versions before 2.1 wrote "Anna;;Bern" behind "Anna;".
        expected, actual = (
            _with_sorted_keywords(expected),
            _with_sorted_keywords(actual),
        )
    return _described(
        difference(replace(old, tags=expected), replace(new, tags=actual))
        or difference(
            replace(old, tags=without_blank_values(old.tags, our_values)),
            replace(new, tags=without_values(new.tags, our_values)),
        )
    )


def _with_sorted_keywords(tags: Tags) -> Tags:
    # The tags with each keyword that is not empty, whatever their order.
    parts = _keywords_text(tags.get(_KEYWORDS))[0].split(_SEPARATOR)
    return {
        **tags,
        _KEYWORDS: TagValue(
            BYTE,
            _utf16(_SEPARATOR.join(sorted(filter(None, parts)))),
        ),
    }


def _exif_values(added: Sequence[AddedValue]) -> list[AddedValue]:
    return [(field, value) for field, value in added if field in OUR_FIELDS]


def _described(difference_text: str | None) -> str | None:
    return (
        f"The EXIF differs in more than our values; {difference_text}."
        if difference_text
        else None
    )
