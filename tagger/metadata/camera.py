"""Camera facts: what a photo's file says about when, where and by which camera it was taken.

Times are in the camera's local time, with how far that is ahead of UTC. These fields often hold invalid
values, which are returned as None. Facts depend on the file alone, not on the time or place at which it is
read. Knows nothing of writing.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TypeAlias

from tagger.metadata import OUR_METHOD, WriteRefused, iptc
from tagger.metadata.formats import is_jpeg, may_hold_tags, read_blocks
from tagger.metadata.formats.jpeg import PHOTOSHOP
from tagger.metadata.stated_facts import (
    is_blank,
    parse_offset,
    parse_time,
    stated_in_xmp,
    stated_time,
)
from tagger.photos import (
    FIRST_FACTS,
    LARGEST_ERROR_M,
    PHOTO_FACTS,
    CameraFacts,
    PhotoFacts,
    PhotoOrigin,
    merge_facts,
)
from tagger.photos.containers import (
    EXIF,
    EXIF_POINTER,
    GPS_POINTER,
    ORIENTATION,
    XMP,
    TiffBlock,
    TiffTag,
    jpeg_head,
    orientation_of,
    tiff_in,
)
from tagger.photos.formats import Blocks, Container, exif_of, is_iso_media
from tagger.texts import undeclared_text

Tags: TypeAlias = Mapping[int, TiffTag]


@dataclass(frozen=True, kw_only=True)
class _CaptureTime(PhotoFacts):
    # When the photo was taken.
    # `is_of_change`: `taken_at` is the time of the last change, because the file has no other. In an
    # unchanged photo, this is the time of capture: some phones write only this field.
    is_of_change: bool = False


@dataclass(frozen=True, kw_only=True)
class _GpsFix(PhotoFacts):
    # Where the receiver was, and when, in UTC: `on` is the date, and `at` the time, if it states one.

    on: date | None = None
    at: datetime | None = None


def _read_capture_time(main: Tags, exif: Tags) -> _CaptureTime:
    # Read the time of capture, else of digitisation, else of the last change.
    # Any date of the calendar is returned, whatever the year: people date scans, and the clock of the machine
    # that reads the file says nothing about it. Whether a time is good evidence of a position is another
    # question (see positions).
    entries = (exif.get(_ORIGINAL), exif.get(_DIGITIZED), main.get(_CHANGED))
    texts = [_time_text(entry) for entry in entries]
    times = [parse_time(text) for text in texts]
    read_times = [time for time in times if time is not None]
    if not read_times:
        return _CaptureTime(is_date_unread=not all(map(is_blank, texts)))
    first = read_times[0]
    # Some phones write the offset beside one field only. It applies to all fields with the same time.
    stated = [parse_offset(_time_text(exif.get(tag))) for tag in _OFFSETS]
    utc_offset_s = None
    for time, beside in zip(times, stated, strict=True):
        if (
            time is not None
            and time.taken_at == first.taken_at
            and utc_offset_s is None
        ):
            utc_offset_s = beside if time.utc_offset_s is None else time.utc_offset_s
    is_of_change = times[:2] == [None, None]
    return _CaptureTime(
        taken_at=first.taken_at, utc_offset_s=utc_offset_s, is_of_change=is_of_change
    )


_CHANGED, _ORIGINAL, _DIGITIZED = 306, 36867, 36868
# OffsetTimeOriginal, OffsetTimeDigitized and OffsetTime, which belongs to the last change.
_OFFSETS = (0x9011, 0x9012, 0x9010)
_TIME_BYTES = 64


def _time_text(entry: TiffTag | None) -> str:
    return (
        bytes(entry.raw[:_TIME_BYTES]).split(b"\0")[0].decode(errors="replace")
        if entry
        else ""
    )


# The most characters of make, model and serial number. Longer texts are cut.
LONGEST_TEXT = 64


def camera_facts(data: bytes, container: Container | None = None) -> CameraFacts:
    """Read a photo's EXIF, and what it lacks from XMP and IPTC; never raises. `container`: the parsed file.

    Positions that this program wrote are ignored, and so are those measured on another day than that of the
    capture: they are the position of the desk at which the photo was edited, or of the last place with
    reception.
    """
    blocks = None if may_hold_tags(data) else read_blocks(data)
    exif = exif_of(data) if container is None else container.exif
    if exif is None and blocks is None:
        blocks = _blocks(data)
    # Some blocks begin as segments of JPEG do, in PNG files too.
    block = tiff_in(
        ((exif if blocks is None else blocks.exif) or b"").removeprefix(EXIF)
    )
    facts = _exif_facts(block)
    if is_iso_media(data):
        facts = replace(facts, orientation=facts.orientation or 1)
    lacking = [name for name in FIRST_FACTS.values() if getattr(facts, name) is None]
    if not lacking:
        return facts
    blocks = _blocks(data) if blocks is None else blocks
    if not (blocks.xmp or blocks.iptc):
        return facts
    has_position = exif_position(block) != (None, None)
    # The facts with what EXIF lacks from XMP, else IPTC. XMP repeats positions of EXIF that do not
    # count.
    xmp = stated_in_xmp(blocks.xmp or b"", lacking)
    if has_position:
        xmp = replace(xmp, latitude=None, longitude=None, gps_error_m=None)
    values = iptc.read(blocks.iptc)
    day, time = (
        next(iter(values.get(f"IPTC:{name}", [])), "")
        for name in ("DateCreated", "TimeCreated")
    )
    iptc_time = stated_time(f"{day} {time}", day)
    statements = [("EXIF", facts), ("XMP", xmp), ("IPTC", iptc_time)]
    merged_facts = merge_facts(statements)
    is_unread = merged_facts["taken_at"] is None and any(
        each.is_date_unread for _, each in statements
    )
    return replace(
        facts,
        **{name: merged_facts[name] for name in PHOTO_FACTS},
        is_date_unread=is_unread,
    )


def _blocks(data: bytes) -> Blocks:
    if is_jpeg(data):
        data = jpeg_head(data)
        if XMP not in data and PHOTOSHOP not in data:
            return Blocks()
    try:
        return read_blocks(data)
    except WriteRefused:
        return Blocks()


def _exif_facts(block: TiffBlock) -> CameraFacts:
    main, exif = block.tags, exif_tags(block)
    capture = _read_capture_time(main, exif)
    fix = _read_gps(block)
    if _is_of_another_day(capture, fix):
        fix = _GpsFix()
    return CameraFacts(
        taken_at=capture.taken_at,
        latitude=fix.latitude,
        longitude=fix.longitude,
        gps_error_m=fix.gps_error_m,
        utc_offset_s=_utc_offset_s(capture, fix),
        origin=_origin(block, exif, capture),
        make=name_in(main.get(_MAKE)),
        model=name_in(main.get(_MODEL)),
        serial=name_in(exif.get(_BODY_SERIAL)) or name_in(main.get(_DNG_SERIAL)),
        is_date_unread=capture.is_date_unread,
        orientation=orientation_of(block) if ORIENTATION in main else None,
    )


def exif_tags(block: TiffBlock) -> Tags:
    """The tags of EXIF, which are in the main directory in DNGs of phones, as in TIFF/EP."""
    directory = block.child(block.tags.get(EXIF_POINTER))
    return directory.tags if directory else block.tags


def short_text(text: str) -> str:
    printable = "".join(
        character if character.isprintable() else " " for character in text
    )
    return " ".join(printable.split())[:LONGEST_TEXT].rstrip()


_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _DNG_SERIAL = 270, 271, 272, 305, 0xC62F
_USER_COMMENT, _BODY_SERIAL = 0x9286, 0xA431
_TEXT_BYTES = 1024
# What makers and programs write where they have no value.
_NO_VALUE = re.compile(
    r"[\W_0]*|x+|f+|n/?a|none|null|unknown|undefined|default|not (set|available|specified)"
    r"|serial( ?(number|no\.?))?",
    re.IGNORECASE,
)

# Receivers count weeks with 10 bits: after a rollover, old ones give a date 1024 weeks too early.
_GPS_ROLLOVER_DAYS = 1024 * 7
_CLOCK_TOLERANCE_S = 5 * 60
_GREENWICH_DEGREES = 30
# The offsets of time zones since 1990 (IANA's time zone database).
_ZONES_S = tuple(
    minutes * 60
    for minutes in (
        *range(-12 * 60, 14 * 60 + 1, 60),
        *(-570, -510, -270, -210, -150),
        *(210, 270, 330, 345, 390, 510, 525, 570, 585, 630, 690, 765, 825),
    )
)

_SCREENSHOT = re.compile(r"screen ?(shot|capture)", re.IGNORECASE)
_SCREENSHOT_SOFTWARE = re.compile(
    r"screen ?(shot|capture)|greenshot|flameshot", re.IGNORECASE
)
_EDITOR = re.compile(
    r"photoshop|lightroom|\bgimp\b|paint\.net|paint ?shop|picasa|snapseed|pixelmator|affinity|capture one|"
    r"darktable|rawtherapee|"
    r"acd ?see|acd systems|irfanview|xnview|digikam|(image|graphics)magick|^pil\b|^pillow\b|photoscape|"
    r"faststone|luminar|vsco|canva|"
    r"krita|windows photo|photofiltre|corel|aperture|iphoto|^photos \d|gwenview|shotwell|photoline|zoner|"
    r"dxo|polarr|picsart",
    re.IGNORECASE,
)


def _is_of_another_day(capture: _CaptureTime, fix: _GpsFix) -> bool:
    # Whether capture and GPS fix are two days or more apart, which no time zone explains.
    # False if the clock was never set (such clocks start on 1 January of some year), or if the date is that
    # of the last change, which is later than the capture.
    if capture.taken_at is None or fix.on is None or capture.is_of_change:
        return False
    day = capture.taken_at.date()
    is_unset = day.year < 1990 or (day.month, day.day) == (1, 1)
    return not is_unset and abs(_without_rollovers((day - fix.on).days)) > 1


def _without_rollovers(days: float) -> float:
    # The days of local time minus GPS time, corrected for rollovers.
    return (days + _GPS_ROLLOVER_DAYS / 2) % _GPS_ROLLOVER_DAYS - _GPS_ROLLOVER_DAYS / 2


def _utc_offset_s(capture: _CaptureTime, fix: _GpsFix) -> int | None:
    # The offset that the file states, else that of the time zone nearest to local time minus GPS time.
    # A camera's clock and the time of its GPS fix agree within seconds or a few minutes. If they agree
    # exactly, far from Greenwich, a program wrote the local time as GPS time.
    if capture.utc_offset_s is not None or capture.taken_at is None or fix.at is None:
        return capture.utc_offset_s
    is_far = fix.longitude is None or abs(fix.longitude) > _GREENWICH_DEGREES
    if capture.taken_at == fix.at and is_far:
        return None
    ahead_s = (
        _without_rollovers((capture.taken_at - fix.at) / timedelta(days=1)) * 86400
    )
    zone_s = min(_ZONES_S, key=lambda zone_s: abs(ahead_s - zone_s))
    return zone_s if abs(ahead_s - zone_s) <= _CLOCK_TOLERANCE_S else None


def _origin(block: TiffBlock, exif: Tags, capture: _CaptureTime) -> PhotoOrigin | None:
    # Why the photo is not as a camera took it: a screenshot, or edited, with an editor's time alone.
    # A photo that an editor exported with its time of capture counts as a photo like any other.
    software = _text(block.tags.get(_SOFTWARE))
    comment = _comment(block, exif.get(_USER_COMMENT))
    description = _text(block.tags.get(_DESCRIPTION))
    names_itself = any(_SCREENSHOT.fullmatch(text) for text in (comment, description))
    if names_itself or _SCREENSHOT_SOFTWARE.search(software):
        return PhotoOrigin.SCREENSHOT
    return (
        PhotoOrigin.EDITED
        if capture.is_of_change and _EDITOR.search(software)
        else None
    )


def name_in(entry: TiffTag | None) -> str | None:
    """The text of a tag, such as a camera's model; None if there is none, or what programs write for none."""
    text = _text(entry)
    return None if _NO_VALUE.fullmatch(text) else text


