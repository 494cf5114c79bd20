"""What typed text may mean, by kind, best first.

The names come from lists that are made now and then (see tagger.web.pages.overview); only files are looked up for each text.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tagger.library.query.counts import CityCount, FolderCount, LandmarkCount
from tagger.library.query.photo_conditions import NamedFile
from tagger.library.query.trip_summaries import TripSummary
from tagger.library.search.matching import Match, NameIndex, country_names, parse_dates

MOST = 12
_LEAST_FOR_FILES = 2
"""Letters of a file's name to type: shorter texts are starts of too many."""


class Kind(StrEnum):
    """What a suggestion is. Of equal matches, these come in this order."""

    DATE = "date"
    LANDMARK = "landmark"
    COUNTRY = "country"
    CITY = "city"
    TRIP = "trip"
    CAMERA = "camera"
    FOLDER = "folder"
    FILE = "file"


_MOST_OF_KIND = {
    Kind.DATE: 1,
    Kind.LANDMARK: 4,
    Kind.COUNTRY: 2,
    Kind.CITY: 3,
    Kind.TRIP: 2,
    Kind.CAMERA: 3,
    Kind.FOLDER: 3,
    Kind.FILE: 3,
}


@dataclass(frozen=True)
class Suggestion:
    """A meaning of the text: its name, what else tells it apart, and its number of photos if that is known.

    `options` are those of a query for its photos; `id` names the trip or the photo of a file, which have pages of their own. `match`: how the name matches.
    """

    kind: Kind
    label: str
    detail: str
    photos: int | None
    options: Mapping[str, str]
    id: str | None = None
    match: Match = Match.WHOLE


Names = NameIndex[Suggestion]
"""Suggestions by the names of what they stand for."""


def landmark_names(counts: Iterable[LandmarkCount], *, with_empty: bool = False) -> Names:
    """The names of landmarks with photos, or of all, in the order of `counts`."""
    return NameIndex(
        (_landmark(count), (count.name, count.landmark, *count.other_names))
        for count in counts
        if count.photos or with_empty
    )


def country_index(counts: Iterable[LandmarkCount], cities: Iterable[CityCount]) -> Names:
    """The countries with photos, those in most photos first; photos are counted where they were taken."""
    numbers: dict[str, int] = {}
    for city in cities:
        numbers[city.country] = numbers.get(city.country, 0) + city.photos
    landmarks = (count.country for count in counts if count.country and count.photos)
    names = dict.fromkeys((*sorted(numbers, key=lambda name: -numbers[name]), *landmarks))
    return country_names_index({name: numbers.get(name) for name in names})


def country_names_index(numbers: Mapping[str, int | None]) -> Names:
    """The names of countries, in the order of their numbers of photos by name."""
    return NameIndex((_country(name, photos), country_names(name)) for name, photos in numbers.items())


def city_names(counts: Iterable[CityCount]) -> Names:
    """The names of cities, in the order of `counts`."""
    return NameIndex((_city(count), (count.city, f"{count.city} {count.country}")) for count in counts)


def trip_names(trips: Iterable[TripSummary]) -> Names:
    """The titles of trips, in the order of `trips`."""
    return NameIndex((_trip(trip), (trip.title,)) for trip in trips)


def camera_names(names: Mapping[str, Iterable[str]]) -> Names:
    """The makes and models of cameras, by what people call them."""
    return NameIndex((_camera(model), names_of_model) for model, names_of_model in names.items())


def folder_names(counts: Iterable[FolderCount]) -> Names:
    """The names of folders, those nearest to their root first, and their paths."""
    in_order = sorted(counts, key=lambda each: (each.depth, each.folder))
    return NameIndex((_folder(each), (each.name, each.path)) for each in in_order)


def suggest(
    text: str, names: Sequence[Names], files_by_name: Callable[[str, int], Sequence[NamedFile]]
) -> list[Suggestion]:
    """At most MOST suggestions, those of one kind together. Similar names only where no word of a name starts with the text."""
    text = " ".join(text.split())
    if not text:
        return []
    found = [replace(each, match=match) for index in names for match, each in index.find(text)]
    if all(each.match > Match.WORDS for each in found):
        known = {(each.kind, each.label, each.detail) for each in found}
        similar = (replace(each, match=match) for index in names for match, each in index.find_similar(text))
        found += [each for each in similar if (each.kind, each.label, each.detail) not in known]
    if len(text) >= _LEAST_FOR_FILES:
        found += map(_file, files_by_name(text, _MOST_OF_KIND[Kind.FILE]))
    return _limited([*_dates(text), *found])


def _limited(found: Sequence[Suggestion]) -> list[Suggestion]:
    """The best of each kind, then the kinds with the best matches first."""
    groups = [[each for each in found if each.kind is kind][: _MOST_OF_KIND[kind]] for kind in Kind]
    groups = sorted(filter(None, groups), key=lambda group: group[0].match)
    return [each for group in groups for each in group][:MOST]


def _dates(text: str) -> Iterator[Suggestion]:
    dates = parse_dates(text)
    if dates is not None:
        options = {
            "taken_after": dates.first.isoformat(),
            "taken_before": dates.end.isoformat(),
            "any_rank": "1",
        }
        yield Suggestion(Kind.DATE, dates.name, "", None, options)


def _landmark(count: LandmarkCount) -> Suggestion:
    parts = dict.fromkeys(part for part in (count.city, count.country) if part and part != count.name)
    return Suggestion(
        Kind.LANDMARK, count.name, ", ".join(parts), count.photos or None, {"landmark": count.landmark}
    )


def _country(name: str, photos: int | None) -> Suggestion:
    return Suggestion(Kind.COUNTRY, name, "", photos, {"country": name})


def _city(count: CityCount) -> Suggestion:
    parts = (part for part in (count.region, count.country) if part and part != count.city)
    options = {"near": f"{count.latitude},{count.longitude}", "radius_km": str(count.radius_km)}
    return Suggestion(Kind.CITY, count.city, ", ".join(parts), count.photos, options)


def _trip(trip: TripSummary) -> Suggestion:
    trip_id = trip.trip.id
    return Suggestion(Kind.TRIP, trip.name, trip.trip.dates, trip.photos, {"trip": trip_id}, trip_id)


def _camera(model: str) -> Suggestion:
    return Suggestion(Kind.CAMERA, model, "", None, {"camera": model, "any_rank": "1"})


def _folder(count: FolderCount) -> Suggestion:
    parent = count.folder.removesuffix(count.name).rstrip("/")
    options = {"under": count.folder, "any_rank": "1"}
    return Suggestion(Kind.FOLDER, count.name, parent, count.photos, options)


def _file(file: NamedFile) -> Suggestion:
    folder = file.path.rpartition("/")[0]
    return Suggestion(Kind.FILE, file.name, folder, None, {}, str(file.photo_id), Match.START)
