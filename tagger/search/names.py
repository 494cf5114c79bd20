"""What a word of a search can mean, by names of landmarks, places, trips, cameras, folders, files, outcomes.

Each meaning has the options of a query for its photos. The names come from lists that are made now and then.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from pathlib import PurePath

from tagger.positions.cities import City, names_of_cities
from tagger.query.areas import Box
from tagger.query.counts import CityCount, FolderCount, LandmarkCount
from tagger.query.filter_words import POSITIONS, RECENTLY_ADDED, UNDATED, VERDICTS, WHICH, Options
from tagger.query.option_values import BoundingBox, Near
from tagger.query.options import MOST_ALTERNATIVES, Alternatives, PhotoQuery
from tagger.query.photo_conditions import NamedFile
from tagger.query.trip_summaries import TripSummary
from tagger.search.dates import Dates
from tagger.search.grammar import NEGATIONS
from tagger.search.matching import Match, NameIndex, WordMatch, folded
from tagger.texts.names import english_names, foreign_names
from tagger.texts.text_format import gettext
from tagger.things import ThingCount


class Kind(StrEnum):
    """What a meaning is. Of equal matches, these come in this order."""

    PHOTOS = "photos"
    """Several parts of a text together."""
    DATE = "date"
    LANDMARK = "landmark"
    COUNTRY = "country"
    CITY = "city"
    REGION = "region"
    TRIP = "trip"
    THING = "thing"
    CAMERA = "camera"
    FOLDER = "folder"
    FILE = "file"
    OUTCOME = "outcome"


@dataclass(frozen=True)
class Meaning:
    """A meaning of a text: its name, what else tells it apart, and its number of photos if that is known.

    `options`: of an address of its photos; `trip`: the id of a trip, `trips`: the titles of several by their
    ids; `match`: how the name matches.
    """

    kind: Kind
    label: str
    detail: str
    photos: int | None
    options: Options
    trip: str | None = None
    match: Match = Match.WHOLE
    trips: Mapping[str, str] = field(default_factory=dict)


TRIP_WORDS = frozenset(
    folded("""