def _text(entry: TiffTag | None) -> str:
    # A text, of ASCII or undefined bytes, up to its end or to its first null character; empty if there is
    # none.
    return (
        _decoded(bytes(entry.raw[:_TEXT_BYTES]))
        if entry and entry.kind in (2, 7)
        else ""
    )


def _comment(block: TiffBlock, entry: TiffTag | None) -> str:
    # The user comment, which names its character code in its first eight bytes.
    raw = bytes(entry.raw[:_TEXT_BYTES]) if entry else b""
    code, text = raw[:8], raw[8:]
    if code == b"UNICODE\0":
        encoding = "utf-16-le" if block.order == "<" else "utf-16-be"
        return short_text(text.decode(encoding, errors="ignore").split("\0")[0])
    return _decoded(text)


def _decoded(raw: bytes) -> str:
    # The specification allows ASCII alone.
    return short_text(undeclared_text(raw.split(b"\0")[0]))


# The GPS directory of EXIF: where and when a camera's receiver measured, not when the photo was
# taken.
#
# `GPSStatus` is not read. By the text of the specification (EXIF 2.3, 4.6.6), "V" means
# "Measurement Interoperability", a slip for interrupted or void. DJI's drones write it with correct
# positions, and programs that add positions later leave it as the camera wrote it. Cameras without
# a fix (Leica, Panasonic) also write zeros, or degrees in the millions, which are invalid anyway.


