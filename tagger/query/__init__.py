"""Queries: photos by their tags, details of one photo, numbers of photos. They only read.

Here are values of their options: circles and boxes on the ground, dates and years, and how texts are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime
from math import nan

from tagger.errors import QueryOptionInvalid
from tagger.geo import distance_km
from tagger.texts.text_format import plain_number

DEFAULT_RADIUS_KM = 10.0


@dataclass(frozen=True)
class Near:
    """A circle on the ground, in degrees and kilometres; it selects photos with a position in it.

    A photo without a position counts where its landmarks are.
    """

    latitude: float
    longitude: float
    radius_km: float

    def contains(self, latitude: float, longitude: float) -> bool:
        return (
            distance_km(
                self.latitude,
                self.longitude,
                latitude,
                longitude,
            )
            <= self.radius_km
        )


@dataclass(frozen=True)
class BoundingBox:
    """Two parallels and two meridians, in degrees; it crosses 180° if `west` is greater than `east`.

    It selects photos with a position in it. A photo without a position counts where its landmarks are.
    """

    south: float
    west: float
    north: float
    east: float

    def __str__(self) -> str:
        # The text of the option, in millionths of a degree at most.
        sides = (
            self.south,
            self.west,
            self.north,
            self.east,
        )
        return ",".join(f"{degrees:.6f}".rstrip("0").rstrip(".") for degrees in sides)

    def contains(self, latitude: float, longitude: float) -> bool:
        if not self.south <= latitude <= self.north:
            return False
        if self.west <= self.east:
            return self.west <= longitude <= self.east
        return longitude >= self.west or longitude <= self.east


def parse_calendar_day(value: object, option: str) -> str:
    """The day of any year as month and day: `06-30`.

    Raises:
        QueryOptionInvalid: no year has this day.
    """
    try:
        return date.fromisoformat(f"2000-{value}").strftime("%m-%d")
    except ValueError:
        raise QueryOptionInvalid(
            option=option,
            reason=f"{str(value)!r} is not a month and a day. Write them like 06-30",
        ) from None


def parse_date(value: object, option: str) -> datetime:
    """The date, or date and time, of an option, in the camera's local time: as text, or one of Python.

    Raises:
        QueryOptionInvalid: it is not an ISO 8601 date, or has a time zone.
    """
    text = value.isoformat() if isinstance(value, date) else str(value)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise QueryOptionInvalid(
            option=option,
            reason=f"{text!r} is not a date. Write it like 2024-06-01 or 2024-06-01T18:30",
        ) from None
    if at.tzinfo is not None:
        raise QueryOptionInvalid(
            option=option,
            reason="Leave out the time zone. Cameras record local time without one",
        )
    return at


def parse_position(value: object, option: str) -> tuple[float, float]:
    """The latitude and longitude, in degrees, of an option: as the text LAT,LON, or two numbers.

    Raises:
        QueryOptionInvalid: it is no position.
    """
    latitude, longitude = _degrees(value, 2)
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        reason = "is not a position. Write latitude and longitude in degrees, like 48.86,2.29"
        raise QueryOptionInvalid(
            option=option, reason=f"{_degrees_text(value)!r} {reason}"
        )
    return latitude, longitude


def parse_box(value: object, option: str = "box") -> BoundingBox:
    """The bounds of an option, in degrees: as the text SOUTH,WEST,NORTH,EAST, or four numbers.

    Raises:
        QueryOptionInvalid: it has no such bounds.
    """
    if isinstance(value, BoundingBox):
        return value
    south, west, north, east = _degrees(value, 4)
    if not (
        -90 <= south <= north <= 90 and -180 <= west <= 180 and -180 <= east <= 180
    ):
        reason = "is not a box. Write south, west, north and east in degrees, like 48.8,2.2,48.9,2.4"
        raise QueryOptionInvalid(
            option=option, reason=f"{_degrees_text(value)!r} {reason}"
        )
    return BoundingBox(south, west, north, east)


def _degrees(value: object, count: int) -> list[float]:
    # So many numbers; NaN, which is in no range, if they are others.
    try:
        numbers = list(map(float, plain_number(_degrees_text(value)).split(",")))
    except ValueError:
        numbers = []
    return numbers if len(numbers) == count else [nan] * count


def _degrees_text(value: object) -> str:
    return (
        ",".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )


def year_limits(year: int) -> tuple[datetime, datetime | None]:
    """The first moment of a year, and that of the next one; None: there is no later year."""
    first = datetime(year, 1, 1)  # noqa: DTZ001 - local time
    return first, None if year == MAXYEAR else first.replace(year=year + 1)
