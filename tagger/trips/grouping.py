"""Trips of visits, with what people changed of them; and what they are called. Knows nothing of SQL.

Segments of several cameras that were together are one trip. Days beside it without a known position belong to
it. A trip depends only on the visits within REACH of it, so one trip is found without those of all years. The
places that cover most of its photos name it.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from operator import attrgetter

from tagger.database import TripEditKind
from tagger.texts.names import city_name, slug_of_name
from tagger.texts.text_format import country_name, dates_text, gettext, list_text
from tagger.trips import (
    GAP,
    GAP_IN_PLACE,
    Locality,
    TripEdit,
    TripReference,
    TripSegment,
    Visit,
    group_segments,
    has_between,
)

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
    visits_of = defaultdict[Locality, list[Visit]](list)
    for visit in visits:
        visits_of[visit.place].append(visit)
    places = []
    for place, of_place in visits_of.items():
        photos = sum(visit.photos for visit in of_place)
        north = sum(visit.photos * visit.latitude for visit in of_place)
        # Around the first one, as a place may lie on both sides of the 180th meridian.
        origin = of_place[0].longitude
        east = sum(
            visit.photos * ((visit.longitude - origin + 180) % 360 - 180)
            for visit in of_place
        )
        places.append(
            VisitedPlace(
                city=place.city or None,
                region=place.region or None,
                country=place.country or None,
                latitude=north / photos,
                longitude=(origin + east / photos + 180) % 360 - 180,
                photos=photos,
            )
        )

    def order(place: VisitedPlace) -> tuple[object, ...]:
        return -place.photos, place.country or "", place.city or "", place.latitude

    return tuple(sorted(places, key=order))


def place_name(places: Sequence[VisitedPlace], *, for_reader: bool = False) -> str:
    """The city, region or country with most of the photos, or two of them: `Arles and Avignon`.

    `for_reader`: in the reader's language. Ids of trips have the English name.
    """
    joined = list_text if for_reader else _joined
    places_with_country = [place for place in places if place.country]
    if not places_with_country:
        # `64.8° S, 62.9° W`: a place without a country.
        latitude, longitude = places[0].latitude, places[0].longitude
        north_south, east_west = "NS"[latitude < 0], "EW"[longitude < 0]
        return f"{abs(latitude):.1f}° {north_south}, {abs(longitude):.1f}° {east_west}"
    if for_reader:
        places_with_country = [
            replace(
                place,
                city=place.city and city_name(place.city, place.country),
                country=country_name(place.country or ""),
            )
            for place in places_with_country
        ]
    total = sum(place.photos for place in places_with_country)
    names: list[str] = []
    for level in ("city", "region", "country"):
        photos: Counter[tuple[str, str | None]] = Counter()
        for place in places_with_country:
            if name := getattr(place, level):
                photos[name, place.country] += place.photos
        most_first = sorted(
            photos.items(),
            key=lambda entry: (-entry[1], entry[0][0]),
        )
        names = [name for (name, _), _ in most_first]
        shares = [number / total for _, number in most_first]
        if level != "country" and sum(share >= _STOP for share in shares) > 2:
            continue
        first, second, *_ = (*shares, 0.0, 0.0)
        is_one = first >= _MOST
        are_two = second >= _SMALL and first + second >= _BOTH
        if are_two and not (is_one and level == "city"):
            return joined(names[:2])
        if is_one:
            return names[0]
    if len(names) <= _COUNTRIES:
        return joined(names)
    more = gettext("more") if for_reader else "more"
    return joined([*names[:_COUNTRIES], more])


def _joined(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


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
        return _contain(self.spans, moment)

    @property
    def dates(self) -> str:
        return dates_text(*self.days)


@dataclass(frozen=True)
class GroupedTrip(Trip):
    visits: tuple[Visit, ...] = field(default=(), compare=False)

    @property
    def moment(self) -> TripReference:
        """The middle visit of the camera with most of them: it stays in the trip when its ends change."""
        visits_of = Counter(visit.camera_id for visit in self.visits)
        camera_id = max(visits_of, key=lambda each: (visits_of[each], each))
        times = sorted(
            visit.first for visit in self.visits if visit.camera_id == camera_id
        )
        return TripReference(camera_id, times[len(times) // 2])

    def without_visits(self) -> Trip:
        return Trip(
            self.id,
            self.name,
            self.spans,
            self.places,
            self.days,
            self.given_name,
            self.edits,
        )


def group_trips(
    visits: Iterable[Visit], edits: Iterable[TripEdit] = ()
) -> list[GroupedTrip]:
    """The trips, in order of time. No photo belongs to two. The order of `visits` makes no difference.

    `edits`: the changes by people, in their order.
    """
    every = list(visits)
    # 1 January is a true date if the camera has photos of the day before: on a trip over New Year.
    dated_days = {(visit.camera_id, visit.day) for visit in every if visit.is_dated}
    dated = [
        visit
        for visit in every
        if visit.is_dated or (visit.camera_id, visit.day - _ONE_DAY) in dated_days
    ]
    dated.sort(
        key=attrgetter(
            "camera_id", "first", "last", "place", "latitude", "longitude", "folder"
        )
    )
    located = [visit for visit in dated if visit.is_located]
    drafts = []
    for group in group_segments(located):
        visits_of_group = tuple(visit for segment in group for visit in segment.visits)
        has_night = len({visit.day for visit in visits_of_group}) > 1
        least = LEAST_PHOTOS if has_night else LEAST_PHOTOS_OF_A_DAY
        if sum(visit.photos for visit in visits_of_group) >= least:
            drafts.append(_Draft(_spans(group), visits_of_group))
    visits_of = _by_camera(located)
    others_of = _by_camera(visit for visit in dated if not visit.is_located)
    # The trips with the days beside them without a known position, before the camera's next photo elsewhere.
    #
    # One day before and after them; more in a folder of the trip, unless the next photo elsewhere is in it.
    # `visits_of`: the visits of each camera in order of time; `others_of`: those without a position.
    longer: dict[Span, tuple[Span, tuple[Visit, ...]]] = {}
    spans = sorted(span for draft in drafts for span in draft.spans)
    for camera_id, of_camera in groupby(spans, key=attrgetter("camera_id")):
        end_of_before = datetime.min  # noqa: DTZ901 - cameras' times have no zone
        for span in of_camera:
            longer[span] = _with_others(
                span,
                end_of_before,
                visits_of[camera_id],
                others_of.get(camera_id, ()),
            )
            end_of_before = longer[span][0].last
    drafts = [
        replace(
            draft,
            spans=tuple(longer[span][0] for span in draft.spans),
            beside=tuple(visit for span in draft.spans for visit in longer[span][1]),
        )
        for draft in drafts
    ]
    times = {
        camera_id: [visit.first for visit in of_camera]
        for camera_id, of_camera in visits_of.items()
    }
    for edit in edits:
        drafts = _edited(drafts, edit, times)
    return _with_ids(sorted(map(_trip, drafts), key=attrgetter("first", "spans")))


def _by_camera(visits: Iterable[Visit]) -> dict[int, list[Visit]]:
    runs = groupby(visits, key=attrgetter("camera_id"))
    return {camera_id: list(run) for camera_id, run in runs}


@dataclass(frozen=True)
class _Draft:
    # What a trip is made of. `beside`: days without a known position; `name`: that of a person.
    spans: tuple[Span, ...]
    visits: tuple[Visit, ...]
    beside: tuple[Visit, ...] = ()
    name: str | None = None
    edits: tuple[TripEdit, ...] = ()


def _spans(segments: Sequence[TripSegment]) -> tuple[Span, ...]:
    # The times of the cameras. A gap in the photos of one that only others fill is part of its time.
    spans: list[Span] = []
    next_of_before = None
    for segment in sorted(segments, key=attrgetter("camera_id", "number")):
        if next_of_before == (segment.camera_id, segment.number, segment.absence):
            spans[-1] = replace(spans[-1], last=segment.last)
        else:
            spans.append(Span(segment.camera_id, segment.first, segment.last))
        next_of_before = segment.camera_id, segment.number + 1, segment.absence
    return tuple(spans)


# ----- days beside a trip without a known position -----

_ONE_DAY = timedelta(days=1)
# How long the days beside a trip are at most, in its folder.
_LONGEST_BESIDE = timedelta(days=14)
_INSTANT = timedelta(microseconds=1)


def _with_others(
    span: Span,
    end_of_before: datetime,
    visits: Sequence[Visit],
    others: Sequence[Visit],
) -> tuple[Span, tuple[Visit, ...]]:
    # The span with what is beside it without a known position, after the end of the trip before.
    start = bisect_left(visits, span.first, key=attrgetter("first"))
    stop = bisect_right(visits, span.last, key=attrgetter("first"))
    folders = {visit.folder for visit in visits[start:stop]} - {""}
    before = visits[start - 1] if start > 0 else None
    after = visits[stop] if stop < len(visits) else None
    first, last = span.first, span.last
    middle = bisect_left(others, first, key=attrgetter("first"))

    early = []
    begin = end_of_before if before is None else max(end_of_before, before.last)
    folders_before = _without_folder(folders, before, span.first.date())
    for visit in reversed(others[:middle]):
        days = span.first.date() - visit.day
        is_of_folder = visit.folder in folders_before
        if visit.first <= begin or not _is_beside(
            first - visit.last,
            days,
            is_of_folder,
        ):
            break
        early.append(visit)
        first = visit.first

    late = []
    limit = datetime.max if after is None else after.first  # noqa: DTZ901 - as above
    folders_after = _without_folder(folders, after, span.last.date())
    for visit in others[middle:]:
        if visit.last <= span.last:
            continue
        days = visit.day - span.last.date()
        is_of_folder = visit.folder in folders_after
        if visit.first >= limit or not _is_beside(
            visit.first - last,
            days,
            is_of_folder,
        ):
            break
        late.append(visit)
        last = max(last, min(visit.last, limit - _INSTANT))
    return replace(span, first=first, last=last), (*early, *late)


def _without_folder(
    folders: set[str],
    elsewhere: Visit | None,
    day: date,
) -> set[str]:
    # Without that of a visit elsewhere, soon before or after: the folder is not of the trip alone.
    if elsewhere is None or abs(elsewhere.day - day) > 2 * _LONGEST_BESIDE:
        return folders
    return folders - {elsewhere.folder}


def _is_beside(gap: timedelta, days: timedelta, is_of_folder: bool) -> bool:
    if is_of_folder:
        return gap <= GAP_IN_PLACE and abs(days) <= _LONGEST_BESIDE
    return gap <= GAP and abs(days) <= _ONE_DAY


# ----- edits -----


def _trip(draft: _Draft) -> GroupedTrip:
    places = visited_places(draft.visits)
    days = [visit.day for visit in (*draft.visits, *draft.beside)]
    return GroupedTrip(
        id="",
        name=place_name(places),
        spans=draft.spans,
        places=places,
        days=(min(days), max(days)),
        given_name=draft.name,
        edits=draft.edits,
        visits=draft.visits,
    )


def _contain(spans: Iterable[Span], moment: TripReference) -> bool:
    of_camera = (span for span in spans if span.camera_id == moment.camera_id)
    return any(span.first <= moment.taken_at <= span.last for span in of_camera)


def _edited(
    drafts: Sequence[_Draft],
    edit: TripEdit,
    times: Mapping[int, Sequence[datetime]],
) -> list[_Draft]:
    # The trips after an edit. One whose trips are not there any more changes nothing.
    #
    # `times`: when the visits of each camera began.
    moments = [moment for moment in (edit.moment, edit.other) if moment is not None]
    concerned, others = list[_Draft](), list[_Draft]()
    for draft in drafts:
        if any(_contain(draft.spans, moment) for moment in moments):
            concerned.append(replace(draft, edits=(*draft.edits, edit)))
        else:
            others.append(draft)
    edited: list[_Draft] = []
    if edit.kind is TripEditKind.RENAME and concerned:
        edited = [replace(concerned[0], name=edit.name)]
    elif edit.kind is TripEditKind.SPLIT and concerned and edit.split_at is not None:
        edited = _split(concerned[0], edit.split_at)
    elif edit.kind is TripEditKind.MERGE and len(concerned) > 1:
        # One trip of several, with the first name, and times between them without a visit of the camera.
        ordered = sorted(
            concerned,
            key=lambda draft: min(span.first for span in draft.spans),
        )
        spans: list[Span] = []
        for span in sorted(span for draft in ordered for span in draft.spans):
            is_of_camera = bool(spans) and spans[-1].camera_id == span.camera_id
            if is_of_camera and not has_between(
                times[span.camera_id],
                spans[-1].last,
                span.first,
            ):
                spans[-1] = replace(spans[-1], last=span.last)
            else:
                spans.append(span)
        names = [draft.name for draft in ordered if draft.name is not None]
        edits = {edit for draft in ordered for edit in draft.edits}
        merged = _Draft(
            spans=tuple(spans),
            visits=tuple(visit for draft in ordered for visit in draft.visits),
            beside=tuple(visit for draft in ordered for visit in draft.beside),
            name=names[0] if names else None,
            edits=tuple(sorted(edits, key=attrgetter("id"))),
        )
        edited = [merged]
    return [*others, *edited] if edited else list(drafts)


def _split(draft: _Draft, midnight: datetime) -> list[_Draft]:
    # The photos before a midnight, which keep the name, and those after it; nothing if one part has none.
    early = replace(
        draft,
        visits=tuple(visit for visit in draft.visits if visit.first < midnight),
        beside=tuple(visit for visit in draft.beside if visit.first < midnight),
        spans=tuple(
            replace(span, last=min(span.last, midnight - _INSTANT))
            for span in draft.spans
            if span.first < midnight
        ),
    )
    late = _Draft(
        visits=tuple(visit for visit in draft.visits if visit.first >= midnight),
        beside=tuple(visit for visit in draft.beside if visit.first >= midnight),
        spans=tuple(
            replace(span, first=max(span.first, midnight))
            for span in draft.spans
            if span.last >= midnight
        ),
        edits=draft.edits,
    )
    return [early, late] if early.visits and late.visits else []


def _with_ids(trips: Sequence[GroupedTrip]) -> list[GroupedTrip]:
    # The trips with their ids: `2019-05-03-provence`, of one day the second `2019-05-03-provence-2`.
    numbers = Counter[str]()
    trips_with_ids = []
    for trip in trips:
        first_day = min(visit.day for visit in trip.visits)
        trip_id = f"{first_day.isoformat()}-{slug_of_name(trip.name) or 'trip'}"
        numbers[trip_id] += 1
        suffix = f"-{numbers[trip_id]}" if numbers[trip_id] > 1 else ""
        trips_with_ids.append(replace(trip, id=f"{trip_id}{suffix}"))
    return trips_with_ids