def _read_gps(block: TiffBlock) -> _GpsFix:
    # Read the valid fields of the GPS directory. What this program wrote is ignored.
    gps = block.tags_behind(GPS_POINTER)
    method = gps.get(_PROCESSING_METHOD)
    # Another program may have rewritten our method in another code.
    stated_method = bytes(method.raw[:_METHOD_BYTES]) if method else b""
    if OUR_METHOD.encode() in stated_method.replace(b"\0", b""):
        return _GpsFix()
    latitude, longitude = _stated_position(block, gps)
    error_m = None if latitude is None else _error_m(block, gps)
    on = _date(gps)
    at = None if on is None else _at(block, gps, on)
    return _GpsFix(
        latitude=latitude, longitude=longitude, gps_error_m=error_m, on=on, at=at
    )


def exif_position(block: TiffBlock) -> tuple[float, float] | tuple[None, None]:
    """The position in an EXIF block in degrees, whether written by a camera or by this program."""
    return _stated_position(block, block.tags_behind(GPS_POINTER))


_TIME_STAMP, _PROCESSING_METHOD, _DATE_STAMP, _POSITIONING_ERROR = 7, 27, 29, 31
_DATE = re.compile(rb"(\d{4})[:/.-](\d\d)[:/.-](\d\d)")
_METHOD_BYTES = 256
# Receivers without a fix write the start of their own time, 1980, or of Unix time, 1970.
_FIRST_YEAR = 1990


