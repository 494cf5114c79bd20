"""Segments: what one camera took away from home without a break. Knows nothing of SQL.

A segment ends where its camera was at home, after a gap in time, and at a jump into another country that nobody returns from soon.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from operator import attrgetter

from tagger.library.trips.homes import Homes, Visit
from tagger.system.geo import distance_km

GAP = timedelta(hours=36)
"""The longest time without photos within a trip."""
GAP_IN_PLACE = timedelta(hours=72)
"""The same, if the photos before and after it are of one place: days of rain, or at the beach."""
PLACE_KM = 50.0
JUMP_KM = 500.0
RETURN = timedelta(days=7)
"""A jump ends no trip if the photos come back within this time: from an excursion, on a cruise, or after a wrong landmark."""
_MOMENT = timedelta(hours=1)


@dataclass(frozen=True)
class Segment:
    """Visits of one camera, by number. `absence` numbers its times away from home: segments of the same one have no home between them."""

    camera_id: int
    number: int
    absence: int
    visits: tuple[Visit, ...]

    @property
    def first(self) -> datetime:
        return self.visits[0].first

    @property
    def last(self) -> datetime:
        return max(visit.last for visit in self.visits)


def camera_segments(visits: Sequence[Visit], homes: Homes) -> list[Segment]:
    """The segments of one camera, in order of time; they do not overlap. `visits` are in order of their first photos."""
    home_times = _home_times(visits, homes)
    segments: list[Segment] = []
    part: list[Visit] = []
    absence, last = 0, datetime.min  # noqa: DTZ901 - cameras' times have no zone

    def end_part() -> None:
        for each in _split_at_jumps(part):
            segments.append(Segment(each[0].camera_id, len(segments), absence, each))
        part.clear()

    for visit in visits:
        if homes.has(visit):
            continue
        was_home = bisect_right(home_times, last) < bisect_left(home_times, visit.first)
        if part and (was_home or _is_gap(part, visit, visit.first - last)):
            end_part()
            absence += was_home
        part.append(visit)
        last = max(last, visit.last)
    if part:
        end_part()
    return segments


def _home_times(visits: Sequence[Visit], homes: Homes) -> list[datetime]:
    """When the camera was at home: the first and last photos of its visits. One moment with a wrong landmark is left out."""
    is_home = [homes.has(visit) for visit in visits]
    times = []
    for index, visit in enumerate(visits):
        around = is_home[max(0, index - 1) : index + 2]
        is_alone = len(around) == 3 and not around[0] and not around[2]
        is_moment = visit.last - visit.first <= _MOMENT
        if is_home[index] and (visit.is_measured or not is_moment or not is_alone):
            times += [visit.first, visit.last]
    return sorted(times)


def _is_gap(part: Sequence[Visit], visit: Visit, gap: timedelta) -> bool:
    return gap > GAP and (gap > GAP_IN_PLACE or not are_near(part[-1], visit))


def are_near(visit: Visit, other: Visit) -> bool:
    """Whether two visits are of one place."""
    return _km(visit, other) <= PLACE_KM


def _split_at_jumps(visits: Sequence[Visit]) -> Iterator[tuple[Visit, ...]]:
    start = 0
    ends = list(accumulate((visit.last for visit in visits), max))  # of all visits so far
    for index in range(1, len(visits)):
        if visits[index].first > ends[index - 1] and _is_departure(visits, ends, index):
            yield tuple(visits[start:index])
            start = index
    yield tuple(visits[start:])


def _is_departure(visits: Sequence[Visit], ends: Sequence[datetime], index: int) -> bool:
    """Whether the visit at this index begins a trip of its own: far away, in another country, and for good."""
    before, after = visits[index - 1], visits[index]
    countries = {before.place.country, after.place.country}
    if len(countries) == 1 or "" in countries or _km(before, after) <= JUMP_KM:
        return False
    # Visits are in order of their beginnings, and `ends` grows: only those within RETURN are looked at.
    begin = bisect_left(ends, after.first - RETURN, hi=index)
    end = bisect_right(visits, before.last + RETURN, lo=index, key=attrgetter("first"))
    earlier = [visit for visit in visits[begin:index] if visit.last >= after.first - RETURN]
    return not any(_km(visit, other) <= JUMP_KM / 2 for visit in earlier for other in visits[index:end])


def _km(visit: Visit, other: Visit) -> float:
    return distance_km(visit.latitude, visit.longitude, other.latitude, other.longitude)
