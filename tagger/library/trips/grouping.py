"""Trips of visits, with what people changed of them; and what they are called. Knows nothing of SQL.

Segments of several cameras that were together are one trip. A segment is what one camera took away from home without a break. It ends
where its camera was at home, after a gap in time (abroad a longer one), and at a jump into another country without a return soon after. A trip depends only
on the visits within REACH of it, so one trip is found without those of all years. The places that cover most of its photos name it.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import accumulate, chain, compress, groupby
from operator import attrgetter

from tagger.database.enums import TripEditKind
from tagger.library.trips import TripEdit, TripReference
from tagger.library.trips.homes import Homes, Locality, Visit
from tagger.system.geo import distance_km
from tagger.system.names import slug_of_name
from tagger.system.text_format import country_name, dates_text, gettext, list_text

_MOST = 0.6
"""A place with this share of the photos names the trip."""
_BOTH = 0.8
"""Two places with this share together name it, if neither is small."""
_SMALL = 0.2
_COUNTRIES = 3


@dataclass(frozen=True)
class VisitedPlace:
    """A city of a trip, the mean position of the photos there in degrees, and their number. At sea, there is no city."""

    city: str | None
    region: str | None
    country: str | None
    latitude: float
    longitude: float
    photos: int


def visited_places(visits: Iterable[Visit]) -> tuple[VisitedPlace, ...]:
    """The places of visits, most photos first."""
    visits_of: dict[Locality, list[Visit]] = defaultdict(list)
    for visit in visits:
        visits_of[visit.place].append(visit)

    def order(place: VisitedPlace) -> tuple[object, ...]:
        return -place.photos, place.country or "", place.city or "", place.latitude

    return tuple(sorted(map(_visited_place, visits_of, visits_of.values()), key=order))


def _visited_place(place: Locality, visits: Sequence[Visit]) -> VisitedPlace:
    photos = sum(visit.photos for visit in visits)
    # Around the first one, as a place may lie on both sides of the 180th meridian.
    origin = visits[0].longitude
    east = sum(visit.photos * ((visit.longitude - origin + 180) % 360 - 180) for visit in visits) / photos
    return VisitedPlace(
        place.city or None,
        place.region or None,
        place.country or None,
        sum(visit.photos * visit.latitude for visit in visits) / photos,
        (origin + east + 180) % 360 - 180,
        photos,
    )


def place_name(places: Sequence[VisitedPlace], *, for_reader: bool = False) -> str:
    """The city, region or country with most of the photos, or two of them: `Arles and Avignon`.

    `for_reader`: in the reader's language. Ids of trips have the English name.
    """
    joined = list_text if for_reader else _joined
    named = [place for place in places if place.country]
    total = sum(place.photos for place in named)
    countries: list[str] = []
    for level in ("city", "region", "country"):
        photos: Counter[tuple[str, str | None]] = Counter()
        for place in named:
            if name := getattr(place, level):
                is_named = for_reader and level == "country"
                photos[country_name(name) if is_named else name, place.country] += place.photos
        most_first = sorted(photos.items(), key=lambda entry: (-entry[1], entry[0][0]))
        shares = [(name, number / total) for (name, _), number in most_first]
        if shares and shares[0][1] >= _MOST:
            return shares[0][0]
        if len(shares) > 1 and shares[1][1] >= _SMALL and shares[0][1] + shares[1][1] >= _BOTH:
            return joined([shares[0][0], shares[1][0]])
        countries = [name for name, _ in shares]
    if not countries:
        return _coordinates(places[0].latitude, places[0].longitude)
    rest = len(countries) - _COUNTRIES
    more = gettext("more") if for_reader else "more"
    return joined(countries if rest <= 0 else [*countries[:_COUNTRIES], more])


def _joined(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _coordinates(latitude: float, longitude: float) -> str:
    """`64.8° S, 62.9° W`: a place without a country."""
    north_south, east_west = "NS"[latitude < 0], "EW"[longitude < 0]
    return f"{abs(latitude):.1f}° {north_south}, {abs(longitude):.1f}° {east_west}"


LEAST_PHOTOS = 5
LEAST_PHOTOS_OF_A_DAY = 10
"""The fewest photos of a trip without a night."""
REACH = timedelta(days=500)
"""Homes follow from five quarters before and after, and segments from ten days."""


@dataclass(frozen=True, order=True)
class Span:
    """A time of a camera, both ends included. All its photos in that time belong to the trip, whatever their position."""

    camera_id: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Trip:
    """A trip. `name` is its place, like `Arles and Avignon`, `given_name` that of a person; `places` are in order of their numbers of photos.

    `days`: the first and the last one of photos with a position; a trip that was split has those without one until midnight, too. `edits`: the changes by people that concern it, the newest last.
    """

    id: str
    name: str
    spans: tuple[Span, ...]
    places: tuple[VisitedPlace, ...]
    days: tuple[date, date]
    given_name: str | None = None
    edits: tuple[TripEdit, ...] = ()
    visits: tuple[Visit, ...] = ()

    @property
    def first(self) -> datetime:
        return min(span.first for span in self.spans)

    @property
    def last(self) -> datetime:
        return max(span.last for span in self.spans)

    @property
    def moment(self) -> TripReference:
        """The middle visit of the camera with most of them. It remains part of the trip as photos are added or removed at its ends, and a merge is undone."""
        visits_of = Counter(visit.camera_id for visit in self.visits)
        camera_id = max(visits_of, key=lambda each: (visits_of[each], each))
        times = sorted(visit.first for visit in self.visits if visit.camera_id == camera_id)
        return TripReference(camera_id, times[len(times) // 2])

    def contains(self, moment: TripReference) -> bool:
        """Whether the camera was on the trip at that time."""
        return _contain(self.spans, moment)

    @property
    def dates(self) -> str:
        return dates_text(*self.days)


def group_trips(visits: Iterable[Visit], edits: Iterable[TripEdit] = ()) -> list[Trip]:
    """The trips, in order of time. The order of `visits` makes no difference, and no photo belongs to two trips.

    `edits`: the changes by people, in their order.
    """
    order = attrgetter("camera_id", "first", "last", "place", "latitude", "longitude")
    ordered = sorted(_with_true_dates(list(visits)), key=order)
    homes = Homes(ordered)
    cameras = [list(of_camera) for _, of_camera in groupby(ordered, key=attrgetter("camera_id"))]
    home_times = [_home_times(of_camera, homes) for of_camera in cameras]
    all_home_times = sorted(chain.from_iterable(home_times))
    segments = [
        segment
        for of_camera, times in zip(cameras, home_times, strict=True)
        for segment in camera_segments(of_camera, homes, times, all_home_times)
    ]
    groups = (group for group in _together(segments) if _is_trip(group))
    drafts = [_draft(group) for group in groups]
    times = {of_camera[0].camera_id: [visit.first for visit in of_camera] for of_camera in cameras}
    for edit in edits:
        drafts = _edited(drafts, edit, times)
    return _with_ids(sorted(map(_trip, drafts), key=lambda trip: (trip.first, trip.spans)))


GAP = timedelta(hours=36)
"""The longest time without photos within a trip."""
GAP_IN_PLACE = timedelta(hours=72)
"""The same, if the photos before and after it are of one place: days of rain, or at the beach."""
GAP_ABROAD = timedelta(days=10)
"""The same, if the photos before and after it are of one country abroad, and no camera was at home meanwhile."""
PLACE_KM = 50.0
JUMP_KM = 500.0
RETURN = timedelta(days=7)
"""A jump ends no trip if the photos come back within this time: from an excursion, on a cruise, or after a wrong landmark."""
_MOMENT = timedelta(hours=1)


@dataclass(frozen=True)
class TripSegment:
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


def camera_segments(
    visits: Sequence[Visit],
    homes: Homes,
    home_times: Sequence[datetime],
    all_home_times: Sequence[datetime],
) -> list[TripSegment]:
    """The segments of one camera, in order of time; they do not overlap. `visits` are in order of their first photos.

    `home_times`: when this camera was at home, `all_home_times`: when any was.
    """
    segments: list[TripSegment] = []
    part: list[Visit] = []
    absence, last = 0, datetime.min  # noqa: DTZ901 - cameras' times have no zone

    def end_part() -> None:
        for each in _split_at_jumps(part):
            segments.append(TripSegment(each[0].camera_id, len(segments), absence, each))
        part.clear()

    for visit in visits:
        if homes.has(visit):
            continue
        was_home = _has_between(home_times, last, visit.first)
        is_away = not _has_between(all_home_times, last, visit.first)
        if part and (was_home or visit.first - last > _longest_gap(part[-1], visit, homes, is_away)):
            end_part()
            absence += was_home
        part.append(visit)
        last = max(last, visit.last)
    if part:
        end_part()
    return segments


def _has_between(times: Sequence[datetime], first: datetime, last: datetime) -> bool:
    return bisect_right(times, first) < bisect_left(times, last)


def _longest_gap(before: Visit, after: Visit, homes: Homes, is_away: bool) -> timedelta:
    """The longest time without photos between two visits of one trip. `is_away`: no camera was at home meanwhile."""
    is_one_country = before.place.country == after.place.country
    if is_away and is_one_country and homes.is_abroad(before) and homes.is_abroad(after):
        return GAP_ABROAD
    return GAP_IN_PLACE if are_near(before, after) else GAP


def are_near(visit: Visit, other: Visit) -> bool:
    """Whether two visits are of one place."""
    return _km(visit, other) <= PLACE_KM


def _with_true_dates(visits: Sequence[Visit]) -> Iterator[Visit]:
    """The visits whose dates a running clock says. 1 January may be true, on a trip over New Year."""
    days = {(visit.camera_id, visit.day) for visit in visits if visit.is_dated}
    for visit in visits:
        if visit.is_dated or (visit.camera_id, visit.day - timedelta(days=1)) in days:
            yield visit


def _together(segments: Sequence[TripSegment]) -> Iterator[list[TripSegment]]:
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
    groups: dict[int, list[TripSegment]] = defaultdict(list)
    for number, segment in enumerate(segments):
        groups[group(number)].append(segment)
    yield from groups.values()


def _is_trip(group: Sequence[TripSegment]) -> bool:
    days = {visit.day for segment in group for visit in segment.visits}
    photos = sum(visit.photos for segment in group for visit in segment.visits)
    return photos >= (LEAST_PHOTOS if len(days) > 1 else LEAST_PHOTOS_OF_A_DAY)


@dataclass(frozen=True)
class _Draft:
    """What a trip is made of. `name`: the one that a person gave it."""

    spans: tuple[Span, ...]
    visits: tuple[Visit, ...]
    name: str | None = None
    edits: tuple[TripEdit, ...] = ()


def _draft(group: Sequence[TripSegment]) -> _Draft:
    return _Draft(tuple(_spans(group)), tuple(visit for segment in group for visit in segment.visits))


def _trip(draft: _Draft) -> Trip:
    places = visited_places(draft.visits)
    days = [visit.day for visit in draft.visits]
    of_days = min(days), max(days)
    name = place_name(places)
    return Trip("", name, draft.spans, places, of_days, draft.name, draft.edits, draft.visits)


def _contain(spans: Iterable[Span], moment: TripReference) -> bool:
    return any(
        span.camera_id == moment.camera_id and span.first <= moment.taken_at <= span.last for span in spans
    )


_INSTANT = timedelta(microseconds=1)


def _edited(
    drafts: Sequence[_Draft], edit: TripEdit, times: Mapping[int, Sequence[datetime]]
) -> list[_Draft]:
    """The trips after an edit. One whose trips are not there any more changes nothing.

    `times`: when the visits of each camera began.
    """
    moments = [moment for moment in (edit.moment, edit.other) if moment is not None]
    concerned = [any(_contain(draft.spans, moment) for moment in moments) for draft in drafts]
    before = [replace(draft, edits=(*draft.edits, edit)) for draft in compress(drafts, concerned)]
    after: Sequence[_Draft] = ()
    if edit.kind is TripEditKind.RENAME and before:
        after = [replace(before[0], name=edit.name)]
    elif edit.kind is TripEditKind.SPLIT and before and edit.split_at is not None:
        after = _split(before[0], edit.split_at)
    elif edit.kind is TripEditKind.MERGE and len(before) > 1:
        after = [_merged(before, times)]
    others = [draft for draft, is_concerned in zip(drafts, concerned, strict=True) if not is_concerned]
    return [*others, *after] if after else list(drafts)


def _split(draft: _Draft, at: datetime) -> Sequence[_Draft]:
    """The photos before a midnight, which keep the name, and those after it; nothing if one part has none."""
    early = tuple(visit for visit in draft.visits if visit.first < at)
    late = tuple(visit for visit in draft.visits if visit.first >= at)
    if not early or not late:
        return ()
    spans_before = (
        replace(span, last=min(span.last, at - _INSTANT)) for span in draft.spans if span.first < at
    )
    spans_after = (replace(span, first=max(span.first, at)) for span in draft.spans if span.last >= at)
    return [
        replace(draft, spans=tuple(spans_before), visits=early),
        _Draft(tuple(spans_after), late, edits=draft.edits),
    ]


def _merged(drafts: Sequence[_Draft], times: Mapping[int, Sequence[datetime]]) -> _Draft:
    """One trip of several, with the first name. A time between two in which a camera has no visit belongs to it, too."""
    ordered = sorted(drafts, key=lambda draft: min(span.first for span in draft.spans))
    spans: list[Span] = []
    for span in sorted(span for draft in ordered for span in draft.spans):
        last = spans[-1] if spans else None
        if (
            last
            and last.camera_id == span.camera_id
            and not _has_between(times[span.camera_id], last.last, span.first)
        ):
            spans[-1] = replace(last, last=span.last)
        else:
            spans.append(span)
    return _Draft(
        tuple(spans),
        tuple(visit for draft in ordered for visit in draft.visits),
        next((draft.name for draft in ordered if draft.name is not None), None),
        tuple(sorted({edit for draft in ordered for edit in draft.edits}, key=attrgetter("id"))),
    )


def _spans(group: Sequence[TripSegment]) -> Iterator[Span]:
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
        trip_id = f"{trip.days[0].isoformat()}-{slug}"
        numbers[trip_id] += 1
        named.append(replace(trip, id=trip_id if numbers[trip_id] == 1 else f"{trip_id}-{numbers[trip_id]}"))
    return named


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
    # Visits are in order of their beginnings, and `ends` grows, so only visits within RETURN are compared.
    begin = bisect_left(ends, after.first - RETURN, hi=index)
    end = bisect_right(visits, before.last + RETURN, lo=index, key=attrgetter("first"))
    earlier = [visit for visit in visits[begin:index] if visit.last >= after.first - RETURN]
    return not any(_km(visit, other) <= JUMP_KM / 2 for visit in earlier for other in visits[index:end])


def _km(visit: Visit, other: Visit) -> float:
    return distance_km(visit.latitude, visit.longitude, other.latitude, other.longitude)
