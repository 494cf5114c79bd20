"""Trips of visits, with what people changed of them; and what they are called. Knows nothing of SQL.

Segments of several cameras that were together are one trip. Days beside it without a known position belong to
it. A trip depends only on the visits within REACH of it, so one trip is found without those of all years. The
places that cover most of its photos name it.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import compress, groupby
from operator import attrgetter

from tagger.database.enums import TripEditKind
from tagger.texts.names import city_name, slug_of_name
from tagger.texts.text_format import country_name, dates_text, gettext, list_text
from tagger.trips import Locality, TripEdit, TripReference, Visit
from tagger.trips.segments import GAP, GAP_IN_PLACE, Homes, TripSegment, group_segments, has_between

# A place with this share of the photos names the trip.
_MOST = 0.6
# Two places with this share together name it, if neither is small.
_BOTH = 0.8
_SMALL = 0.2
# Three cities or regions with this share each do not name it: their country does.
_STOP = 0.15
_COUNTRIES = 3


@dataclass(frozen=True)
class VisitedPlace:
    """A city of a trip, with the mean position of its photos in degrees, and their number. At sea: none."""

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
    east = (
        sum(visit.photos * ((visit.longitude - origin + 180) % 360 - 180) for visit in visits)
        / photos
    )
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
                if for_reader and level == "city":
                    name = city_name(name, place.country)
                elif for_reader and level == "country":
                    name = country_name(name)
                photos[name, place.country] += place.photos
        most_first = sorted(photos.items(), key=lambda entry: (-entry[1], entry[0][0]))
        shares = [(name, number / total) for (name, _), number in most_first]
        if sum(share >= _STOP for _, share in shares) > 2 and level != "country":
            continue
        is_one = bool(shares) and shares[0][1] >= _MOST
        are_two = (
            len(shares) > 1 and shares[1][1] >= _SMALL and shares[0][1] + shares[1][1] >= _BOTH
        )
        if are_two and not (is_one and level == "city"):
            return joined([shares[0][0], shares[1][0]])
        if is_one:
            return shares[0][0]
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
# The fewest photos of a trip without a night.
LEAST_PHOTOS_OF_A_DAY = 10
# Homes follow from five quarters before and after, and segments from ten days.
REACH = timedelta(days=500)


@dataclass(frozen=True, order=True)
class Span:
    """A time of a camera, with both ends. All its photos of that time belong to the trip."""

    camera_id: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Trip:
    """A trip, as the table `trips` keeps it. `name` is its place, like `Arles and Avignon`.

    `places`: most photos first. `days`: the first and the last. `given_name`: that of a person.
    `edits`: the changes of it, the newest last.
    """

    id: str
    name: str
    spans: tuple[Span, ...]
    places: tuple[VisitedPlace, ...]
    days: tuple[date, date]
    given_name: str | None = None
    edits: tuple[TripEdit, ...] = ()

    @property
    def first(self) -> datetime:
        return min(span.first for span in self.spans)

    @property
    def last(self) -> datetime:
        return max(span.last for span in self.spans)

    def contains(self, moment: TripReference) -> bool:
        """Whether the camera was on the trip at that time."""
        return _contain(self.spans, moment)

    @property
    def dates(self) -> str:
        return dates_text(*self.days)


@dataclass(frozen=True)
class GroupedTrip(Trip):
    """A trip with the visits that it was grouped from, which no table keeps with it."""

    visits: tuple[Visit, ...] = field(default=(), compare=False)

    @property
    def moment(self) -> TripReference:
        """The middle visit of the camera with most of them: it stays in the trip when its ends change."""
        visits_of = Counter(visit.camera_id for visit in self.visits)
        camera_id = max(visits_of, key=lambda each: (visits_of[each], each))
        times = sorted(visit.first for visit in self.visits if visit.camera_id == camera_id)
        return TripReference(camera_id, times[len(times) // 2])

    def without_visits(self) -> Trip:
        """The trip as it is kept."""
        return Trip(
            self.id, self.name, self.spans, self.places, self.days, self.given_name, self.edits
        )


def group_trips(visits: Iterable[Visit], edits: Iterable[TripEdit] = ()) -> list[GroupedTrip]:
    """The trips, in order of time. No photo belongs to two. The order of `visits` makes no difference.

    `edits`: the changes by people, in their order.
    """
    dated = _with_true_dates(list(visits))
    order = attrgetter("camera_id", "first", "last", "place", "latitude", "longitude", "folder")
    ordered = sorted(dated, key=order)
    located, others = (
        [each for each in ordered if each.is_located is known] for known in (True, False)
    )
    groups = group_segments(located, Homes(located))
    visits_of = {
        camera_id: list(some) for camera_id, some in groupby(located, key=attrgetter("camera_id"))
    }
    drafts = _with_days_beside(
        [_draft(group) for group in groups if _is_trip(group)], visits_of, others
    )
    times = {camera_id: [visit.first for visit in some] for camera_id, some in visits_of.items()}
    for edit in edits:
        drafts = _edited(drafts, edit, times)
    return _with_ids(sorted(map(_trip, drafts), key=lambda trip: (trip.first, trip.spans)))


def _with_true_dates(visits: Sequence[Visit]) -> Iterator[Visit]:
    """The visits whose dates a running clock says. 1 January may be true, on a trip over New Year."""
    days = {(visit.camera_id, visit.day) for visit in visits if visit.is_dated}
    for visit in visits:
        if visit.is_dated or (visit.camera_id, visit.day - timedelta(days=1)) in days:
            yield visit


def _is_trip(group: Sequence[TripSegment]) -> bool:
    days = {visit.day for segment in group for visit in segment.visits}
    photos = sum(visit.photos for segment in group for visit in segment.visits)
    return photos >= (LEAST_PHOTOS if len(days) > 1 else LEAST_PHOTOS_OF_A_DAY)


@dataclass(frozen=True)
class _Draft:
    """What a trip is made of. `beside`: days without a known position; `name`: that of a person."""

    spans: tuple[Span, ...]
    visits: tuple[Visit, ...]
    beside: tuple[Visit, ...] = ()
    name: str | None = None
    edits: tuple[TripEdit, ...] = ()


def _draft(group: Sequence[TripSegment]) -> _Draft:
    return _Draft(
        tuple(_spans(group)), tuple(visit for segment in group for visit in segment.visits)
    )


# How long the days beside a trip are at most, in its folder.
_LONGEST_BESIDE = timedelta(days=14)


def _with_days_beside(
    drafts: Sequence[_Draft], visits_of: Mapping[int, Sequence[Visit]], others: Iterable[Visit]
) -> list[_Draft]:
    """The trips with the days beside them without a known position, before the camera's next photo elsewhere.

    One day before and after them; more in a folder of the trip, unless the next photo elsewhere is in it.
    `visits_of`: the visits of each camera in order of time; `others`: those without a position.
    """
    others_of = {
        camera_id: list(some) for camera_id, some in groupby(others, key=attrgetter("camera_id"))
    }
    spans: dict[int, list[Span]] = defaultdict(list)
    for span in sorted(span for draft in drafts for span in draft.spans):
        spans[span.camera_id].append(span)
    longer: dict[Span, tuple[Span, tuple[Visit, ...]]] = {}
    for camera_id, of_camera in spans.items():
        end = datetime.min  # noqa: DTZ901 - cameras' times have no zone
        for span in of_camera:
            longer[span] = _with_others(
                span, end, visits_of[camera_id], others_of.get(camera_id, ())
            )
            end = longer[span][0].last
    return [
        replace(
            draft,
            spans=tuple(longer[span][0] for span in draft.spans),
            beside=tuple(visit for span in draft.spans for visit in longer[span][1]),
        )
        for draft in drafts
    ]


def _with_others(
    span: Span, end: datetime, visits: Sequence[Visit], others: Sequence[Visit]
) -> tuple[Span, tuple[Visit, ...]]:
    """The span with what is beside it without a known position, after the `end` of the trip before."""
    start, stop = (
        bisect_left(visits, span.first, key=attrgetter("first")),
        bisect_right(visits, span.last, key=attrgetter("first")),
    )
    folders = {visit.folder for visit in visits[start:stop]} - {""}
    before, after = visits[max(start - 1, 0) : start], visits[stop : stop + 1]
    begin = max([end, *(visit.last for visit in before)])
    limit = min((visit.first for visit in after), default=datetime.max)  # noqa: DTZ901 - as above
    at = bisect_left(others, span.first, key=attrgetter("first"))
    early, late = list[Visit](), list[Visit]()
    first, last = span.first, span.last
    for visit in map(others.__getitem__, range(at - 1, -1, -1)):
        if visit.first <= begin or not _is_beside(
            span.first.date(), first - visit.last, visit, folders, before
        ):
            break
        early.append(visit)
        first = visit.first
    for visit in map(others.__getitem__, range(at, len(others))):
        if visit.last > span.last:
            if visit.first >= limit or not _is_beside(
                span.last.date(), visit.first - last, visit, folders, after
            ):
                break
            late.append(visit)
            last = max(last, min(visit.last, limit - _INSTANT))
    return replace(span, first=first, last=last), (*early, *late)


def _is_beside(
    day: date, gap: timedelta, visit: Visit, folders: Collection[str], elsewhere: Sequence[Visit]
) -> bool:
    """Whether a visit without a position, `gap` away, is beside a trip that begins or ends on the day."""
    days = abs(visit.day - day)
    near = [other for other in elsewhere if abs(other.day - day) <= 2 * _LONGEST_BESIDE]
    if visit.folder in folders and all(other.folder != visit.folder for other in near):
        return gap <= GAP_IN_PLACE and days <= _LONGEST_BESIDE
    return gap <= GAP and days <= timedelta(days=1)


def _trip(draft: _Draft) -> GroupedTrip:
    places = visited_places(draft.visits)
    days = [visit.day for visit in (*draft.visits, *draft.beside)]
    of_days = min(days), max(days)
    name = place_name(places)
    return GroupedTrip(
        "", name, draft.spans, places, of_days, draft.name, draft.edits, draft.visits
    )


def _contain(spans: Iterable[Span], moment: TripReference) -> bool:
    return any(
        span.camera_id == moment.camera_id and span.first <= moment.taken_at <= span.last
        for span in spans
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
    others = [
        draft for draft, is_concerned in zip(drafts, concerned, strict=True) if not is_concerned
    ]
    return [*others, *after] if after else list(drafts)


def _split(draft: _Draft, at: datetime) -> Sequence[_Draft]:
    """The photos before a midnight, which keep the name, and those after it; nothing if one part has none."""
    early, beside_early, late, beside_late = (
        tuple(visit for visit in some if (visit.first < at) is is_early)
        for is_early in (True, False)
        for some in (draft.visits, draft.beside)
    )
    if not early or not late:
        return ()
    spans_before = (
        replace(span, last=min(span.last, at - _INSTANT)) for span in draft.spans if span.first < at
    )
    spans_after = (
        replace(span, first=max(span.first, at)) for span in draft.spans if span.last >= at
    )
    return [
        replace(draft, spans=tuple(spans_before), visits=early, beside=beside_early),
        _Draft(tuple(spans_after), late, beside_late, edits=draft.edits),
    ]


def _merged(drafts: Sequence[_Draft], times: Mapping[int, Sequence[datetime]]) -> _Draft:
    """One trip of several, with the first name, and times between them without a visit of the camera."""
    ordered = sorted(drafts, key=lambda draft: min(span.first for span in draft.spans))
    spans: list[Span] = []
    for span in sorted(span for draft in ordered for span in draft.spans):
        last = spans[-1] if spans else None
        if (
            last
            and last.camera_id == span.camera_id
            and not has_between(times[span.camera_id], last.last, span.first)
        ):
            spans[-1] = replace(last, last=span.last)
        else:
            spans.append(span)
    return _Draft(
        tuple(spans),
        tuple(visit for draft in ordered for visit in draft.visits),
        tuple(visit for draft in ordered for visit in draft.beside),
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


def _with_ids(trips: Sequence[GroupedTrip]) -> list[GroupedTrip]:
    """The trips with their ids: `2019-05-03-provence`, of one day the second `2019-05-03-provence-2`."""
    numbers: Counter[str] = Counter()
    named = []
    for trip in trips:
        slug = slug_of_name(trip.name) or "trip"
        trip_id = f"{min(visit.day for visit in trip.visits).isoformat()}-{slug}"
        numbers[trip_id] += 1
        named.append(
            replace(trip, id=trip_id if numbers[trip_id] == 1 else f"{trip_id}-{numbers[trip_id]}")
        )
    return named
