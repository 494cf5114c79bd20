"""What trips are called: the places that cover most of their photos, and their dates."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from tagger.library.trips.homes import Place, Visit

_MOST = 0.6
"""A place with this share of the photos names the trip."""
_BOTH = 0.8
"""Two places with this share together name it, if neither is small."""
_SMALL = 0.2
_COUNTRIES = 3
_DASH = "\N{EN DASH}"
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


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
    visits_of: dict[Place, list[Visit]] = defaultdict(list)
    for visit in visits:
        visits_of[visit.place].append(visit)
    places = [_visited_place(place, of_place) for place, of_place in visits_of.items()]
    return tuple(
        sorted(
            places, key=lambda place: (-place.photos, place.country or "", place.city or "", place.latitude)
        )
    )


def _visited_place(place: Place, visits: Sequence[Visit]) -> VisitedPlace:
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


def place_name(places: Sequence[VisitedPlace]) -> str:
    """The city, region or country with most of the photos, or two of them: `Arles and Avignon`."""
    named = [place for place in places if place.country]
    total = sum(place.photos for place in named)
    countries: list[str] = []
    for level in ("city", "region", "country"):
        photos: Counter[tuple[str, str | None]] = Counter()
        for place in named:
            if name := getattr(place, level):
                photos[name, place.country] += place.photos
        shares = [(name, number / total) for (name, _), number in sorted(photos.items(), key=_most_first)]
        if shares and shares[0][1] >= _MOST:
            return shares[0][0]
        if len(shares) > 1 and shares[1][1] >= _SMALL and shares[0][1] + shares[1][1] >= _BOTH:
            return _joined([shares[0][0], shares[1][0]])
        countries = [name for name, _ in shares]
    if not countries:
        return _coordinates(places[0].latitude, places[0].longitude)
    rest = len(countries) - _COUNTRIES
    return _joined(countries if rest <= 0 else [*countries[:_COUNTRIES], "more"])


def _most_first(entry: tuple[tuple[str, str | None], int]) -> tuple[int, str]:
    return -entry[1], entry[0][0]


def _joined(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _coordinates(latitude: float, longitude: float) -> str:
    """`64.8° S, 62.9° W`: a place without a country."""
    north_south, east_west = "NS"[latitude < 0], "EW"[longitude < 0]
    return f"{abs(latitude):.1f}° {north_south}, {abs(longitude):.1f}° {east_west}"


def format_dates(first: date, last: date) -> str:
    """The days in words, without what both have in common: of one month, `3 to 9 May 2019` with a dash for the `to`."""
    end = f"{_day(last)} {last.year}"
    if first == last:
        return end
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}{_DASH}{end}"
    begin = _day(first) if first.year == last.year else f"{_day(first)} {first.year}"
    return f"{begin} {_DASH} {end}"


def _day(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]}"
