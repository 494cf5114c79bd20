"""When and where a photo was taken, as an XMP packet states it. Positions that this program wrote are not read."""

from collections.abc import Mapping

from tagger.metadata.errors import WriteRefused
from tagger.metadata.gps import OUR_METHOD
from tagger.metadata.stated_facts import StatedFacts, StatedPosition, StatedTime, stated_position
from tagger.metadata.xmp.namespaces import GPS_ERROR, GPS_METHOD, LATITUDE, LONGITUDE
from tagger.metadata.xmp.properties import Value, added_in_properties, properties, texts
from tagger.metadata.xmp.value_text import degrees_of, same_coordinate


def stated_in_xmp(packet: bytes, *, needs_time: bool = True) -> StatedFacts:
    """The facts of a packet, the time only if it is needed; never raises."""
    plain = packet.replace(b"\0", b"")  # UTF-16
    names = _NAMES if needs_time else _NAMES[-1:]
    if not any(name in plain for name in names):  # parsing takes a hundred times as long
        return StatedFacts()
    try:
        fields = properties(packet)
    except WriteRefused:
        return StatedFacts(is_broken=True)
    return StatedFacts(StatedTime.of_texts(*(_text(fields, name) for name in _TIMES)), _position(fields))


_TIMES = ("exif:DateTimeOriginal", "photoshop:DateCreated", "exif:DateTimeDigitized", "xmp:CreateDate")
"""The times of capture come before those of digitisation."""
_NAMES = tuple(name.partition(":")[2].encode() for name in (*_TIMES, LATITUDE))


def _position(fields: Mapping[str, Value]) -> StatedPosition | None:
    latitude, longitude = _text(fields, LATITUDE), _text(fields, LONGITUDE)
    ours = dict(added_in_properties(dict(fields)))
    is_ours = LATITUDE in ours and same_coordinate(ours[LATITUDE], latitude)
    if is_ours or OUR_METHOD in _text(fields, GPS_METHOD):
        return None
    north, east = _text(fields, f"{LATITUDE}Ref"), _text(fields, f"{LONGITUDE}Ref")
    return stated_position(
        degrees_of(latitude, north), degrees_of(longitude, east), _rational(_text(fields, GPS_ERROR))
    )


def _text(fields: Mapping[str, Value], name: str) -> str:
    return next(iter(texts(fields.get(name))), "").strip()


def _rational(text: str) -> float | None:
    numerator, slash, denominator = text.partition("/")
    try:
        return float(numerator) / float(denominator if slash else 1)
    except (ValueError, ZeroDivisionError):
        return None
