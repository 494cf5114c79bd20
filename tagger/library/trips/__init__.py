"""Trips: photos away from home, grouped by time and place. Computed on request from where photos were taken; nothing is stored."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class TripReference:
    """A camera and a time inside a trip. It tells the trip from another one that has its id later."""

    camera_id: int
    taken_at: datetime
