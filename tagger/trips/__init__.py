"""Trips: photos away from home, grouped by time and place; and what people change of them."""

from dataclasses import dataclass
from datetime import datetime

from tagger.database.enums import TripEditKind


@dataclass(frozen=True)
class TripReference:
    """A camera and a time inside a trip. It tells the trip from another one that has its id later."""

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
