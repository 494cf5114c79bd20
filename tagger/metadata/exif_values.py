"""What of an EXIF block is ours: which values its free places take, as tags and as (field, value) records.

Records are what is kept: from them the tags are made when values go in, and known again when they come out.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from tagger.metadata.additions import Additions, Position
from tagger.metadata.camera import DERIVED
from tagger.metadata.exif_fields import (
    ASCII,
    BYTE,
    GPS,
    MAIN,
    PROCESSING_METHOD,
    RATIONAL,
    UNDEFINED,
    ExifUnsafe,
    Field,
    Place,
)

Tags: TypeAlias = Mapping[Place, Field]
Added: TypeAlias = tuple[str, str]

KEYWORDS, DESCRIPTION, POSITION = "EXIF:XPKeywords", "EXIF:ImageDescription", "EXIF:GPS"
POSITION_ERROR, GPS_VERSION = "EXIF:GPSHPositioningError", "EXIF:GPSVersionID"
OURS = {KEYWORDS, DESCRIPTION, POSITION, POSITION_ERROR, GPS_VERSION}
LATITUDE, LONGITUDE = 2, 4

_KEYWORDS: Place = (MAIN, 0x9C9E)
_DESCRIPTION: Place = (MAIN, 0x010E)
_VERSION: Place = (GPS, 0)
_LATITUDE_REF, _LONGITUDE_REF, _DATUM, _ERROR = 1, 3, 18, 31
_COORDINATES = (_LATITUDE_REF, LATITUDE, _LONGITUDE_REF, LONGITUDE)
_OURS_IN_GPS = (*_COORDINATES, _DATUM, PROCESSING_METHOD, _ERROR)
_SEPARATOR = ";"
_SAME_DEGREES = 1e-6
"""A tenth of a metre."""


def new_records(tags: Tags, additions: Additions) -> tuple[Added, ...]:
    """What of the additions is not there yet and has a free place."""
    return (
        *_new_keywords(tags, additions.keywords),
        *_new_description(tags, additions.description),
        *_new_position(tags, additions.position),
    )


def with_records(tags: Tags, added: Sequence[Added]) -> Tags:
    """The tags with our values. Their places are free, or hold keywords."""
    made = dict(tags)
    keywords = [value for field, value in added if field == KEYWORDS]
    if keywords:
        text, end = _keywords_text(tags.get(_KEYWORDS))
        whole = _SEPARATOR.join([text, *keywords]) + end if text else _SEPARATOR.join(keywords) + "\0"
        made[_KEYWORDS] = Field(BYTE, _utf16(whole))
    for field, value in added:
        made |= _tags_of(field, value)
    return made


def without_records(tags: Tags, added: Sequence[Added]) -> Tags:
    """The tags without our values, as far as they are still ours."""
    left = _without_keywords(tags, [value for field, value in added if field == KEYWORDS])
    position = [record for record in added if record[0] in (POSITION, POSITION_ERROR, GPS_VERSION)]
    for field, value in added:
        if field == DESCRIPTION and left.get(_DESCRIPTION) == _tags_of(field, value)[_DESCRIPTION]:
            del left[_DESCRIPTION]
    return _without_position(left, position)


def without_blank(tags: Tags, added: Sequence[Added]) -> Tags:
    """Without the blank values whose places ours took."""
    fields = {field for field, _ in added}
    left = dict(tags)
    if DESCRIPTION in fields and _DESCRIPTION in left and _is_blank(left[_DESCRIPTION]):
        del left[_DESCRIPTION]
    if KEYWORDS in fields and _KEYWORDS in left and not _keywords_text(left[_KEYWORDS])[0]:
        del left[_KEYWORDS]
    return left


def _new_keywords(tags: Tags, keywords: Sequence[str]) -> list[Added]:
    if not keywords:
        return []
    text, _ = _keywords_text(tags.get(_KEYWORDS))
    known = {part.strip().casefold() for part in text.split(_SEPARATOR)}
    added = []
    for keyword in keywords:
        if _is_writable(keyword) and _SEPARATOR not in keyword and keyword.strip().casefold() not in known:
            known.add(keyword.strip().casefold())
            added.append((KEYWORDS, keyword.strip()))
    return added


def _new_description(tags: Tags, description: str | None) -> list[Added]:
    there = tags.get(_DESCRIPTION)
    if description is None or not _is_writable(description) or not (there is None or _is_blank(there)):
        return []
    return [(DESCRIPTION, description)]


def _new_position(tags: Tags, position: Position | None) -> list[Added]:
    """A datum, method or error of somebody else would say something about our position that is not so."""
    if position is None or not _is_on_earth(position) or any((GPS, tag) in tags for tag in _OURS_IN_GPS):
        return []
    added = [
        (POSITION, f"{_decimal(position.latitude, 7)},{_decimal(position.longitude, 7)}"),
        (POSITION_ERROR, _decimal(position.error_m, 2)),
    ]
    return added if _VERSION in tags else [*added, (GPS_VERSION, "2.3.0.0")]


def _is_writable(text: str) -> bool:
    """A text that EXIF holds as it is: something to see, no NUL, which ends texts, and no half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return bool(text.strip()) and "\0" not in text


