"""Trips of visits: segments of several cameras that were together are one trip. Knows nothing of SQL.

A trip depends only on the visits within REACH of it, so one trip is found without those of all years.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from operator import attrgetter

from tagger.library.trips.homes import Homes, Visit
from tagger.library.trips.moment import TripMoment
from tagger.library.trips.names import VisitedPlace, format_dates, place_name, visited_places
from tagger.library.trips.segments import Segment, are_near, camera_segments
from tagger.system.names import slug_of_name

LEAST_PHOTOS = 5
LEAST_PHOTOS_OF_A_DAY = 10
"""Of a trip without a night."""
REACH = timedelta(days=500)
"""Homes follow from five quarters before and after, and segments from a week."""


@dataclass(frozen=True, order=True)
class Span:
    """A time of a camera, both ends included. All its photos in that time belong to the trip, whatever their position."""

    camera_id: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Trip:
    """A trip. `name` is its place, like `Arles and Avignon`; `places` are in order of their numbers of photos."""

    id: str
    name: str
    spans: tuple[Span, ...]
    places: tuple[VisitedPlace, ...]

    @property
    def first(self) -> datetime:
        return min(span.first for span in self.spans)

    @property
    def last(self) -> datetime:
        return max(span.last for span in self.spans)

    @property
    def moment(self) -> TripMoment:
        """The middle of its longest span, which remains part of it as photos are added or removed at its ends."""
        span = max(self.spans, key=lambda each: (each.last - each.first, each))
        return TripMoment(span.camera_id, span.first + (span.last - span.first) / 2)

    def contains(self, moment: TripMoment) -> bool:
        """Whether the camera was on the trip at that time."""
        return any(
            span.camera_id == moment.camera_id and span.first <= moment.taken_at <= span.last
            for span in self.spans
        )

    @property
    def dates(self) -> str:
        return format_dates(self.first.date(), self.last.date())


def group_trips(visits: Iterable[Visit]) -> list[Trip]:
    """The trips, in order of time. The order of `visits` makes no difference, and no photo belongs to two trips."""
    ordered = sorted(_with_true_dates(list(visits)), key=_order)
    homes = Homes(ordered)
    segments = [
        segment
        for _, of_camera in groupby(ordered, key=attrgetter("camera_id"))
        for segment in camera_segments(list(of_camera), homes)
    ]
    groups = (group for group in _together(segments) if _is_trip(group))
    return _with_ids(sorted(map(_trip, groups), key=lambda trip: (trip.first, trip.spans)))


def _with_true_dates(visits: Sequence[Visit]) -> Iterator[Visit]:
    """The visits whose dates a running clock says. 1 January may be true, on a trip over New Year."""
    days = {(visit.camera_id, visit.day) for visit in visits if visit.is_dated}
    for visit in visits:
        if visit.is_dated or (visit.camera_id, visit.day - timedelta(days=1)) in days:
            yield visit


def _order(visit: Visit) -> tuple[object, ...]:
    return visit.camera_id, visit.first, visit.last, visit.place, visit.latitude, visit.longitude


def _together(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """The segments in groups: those of cameras that were in one place on the same day, or around one midnight."""
    group_of = list(range(len(segments)))

    def group(number: int) -> int:
        while group_of[number] != number:
            group_of[number] = group_of[group_of[number]]
            number = group_of[number]
        return number

    visits_on: dict[date, list[tuple[int, Visit]]] = defaultdict(list)
    for number, segment in enumerate(segments):
        for visit in segment.visits:
            visits_on[visit.day].append((number, visit))
    for number, segment in enumerate(segments):
        for visit in segment.visits:
            for other_number, other in visits_on[visit.day]:
                is_other_camera = other.camera_id != visit.camera_id
                if is_other_camera and group(number) != group(other_number) and are_near(visit, other):
                    group_of[group(number)] = group(other_number)
    groups: dict[int, list[Segment]] = defaultdict(list)
    for number, segment in enumerate(segments):
        groups[group(number)].append(segment)
    yield from groups.values()


def _is_trip(group: Sequence[Segment]) -> bool:
    days = {visit.day for segment in group for visit in segment.visits}
    photos = sum(visit.photos for segment in group for visit in segment.visits)
    return photos >= (LEAST_PHOTOS if len(days) > 1 else LEAST_PHOTOS_OF_A_DAY)


def _trip(group: Sequence[Segment]) -> Trip:
    places = visited_places(visit for segment in group for visit in segment.visits)
    return Trip("", place_name(places), tuple(_spans(group)), places)


def _spans(group: Sequence[Segment]) -> Iterator[Span]:
    """The times of the cameras. A gap in the photos of one that only others fill is part of its time."""
    ordered = sorted(group, key=lambda segment: (segment.camera_id, segment.number))
    spans: list[Span] = []
    for before, segment in zip([None, *ordered], ordered, strict=False):
        if before is not None and (before.camera_id, before.number + 1, before.absence) == (
            segment.camera_id,
            segment.number,
            segment.absence,
        ):
            spans[-1] = replace(spans[-1], last=segment.last)
        else:
            spans.append(Span(segment.camera_id, segment.first, segment.last))
    yield from spans


def _with_ids(trips: Sequence[Trip]) -> list[Trip]:
    """The trips with ids of their first days and names: `2019-05-03-provence`; the second of one day is `2019-05-03-provence-2`."""
    numbers: Counter[str] = Counter()
    named = []
    for trip in trips:
        slug = slug_of_name(trip.name) or "trip"
        trip_id = f"{trip.first.date().isoformat()}-{slug}"
        numbers[trip_id] += 1
        named.append(replace(trip, id=trip_id if numbers[trip_id] == 1 else f"{trip_id}-{numbers[trip_id]}"))
    return named
