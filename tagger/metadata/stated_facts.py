"""When and where a photo was taken as XMP, IPTC or another file beside its EXIF states it. Knows nothing of which statement counts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from tagger.metadata.gps import LARGEST_ERROR_M
from tagger.metadata.written_times import is_blank, parse_time


@dataclass(frozen=True)
class StatedTime:
    """`taken_at` is local time without a zone, and `utc_offset_s` what it is ahead of UTC; with `is_utc`, it is UTC, and the zone is not known.

    `is_unread`: a time is stated that cannot be read.
    """

    taken_at: datetime | None = None
    utc_offset_s: int | None = None
    is_utc: bool = False
    is_unread: bool = False

    @classmethod
    def of_texts(cls, *texts: str) -> Self:
        """The first of some texts that is a time or a day."""
        written = [text for text in texts if not is_blank(text)]
        for text in written:
            if (time := parse_time(text, allows_day=True)) is not None:
                return cls(time.taken_at, time.utc_offset_s)
        return cls(is_unread=bool(written))


@dataclass(frozen=True)
class StatedPosition:
    """Degrees, and their error in metres, if it is stated."""

    latitude: float
    longitude: float
    error_m: float | None = None


def stated_position(
    latitude: float | None, longitude: float | None, error_m: float | None = None
) -> StatedPosition | None:
    """A position on Earth; None if a coordinate is missing or invalid, or both are 0, as programs write without a position."""
    if latitude is None or longitude is None or not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    if latitude == 0 and longitude == 0:
        return None
    is_error = error_m is not None and 0 <= error_m <= LARGEST_ERROR_M
    return StatedPosition(latitude, longitude, error_m if is_error else None)


@dataclass(frozen=True)
class StatedFacts:
    """What one file states. `is_broken`: the file cannot be read, so nothing is known of it."""

    time: StatedTime = StatedTime()
    position: StatedPosition | None = None
    is_broken: bool = False