def _is_blank(field: Field) -> bool:
    return not field.value.strip(b" \0")


def _is_on_earth(position: Position) -> bool:
    return abs(position.latitude) <= 90 and abs(position.longitude) <= 180 and 0 <= position.error_m <= 4e7


def _decimal(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _tags_of(field: str, value: str) -> dict[Place, Field]:
    match field:
        case "EXIF:ImageDescription":
            # The standard says ASCII; every program of today reads UTF-8, and the Metadata Working Group asks for it.
            return {_DESCRIPTION: Field(ASCII, value.encode() + b"\0")}
        case "EXIF:GPS":
            return _position_tags(value)
        case "EXIF:GPSHPositioningError":
            return {(GPS, _ERROR): _rationals((round(float(value) * 100), 100))}
        case "EXIF:GPSVersionID":
            return {_VERSION: Field(BYTE, bytes(int(part) for part in value.split(".")))}
    return {}


def _position_tags(value: str) -> dict[Place, Field]:
    latitude, longitude = (float(part) for part in value.split(","))
    return {
        (GPS, _LATITUDE_REF): Field(ASCII, b"S\0" if latitude < 0 else b"N\0"),
        (GPS, LATITUDE): _degrees(abs(latitude)),
        (GPS, _LONGITUDE_REF): Field(ASCII, b"W\0" if longitude < 0 else b"E\0"),
        (GPS, LONGITUDE): _degrees(abs(longitude)),
        (GPS, _DATUM): Field(ASCII, b"WGS-84\0"),
        (GPS, PROCESSING_METHOD): Field(UNDEFINED, DERIVED),
    }


def _degrees(degrees: float) -> Field:
    """Degrees, minutes and seconds to a ten-thousandth, which is 3 mm."""
    minutes, seconds = divmod(round(degrees * 36_000_000), 600_000)
    return _rationals((minutes // 60, 1), (minutes % 60, 1), (seconds, 10_000))


def _rationals(*fractions: tuple[int, int]) -> Field:
    return Field(RATIONAL, b"".join(struct.pack(">II", *fraction) for fraction in fractions))


def _without_keywords(tags: Tags, keywords: Sequence[str]) -> dict[Place, Field]:
    """Ours stand last, so of equal ones the last goes."""
    left = dict(tags)
    if not keywords or _KEYWORDS not in tags:
        return left
    text, end = _keywords_text(tags[_KEYWORDS])
    parts = text.split(_SEPARATOR)
    for keyword in reversed(keywords):
        matching = [at for at, part in enumerate(parts) if part.strip() == keyword]
        if matching:
            del parts[matching[-1]]
    if len(parts) == len(text.split(_SEPARATOR)):
        return left
    if parts:
        left[_KEYWORDS] = Field(BYTE, _utf16(_SEPARATOR.join(parts) + end))
    else:
        del left[_KEYWORDS]
    return left


def _without_position(tags: dict[Place, Field], added: Sequence[Added]) -> Tags:
    """What said how we came by the position goes in any case; datum and version stay with somebody else's position."""
    ours: dict[Place, Field] = {}
    for field, value in added:
        ours |= _tags_of(field, value)
    still = {place for place, field in ours.items() if _is_same(tags.get(place), field)}
    if not all((GPS, tag) in still for tag in _COORDINATES):
        still &= {(GPS, PROCESSING_METHOD), (GPS, _ERROR)}
    return {place: field for place, field in tags.items() if place not in still}


def _is_same(there: Field | None, field: Field) -> bool:
    """Whether a tag still has our value: other programs write 30.24 seconds as 756/25, or spread them otherwise."""
    if there is None or there == field or (there.kind, field.kind) != (RATIONAL, RATIONAL):
        return there == field
    numbers, ours = _in_degrees(there), _in_degrees(field)
    return numbers is not None and ours is not None and abs(numbers - ours) < _SAME_DEGREES


def _in_degrees(field: Field) -> float | None:
    """Degrees, minutes and seconds together; None where one of them is no number."""
    if len(field.value) % 8:
        return None
    fractions = list(struct.iter_unpack(">II", field.value))
    if not all(below for _, below in fractions):
        return None
    return float(sum(above / below / 60**at for at, (above, below) in enumerate(fractions)))


def _keywords_text(field: Field | None) -> tuple[str, str]:
    """The text in XPKeywords, and what ends it."""
    if field is None:
        return "", "\0"
    try:
        whole = field.value.decode("utf-16-le")
    except UnicodeDecodeError:
        whole = "\0?"
    text = whole.rstrip("\0")
    if field.kind != BYTE or "\0" in text:
        raise ExifUnsafe(
            "The keywords in the EXIF (XPKeywords) are not as Windows writes them; they were left as they are."
        )
    return text, whole[len(text) :]


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le")
