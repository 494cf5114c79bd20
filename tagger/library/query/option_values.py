"""Values of query options: circles and boxes on the ground, dates and years, and how their texts are read."""

from dataclasses import dataclass
from datetime import MAXYEAR, datetime

from tagger.errors import QueryOptionInvalid
from tagger.system.geo import distance_km

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
        """Whether a position is inside, along the earth's surface."""
        return distance_km(self.latitude, self.longitude, latitude, longitude) <= self.radius_km


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
        """The text of the option, in millionths of a degree at most."""
        sides = (self.south, self.west, self.north, self.east)
        return ",".join(f"{degrees:.6f}".rstrip("0").rstrip(".") for degrees in sides)

    def contains(self, latitude: float, longitude: float) -> bool:
        """Whether a position is inside, or at its edge."""
        if not self.south <= latitude <= self.north:
            return False
        if self.west <= self.east:
            return self.west <= longitude <= self.east
        return longitude >= self.west or longitude <= self.east


def parse_date(text: str | None, option: str) -> datetime | None:
    """The date, or date and time, of an option, in the camera's local time.

    Raises:
        QueryOptionInvalid: `text` is not an ISO 8601 date, or has a time zone.
    """
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        reason = f"{text!r} is not a date. Write it like 2024-06-01 or 2024-06-01T18:30"
        raise QueryOptionInvalid(option=option, reason=reason) from None
    if date.tzinfo is not None:
        reason = "Leave out the time zone. Cameras record local time without one"
        raise QueryOptionInvalid(option=option, reason=reason)
    return date


def parse_position(text: str, option: str) -> tuple[float, float]:
    """The latitude and longitude, in degrees, of an option with the form LAT,LON.

    Raises:
        QueryOptionInvalid: `text` is no position.
    """
    try:
        latitude, longitude = (float(number) for number in text.split(","))
    except ValueError:
        latitude = longitude = float("nan")
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        reason = f"{text!r} is not a position. Write latitude and longitude in degrees, like 48.86,2.29"
        raise QueryOptionInvalid(option=option, reason=reason)
    return latitude, longitude


def parse_box(text: str, option: str = "box") -> BoundingBox:
    """The bounds of the form SOUTH,WEST,NORTH,EAST, in degrees.

    Raises:
        QueryOptionInvalid: `text` has no such bounds.
    """
    try:
        south, west, north, east = (float(number) for number in text.split(","))
    except ValueError:
        south = west = north = east = float("nan")
    if not (-90 <= south <= north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
        reason = (
            f"{text!r} is not a box. Write south, west, north and east in degrees, like 48.8,2.2,48.9,2.4"
        )
        raise QueryOptionInvalid(option=option, reason=reason)
    return BoundingBox(south, west, north, east)


def year_limits(year: int) -> tuple[datetime, datetime | None]:
    """The first moment of a year, and that of the next one; None: there is no later year."""
    first = datetime(year, 1, 1)  # noqa: DTZ001 - local time
    return first, None if year == MAXYEAR else first.replace(year=year + 1)


def parse_near(position: str | None, radius_km: float | None) -> Near | None:
    """The circle around `position` (LAT,LON in degrees), by default with a radius of 10 km.

    Raises:
        QueryOptionInvalid: `position` is not one, or there is a radius without a position.
    """
    if position is None:
        if radius_km is not None:
            raise QueryOptionInvalid(option="radius_km", reason="needs a position: the option near")
        return None
    latitude, longitude = parse_position(position, "near")
    return Near(latitude, longitude, DEFAULT_RADIUS_KM if radius_km is None else radius_km)
