"""Trips: photos away from home, grouped by time and place; and what people change of them."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from tagger.database.enums import TripEditKind


@dataclass(frozen=True)
class TripReference:
    """It tells the trip from another one that has its id later."""

    camera_id: int
    taken_at: datetime


@dataclass(frozen=True)
class TripEdit:
    """A change of the trip with this moment: a `name`, a split at midnight, or a merge with that of `other`.

    A `name` of None is that of the place. `moment` is in the later part of a split.
    """

    id: int
    kind: TripEditKind
    moment: TripReference
    name: str | None = None
    split_at: datetime | None = None
    other: TripReference | None = None


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """The city of a visit; at sea, all three are empty. Some small countries have no regions."""

    country: str = ""
    region: str = ""
    city: str = ""


class Visit(NamedTuple):
    """The photos of a camera in one place on one day, with their mean position in degrees.

    `is_measured`: by a GPS receiver, of the camera or of a track. Else all positions follow from landmarks.
    `is_dated`: the clock was set, as far as the date says. Photos of the day before make any date a true one.
    `folder`: that of all these photos; empty: they are in several, or in none.
    `is_located`: their position is known. Other visits have no place.
    """

    camera_id: int
    day: date
    place: Locality
    latitude: float
    longitude: float
    photos: int
    first: datetime
    last: datetime
    is_measured: bool = True
    is_dated: bool = True
    folder: str = ""
    is_located: bool = True
