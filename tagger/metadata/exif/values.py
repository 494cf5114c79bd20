"""Our values in an EXIF block, as tags and as (field, value) pairs.

The pairs are recorded in the photo's XMP. Tags are made from them, and recognised by them for removal.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from tagger.metadata.exif.block import (
    ASCII,
    BYTE,
    GPS,
    MAIN,
    PROCESSING_METHOD,
    RATIONAL,
    UNDEFINED,
    ExifRewriteError,
    TagKey,
    TagValue,
)
from tagger.metadata.tag_fields import Position, TagFields

Tags: TypeAlias = Mapping[TagKey, TagValue]
AddedValue: TypeAlias = tuple[str, str]

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
_OUR_GPS_TAGS = (*_COORDINATES, _DATUM, PROCESSING_METHOD, _ERROR)
_ASCII = b"ASCII\0\0\0"
"""The character code at the start of texts of an undefined type."""
_SEPARATOR = ";"
_SAME_DEGREES = 1e-6
"""A tenth of a metre."""


def new_values(tags: Tags, tag_fields: TagFields) -> tuple[AddedValue, ...]:
    """The values that the block lacks and that no other value prevents."""
    return (
        *_new_keywords(tags, tag_fields.keywords),
        *_new_description(tags, tag_fields.description),
        *_new_position(tags, tag_fields.position),
    )


def with_values(tags: Tags, added: Sequence[AddedValue]) -> Tags:
    """The tags with our values. Their fields are free, or hold keywords."""
    result = dict(tags)
    keywords = [value for field, value in added if field == KEYWORDS]
    if keywords:
        text, end = _keywords_text(tags.get(_KEYWORDS))
        joined = _SEPARATOR.join([text, *keywords]) + end if text else _SEPARATOR.join(keywords) + "\0"
        result[_KEYWORDS] = TagValue(BYTE, _utf16(joined))
    for field, value in added:
        result |= _tags_of(field, value)
    return result


def without_values(tags: Tags, added: Sequence[AddedValue]) -> Tags:
    """The tags without our values, where they still hold what we wrote."""
    remaining = _without_keywords(tags, [value for field, value in added if field == KEYWORDS])
    position = [pair for pair in added if pair[0] in (POSITION, GPS_METHOD, GPS_ERROR, GPS_VERSION)]
    for field, value in added:
        if field == DESCRIPTION and remaining.get(_DESCRIPTION) == _tags_of(field, value)[_DESCRIPTION]:
            del remaining[_DESCRIPTION]
    return _without_position(remaining, position)


def without_blank_values(tags: Tags, added: Sequence[AddedValue]) -> Tags:
    """The tags without the blank values that ours replace."""
    fields = {field for field, _ in added}
    remaining = dict(tags)
    if DESCRIPTION in fields and _DESCRIPTION in remaining and _is_blank(remaining[_DESCRIPTION]):
        del remaining[_DESCRIPTION]
    if KEYWORDS in fields and _KEYWORDS in remaining and not _keywords_text(remaining[_KEYWORDS])[0]:
        del remaining[_KEYWORDS]
    return remaining


def _new_keywords(tags: Tags, keywords: Sequence[str]) -> list[AddedValue]:
    if not keywords:
        return []
    text, _ = _keywords_text(tags.get(_KEYWORDS))
    existing = {part.strip().casefold() for part in text.split(_SEPARATOR)}
    added = []
    for keyword in keywords:
        key = keyword.strip().casefold()
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


def _new_position(tags: Tags, position: Position | None) -> list[AddedValue]:
    """Add a position only if the block has none of its tags: an existing datum, method or error would misdescribe ours."""
    if position is None or not _is_on_earth(position) or any((GPS, tag) in tags for tag in _OUR_GPS_TAGS):
        return []
    added = [
        (POSITION, f"{_decimal(position.latitude, 7)},{_decimal(position.longitude, 7)}"),
        (GPS_METHOD, position.method),
        (GPS_ERROR, _decimal(position.error_m, 2)),
    ]
    return added if _VERSION in tags else [*added, (GPS_VERSION, "2.3.0.0")]


def _is_writable(text: str) -> bool:
    """Whether EXIF can hold the text: not blank, no NUL, which ends texts, and no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return bool(text.strip()) and "\0" not in text


def _is_blank(value: TagValue) -> bool:
    return not value.value.strip(b" \0")


def _is_on_earth(position: Position) -> bool:
    return abs(position.latitude) <= 90 and abs(position.longitude) <= 180 and 0 <= position.error_m <= 4e7