def _stated_position(
    block: TiffBlock, gps: Tags
) -> tuple[float, float] | tuple[None, None]:
    latitude = _degrees(block, gps, tag=2, hemispheres=b"NS", limit=90)
    longitude = _degrees(block, gps, tag=4, hemispheres=b"EW", limit=180)
    # Cameras without a GPS fix write zeros. There is no landmark at exactly 0, 0, in the Gulf of Guinea.
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    return latitude, longitude


def _degrees(
    block: TiffBlock, gps: Tags, *, tag: int, hemispheres: bytes, limit: int
) -> float | None:
    # Degrees, minutes and seconds as decimal degrees; None without a valid hemisphere, of which the positive
    # one comes first.
    ref = gps.get(tag - 1)
    hemisphere = bytes(ref.raw[:1]).upper() if ref else b""
    parts = block.fractions(gps.get(tag))
    if (
        not hemisphere
        or hemisphere not in hemispheres
        or not 1 <= len(parts) <= 3
        or parts[0][1] == 0
    ):
        return None
    degrees = 0.0
    for (numerator, denominator), unit in zip(parts, (1, 60, 3600), strict=False):
        if denominator == 0 and numerator != 0:
            return None
        degrees += numerator / (denominator or 1) / unit
    if not 0 <= degrees <= limit:
        return None
    return -degrees if hemisphere == hemispheres[1:] else degrees