trip trips journey journeys vacation vacations holiday Reise Reisen Urlaub Urlaube Ferien voyage voyages vacances viaje viajes vacaciones
viagem viagens férias viaggio viaggi vacanza vacanze vakantie chuyến lịch यात्रा
""").split()
)
_TRIP = re.compile(
    rf"(?:du )?(?:{'|'.join(sorted(TRIP_WORDS, reverse=True))})(?: di)?(?: (?:in die|to|in|of|from|nach|aus|von|im|en|a|au|aux|al|ao|para|em|de|naar|tới))? (?P<to>.+)"
    rf"|(?P<of>.+?)(?: की)? (?:{'|'.join(TRIP_WORDS)})"
)
"""What people call a trip by its place or year, in the languages of the page."""
Names = NameIndex[Meaning]
"""Meanings by the names of what they stand for."""


def landmark_names(counts: Iterable[LandmarkCount], *, is_counted: bool = True) -> Names:
    """The names of landmarks, in the order of `counts`."""
    return NameIndex(
        (
            _landmark(count, count.photos if is_counted else None),
            (count.name, count.landmark, *count.other_names),
        )
        for count in counts
    )


def countries_of(counts: Iterable[LandmarkCount], cities: Iterable[CityCount]) -> dict[str, int | None]:
    """The countries of photos, most photos first, and those of landmarks alone: None if these have photos."""
    numbers = Counter[str]()
    for city in cities:
        numbers[city.country] += city.photos
    of_landmarks = Counter[str]()
    for count in counts:
        of_landmarks[count.country or ""] += count.photos
    del of_landmarks[""]
    counted: dict[str, int | None] = dict(numbers.most_common())
    return counted | {
        name: None if photos else 0 for name, photos in of_landmarks.items() if name not in counted
    }


def country_names(
    numbers: Mapping[str, int | None], names_of: Callable[[str], Iterable[str]] = english_names
) -> Names:
    """The names of countries, in English or as `foreign_names`, in this order."""
    return NameIndex(
        (Meaning(Kind.COUNTRY, name, "", photos, {"country": name}), names_of(name))
        for name, photos in numbers.items()
    )


def counted_countries(counts: Iterable[LandmarkCount], cities: Iterable[CityCount]) -> Names:
    """The English names of the countries of photos and landmarks."""
    return country_names(countries_of(counts, cities))


def foreign_countries(counts: Iterable[LandmarkCount], cities: Iterable[CityCount]) -> Names:
    """Their names in other languages."""
    return country_names(countries_of(counts, cities), foreign_names)


def city_names(counts: Iterable[CityCount]) -> Names:
    """The names of cities, in the order of `counts`. New York City is New York, too."""
    return NameIndex(
        (
            _city(count),
            (count.city, *(f"{short} {area or ''}" for area in ("", count.country, count.region))),
        )
        for count in counts
        for short in [count.city.removesuffix(" City")]
    )


def foreign_city_names(counts: Iterable[CityCount]) -> Names:
    """The names of cities in other languages, in the order of `counts`. Their words alone mean nothing."""
    names = names_of_cities()
    things = (
        (_city(count), names.get(City(count.city, count.region, count.country), ())) for count in counts
    )
    return NameIndex(things, by_words=False)


def region_names(counts: Iterable[CityCount]) -> Names:
    """The names of the regions of cities."""
    return NameIndex((each, (each.label, f"{each.label} {each.detail}")) for each in _regions(counts))


def trip_names(trips: Iterable[TripSummary]) -> Names:
    """The titles of trips, and their names with and without the year, in the order of `trips`."""
    return NameIndex((_trip(trip), (trip.title, *_names_of_trip(trip))) for trip in trips)


def _names_of_trip(trip: TripSummary) -> Iterator[str]:
    for name in dict.fromkeys((trip.name, trip.trip.name)):
        yield name
        yield f"{name} {trip.trip.first.year}"


def journey_names(trips: Iterable[TripSummary]) -> "TripIndex":
    """The trips to each country, region and city, and each trip by its names."""
    return TripIndex(list(trips))


class TripIndex(NameIndex[Meaning]):
    """Trips, the newest first, by the names of where they went, in phrases like `trip to Rome`."""

    def __init__(self, trips: Sequence[TripSummary]) -> None:
        self._trips = trips
        journeys = ((_journey(place, some), _names_of_place(place)) for place, some in _trips_to(trips))
        super().__init__(
            (*journeys, *((_trip(each), _names_of_trip(each)) for each in trips)), by_words=False
        )

    def during(self, dates: Dates | None, label: str) -> list[Meaning]:
        """The trips that have some of these dates, as one meaning; of any date, if a query can have them all."""
        found = [
            each
            for each in self._trips
            if dates is None or dates.has_any(each.trip.first.date(), each.trip.last.date())
        ]
        is_possible = found and (dates is not None or len(found) <= MOST_ALTERNATIVES)
        return [_any_trip(label, found)] if is_possible else []

    def find(self, text: str) -> list[tuple[Match, Meaning]]:
        if folded(text) in TRIP_WORDS:
            return [(Match.START, each) for each in self.things]
        return super().find(place_of_trip(text))

    def named(self, text: str) -> list[Meaning]:
        return super().named(place_of_trip(text))[:1]  # a place before a trip of its name

    def find_words(self, text: str, *, is_hint: bool = False) -> list[WordMatch[Meaning]]:
        return super().find_words(place_of_trip(text), is_hint=is_hint)


def _trips_to(trips: Iterable[TripSummary]) -> Iterator[tuple[City, list[TripSummary]]]:
    trips_to: dict[City, dict[str, TripSummary]] = {}
    for trip in trips:
        for place in trip.trip.places:
            country, region, city = place.country or "", place.region or "", place.city or ""
            for each in (City("", "", country), City("", region, country), City(city, region, country)):
                trips_to.setdefault(each, {}).setdefault(trip.trip.id, trip)
    return ((place, list(some.values())) for place, some in trips_to.items() if place.country)


def _names_of_place(place: City) -> Iterator[str]:
    yield place.name or place.region or place.country
    yield from names_of_cities().get(place, ())
    if not place.name and not place.region:
        yield from (*english_names(place.country), *foreign_names(place.country))


def place_of_trip(text: str) -> str:
    """The place or dates of a phrase for trips, like `Reise nach Rom` or `holiday 2019`; empty: it is none."""
    match = _TRIP.fullmatch(folded(text))
    return (match["to"] or match["of"]) if match else ""


def _journey(place: City, trips: Sequence[TripSummary]) -> Meaning:
    label = gettext("trips to %(place)s", place=place.name or place.region or place.country)
    return _any_trip(label, trips)


def _any_trip(label: str, trips: Sequence[TripSummary]) -> Meaning:
    """The trip, or the latest of several."""
    if len(trips) == 1:
        return _trip(trips[0])
    latest = trips[:MOST_ALTERNATIVES]
    queries = Alternatives(tuple(PhotoQuery(trip=each.trip.id) for each in latest))
    titles = {each.trip.id: each.title for each in latest}
    photos = sum(each.photos for each in latest)
    return Meaning(Kind.TRIP, label, "", photos, {"any_of": (str(queries),)}, trips=titles)


def camera_names(names: Mapping[str, Iterable[str]]) -> Names:
    """The makes and models of cameras, by what people call them."""
    return NameIndex(
        (Meaning(Kind.CAMERA, model, "", None, {"camera": model}), names_of_model)
        for model, names_of_model in names.items()
    )


def folder_names(counts: Iterable[FolderCount]) -> Names:
    """The names of folders, those nearest to their root first, and their paths. Those above a root have none."""
    in_order = sorted(counts, key=lambda each: (each.depth, each.folder))
    return NameIndex((_folder(each), (PurePath(each.name).name, each.path)) for each in in_order)


def thing_names(counts: Iterable[ThingCount]) -> Names:
    """The names of things in all languages. Parts of them mean nothing."""
    return NameIndex(((_thing(each), each.thing.all_names) for each in counts), by_words=False)


def _thing(count: ThingCount) -> Meaning:
    return Meaning(Kind.THING, count.name, "", count.photos, {"thing": count.thing.slug})


def outcome_names() -> Names:
    """The words for outcomes, verdicts and sources of positions. Parts of them mean nothing."""
    return NameIndex(
        (
            (Meaning(Kind.OUTCOME, label, "", None, options), (label, *words.split(", "), *_denied(options)))
            for label, options, words in _OUTCOMES
        ),
        by_words=False,
    )


def _denied(options: Options) -> Iterator[str]:
    """The words for photos without a landmark: `not tagged`, `ohne Ort`, `टैग नहीं`."""
    for word in _OF_LANDMARKS.split(", ") if "unknown" in options else ():
        yield from (f"{no} {word}" for no in NEGATIONS)
        yield f"{word} नहीं"


_OF_LANDMARKS = (
    "tag, tags, tagged, label, labels, landmark, landmarks, place, places, named, recognised, recognized, identified, "
    "getaggt, markiert, erkannt, benannt, Schlagwort, Schlagwörter, Ort, Orte, Wahrzeichen, Sehenswürdigkeit, Sehenswürdigkeiten, "
    "tagué, taguée, taguées, étiquette, étiquettes, étiqueté, étiquetées, monument, monuments, lieu, lieux, reconnu, reconnue, reconnues, identifiées, "
    "etiqueta, etiquetas, etiquetar, etiquetado, etiquetada, etiquetadas, monumento, monumentos, lugar, lugares, reconocida, reconocidas, "
    "marcada, marcadas, marcação, ponto turístico, pontos turísticos, local, reconhecida, reconhecidas, "
    "etichetta, luogo, luoghi, riconosciuta, plaats, plek, bezienswaardigheid, herkend, "
    "टैग, जगह, स्थान, स्थल, दर्शनीय स्थल, लैंडमार्क, पहचान, thẻ, gắn thẻ, nhãn, nơi, địa điểm, địa danh, nhận ra"
)
"""What photos without an accepted landmark do not have."""
_OUTCOMES: tuple[tuple[str, Options, str], ...] = (
    (WHICH["dismissed"], {"dismissed": "1"}, "kein Wahrzeichen, keine Sehenswürdigkeit, pas un monument, no es un monumento, não é ponto turístico, không phải địa danh"),
    (WHICH["unknown"], {"unknown": "1"}, "untagged, unlabelled, unlabeled, unidentified, unrecognised, unrecognized, unbekannt, unbekannte, ungetaggt, inconnu, inconnue, inconnues, desconocido, desconocida, desconocidas, desconhecido, desconhecida, desconhecidas, sconosciuto, onbekend, अज्ञात, chưa biết, không rõ"),
    (WHICH["untagged"], {"untagged": "1"}, "unclassified, not classified, not classified yet, not processed yet, nicht klassifiziert, nicht verarbeitet, non classé, non traitées, sin clasificar, sin procesar, não processadas, chưa xử lý"),
    (WHICH["failed"], {"failed": "1"}, "fehlgeschlagen, échoué, fallido, falhou"),
    (WHICH["favourite"], {"favourite": "1"}, "favourite, favorite, favorites, starred, Favoriten, Favorit, favoris, favori, favoritos, favorito, पसंदीदा, yêu thích, favoriti, favorieten"),
    (RECENTLY_ADDED, {"sort": "added"}, "recently imported, recently uploaded, last added, added last, just added, latest uploads, zuletzt hinzugefügt, kürzlich hinzugefügt, neu hinzugefügt, zuletzt importiert, zuletzt hochgeladen, récemment ajouté, récemment ajoutés, récemment ajoutées, ajoutées récemment, ajouts récents, derniers ajouts, añadidas recientemente, agregadas recientemente, recién añadidas, últimas añadidas, adicionadas recentemente, recém-adicionadas, últimas adicionadas, aggiunte di recente, aggiunti di recente, ultime aggiunte, onlangs toegevoegd, recent toegevoegd, हाल ही में जोड़े गए, हाल ही में जोड़ी गईं, हाल में जोड़ी गई, mới thêm, thêm gần đây, vừa thêm"),
    (UNDATED, {"undated": "1"}, "undated, without date, no date, ohne Datum, undatiert, sans date, sin fecha, sem data, senza data, zonder datum, बिना तारीख, không có ngày"),
    (VERDICTS["confirmed"], {"verdict": "confirmed"}, "bestätigt, confirmé, confirmée, confirmado, confirmada, confermato, bevestigd"),
    (VERDICTS["rejected"], {"verdict": "rejected"}, "abgelehnt, rejeté, rejetée, rechazado, rejeitado, rifiutato, afgewezen"),
    (VERDICTS["corrected"], {"verdict": "corrected"}, "korrigiert, corrigé, corregido, corrigido, corretto"),
    (VERDICTS["any"], {"verdict": "any"}, "judged, reviewed, geprüft, vérifié, revisado"),
    (VERDICTS["none"], {"verdict": "none"}, "not reviewed, unreviewed, ungeprüft, non vérifié, sin revisar"),
    (POSITIONS["camera"], {"position": "camera"}, "with GPS, mit GPS, avec GPS, con GPS, com GPS, có GPS"),
    (POSITIONS["none"], {"position": "none"}, "without position, no position, without location, no location, ohne Position, sans position, sin posición, sin ubicación, sem posição, không có vị trí"),
    (POSITIONS["no-gps"], {"position": "no-gps"}, "no GPS, ohne GPS, sans GPS, sin GPS, sem GPS, senza GPS, zonder GPS, không có GPS, बिना GPS"),
)  # fmt: skip
"""Names of choices of the filter, their options, and other words for them."""


def file_meanings(files: Iterable[NamedFile]) -> list[Meaning]:
    """The meanings of these files."""
    return [
        Meaning(Kind.FILE, file.name, file.folder, None, {"under": file.path}, match=Match.START)
        for file in files
    ]


def _landmark(count: LandmarkCount, photos: int | None) -> Meaning:
    parts = dict.fromkeys(part for part in (count.city, count.country) if part and part != count.name)
    return Meaning(Kind.LANDMARK, count.name, ", ".join(parts), photos, {"landmark": count.landmark})


def _city(count: CityCount) -> Meaning:
    parts = (part for part in (count.region, count.country) if part and part != count.city)
    options = {"near": f"{count.latitude},{count.longitude}", "radius_km": str(count.radius_km)}
    return Meaning(Kind.CITY, count.city, ", ".join(parts), count.photos, options)


def with_surroundings(meaning: Meaning) -> Meaning:
    """A city with what lies up to 25 km around it; other things themselves."""
    if meaning.kind is not Kind.CITY:
        return meaning
    radius_km = float(str(meaning.options["radius_km"])) + _AROUND_KM
    options = {**meaning.options, "radius_km": f"{radius_km:g}"}
    return replace(
        meaning, label=gettext("around %(city)s", city=meaning.label), options=options, photos=None
    )


_AROUND_KM = 25.0


def _regions(counts: Iterable[CityCount]) -> Iterator[Meaning]:
    """The regions, each with the box around the photos of its cities."""
    in_order = sorted(counts, key=lambda each: (each.country, each.region or ""))
    for (country, region), of_region in groupby(in_order, key=lambda each: (each.country, each.region)):
        cities = list(of_region)
        if region:
            photos = sum(city.photos for city in cities)
            yield Meaning(Kind.REGION, region, country, photos, {"box": _box_around(cities)})


def _box_around(cities: Iterable[CityCount]) -> str:
    """The box S,W,N,E around the circles of cities; one that crosses 180° has all longitudes."""
    boxes = [Box.around(Near(city.latitude, city.longitude, city.radius_km)) for city in cities]
    south, north = max(min(box.south for box in boxes), -90.0), min(max(box.north for box in boxes), 90.0)
    ranges = [box.ranges[0] if len(box.ranges) == 1 else (-180.0, 180.0) for box in boxes]
    return str(BoundingBox(south, min(west for west, _ in ranges), north, max(east for _, east in ranges)))


def _trip(trip: TripSummary) -> Meaning:
    trip_id = trip.trip.id
    return Meaning(Kind.TRIP, trip.name, trip.trip.dates, trip.photos, {"trip": trip_id}, trip_id)


def _folder(count: FolderCount) -> Meaning:
    path = PurePath(count.folder)
    return Meaning(Kind.FOLDER, path.name, str(path.parent), count.photos, {"under": count.folder})