def _decimal(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _tags_of(field: str, value: str) -> dict[TagKey, TagValue]:
    match field:
        case "EXIF:ImageDescription":
            # The standard requires ASCII; current programs read UTF-8, as the Metadata Working Group recommends.
            return {_DESCRIPTION: TagValue(ASCII, value.encode() + b"\0")}
        case "EXIF:GPS":
            return _position_tags(value)
        case "EXIF:GPSProcessingMethod":
            return {(GPS, PROCESSING_METHOD): TagValue(UNDEFINED, _ASCII + value.encode())}
        case "EXIF:GPSHPositioningError":
            return {(GPS, _ERROR): _rationals((round(float(value) * 100), 100))}
        case "EXIF:GPSVersionID":
            return {_VERSION: TagValue(BYTE, bytes(int(part) for part in value.split(".")))}
    return {}


def _position_tags(value: str) -> dict[TagKey, TagValue]:
    latitude, longitude = (float(part) for part in value.split(","))
    return {
        (GPS, _LATITUDE_REF): TagValue(ASCII, b"S\0" if latitude < 0 else b"N\0"),
        (GPS, LATITUDE): _degrees(abs(latitude)),
        (GPS, _LONGITUDE_REF): TagValue(ASCII, b"W\0" if longitude < 0 else b"E\0"),
        (GPS, LONGITUDE): _degrees(abs(longitude)),
        (GPS, _DATUM): TagValue(ASCII, b"WGS-84\0"),
    }


def _degrees(degrees: float) -> TagValue:
    """Degrees, minutes and seconds to a ten-thousandth, which is 3 mm."""
    minutes, seconds = divmod(round(degrees * 36_000_000), 600_000)
    return _rationals((minutes // 60, 1), (minutes % 60, 1), (seconds, 10_000))


def _rationals(*fractions: tuple[int, int]) -> TagValue:
    return TagValue(RATIONAL, b"".join(struct.pack(">II", *fraction) for fraction in fractions))


def _without_keywords(tags: Tags, keywords: Sequence[str]) -> dict[TagKey, TagValue]:
    """Our keywords come last, so of equal ones the last is removed."""
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
        remaining[_KEYWORDS] = TagValue(BYTE, _utf16(_SEPARATOR.join(parts) + end))
    else:
        del remaining[_KEYWORDS]
    return remaining


def _without_position(tags: dict[TagKey, TagValue], added: Sequence[AddedValue]) -> Tags:
    """Remove our position. If another program changed the coordinates, only method and error are removed."""
    our_tags: dict[TagKey, TagValue] = {}
    for field, value in added:
        our_tags |= _tags_of(field, value)
    unchanged = {key for key, value in our_tags.items() if _is_same(tags.get(key), value)}
    if not all((GPS, tag) in unchanged for tag in _COORDINATES):
        unchanged &= {(GPS, PROCESSING_METHOD), (GPS, _ERROR)}
    return {key: value for key, value in tags.items() if key not in unchanged}


def _is_same(existing: TagValue | None, value: TagValue) -> bool:
    """Whether a tag still has our value. Other programs write 30.24 seconds as 756/25, or split degrees differently."""
    if existing is None or existing == value or (existing.kind, value.kind) != (RATIONAL, RATIONAL):
        return existing == value
    existing_degrees, our_degrees = _decimal_degrees(existing), _decimal_degrees(value)
    if existing_degrees is None or our_degrees is None:
        return False
    return abs(existing_degrees - our_degrees) < _SAME_DEGREES


def _decimal_degrees(value: TagValue) -> float | None:
    """Decimal degrees; None if a denominator is zero."""
    if len(value.value) % 8:
        return None
    fractions = list(struct.iter_unpack(">II", value.value))
    if not all(denominator for _, denominator in fractions):
        return None
    return float(
        sum(numerator / denominator / 60**at for at, (numerator, denominator) in enumerate(fractions))
    )


def _keywords_text(value: TagValue | None) -> tuple[str, str]:
    """The text in XPKeywords, and its terminator."""
    if value is None:
        return "", "\0"
    try:
        decoded = value.value.decode("utf-16-le")
    except UnicodeDecodeError:
        decoded = "\0?"
    text = decoded.rstrip("\0")
    if value.kind != BYTE or "\0" in text:
        raise ExifRewriteError(
            "The keywords in the EXIF (XPKeywords) do not have the form that Windows writes, so they were left unchanged."
        )
    return text, decoded[len(text) :]


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le")