def _error_m(block: TiffBlock, gps: Tags) -> float | None:
    parts = block.fractions(gps.get(_POSITIONING_ERROR))
    if len(parts) != 1 or parts[0][1] == 0:
        return None
    error_m = parts[0][0] / parts[0][1]
    return error_m if 0 <= error_m <= LARGEST_ERROR_M else None


def _date(gps: Tags) -> date | None:
    entry = gps.get(_DATE_STAMP)
    match = _DATE.match(bytes(entry.raw[:10])) if entry else None
    if match is None:
        return None
    year, month, day = (int(part) for part in match.groups())
    try:
        return date(year, month, day) if year >= _FIRST_YEAR else None
    except ValueError:
        return None


def _at(block: TiffBlock, gps: Tags, on: date) -> datetime | None:
    # The time stamp on a date, in UTC without a zone.
    parts = block.fractions(gps.get(_TIME_STAMP))
    if len(parts) != 3 or any(denominator == 0 for _, denominator in parts):
        return None
    hours, minutes, seconds = (
        numerator / denominator for numerator, denominator in parts
    )
    if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds <= 60):
        return None
    midnight = datetime(on.year, on.month, on.day)  # noqa: DTZ001 - local times have no zone
    try:
        return midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:  # the last second of the year 9999
        return None


# The exposure.


@dataclass(frozen=True)
class Exposure:
    time_s: float | None = None
    f_number: float | None = None
    iso: int | None = None
    focal_length_mm: float | None = None
    lens: str | None = None

    @property
    def text(self) -> str:
        """`1/250 s · f/8 · ISO 100 · 50 mm`, as photographers write it in every language."""
        parts = (
            self.time_s and f"{_duration_text(self.time_s)} s",
            self.f_number and f"f/{self.f_number:.2g}",
            self.iso and f"ISO {self.iso}",
            self.focal_length_mm and f"{self.focal_length_mm:.3g} mm",
        )
        return " · ".join(part for part in parts if part)


def read_exposure(data: bytes) -> Exposure:
    """Read the exposure of a photo whose beginning this is; never raises."""
    block = tiff_in((exif_of(data) or b"").removeprefix(EXIF))
    tags = exif_tags(block)
    iso = next(iter(block.integers(tags.get(_ISO))), 0)
    return Exposure(
        time_s=_positive(block, tags.get(_TIME)),
        f_number=_positive(block, tags.get(_F_NUMBER)),
        iso=iso if iso > 0 else None,
        focal_length_mm=_positive(block, tags.get(_FOCAL_LENGTH)),
        lens=name_in(tags.get(_LENS)),
    )


_TIME, _F_NUMBER, _ISO, _FOCAL_LENGTH, _LENS = 33434, 33437, 34855, 37386, 42036
# Larger numbers are damage.
_MOST = 1e6


def _positive(block: TiffBlock, entry: TiffTag | None) -> float | None:
    fraction = next(iter(block.fractions(entry)), None)
    if fraction is None or not fraction[1]:
        return None
    number = fraction[0] / fraction[1]
    return number if math.isfinite(number) and 1 / _MOST < number < _MOST else None


def _duration_text(time_s: float) -> str:
    return f"1/{round(1 / time_s)}" if time_s < 0.3 else f"{time_s:.3g}"
