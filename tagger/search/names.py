"""What a word of a search can mean, by names of landmarks, places, trips, cameras, folders, files, outcomes.

Each meaning has the options of a query for its photos. The names come from lists that are made now and then, each
in the order of what it is made from.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from functools import cache, partial
from pathlib import PurePath

from tagger.positions.cities import City, names_of_cities
from tagger.query import BoundingBox, Near
from tagger.query.counts import (
    CityCount,
    FolderCount,
    LandmarkCount,
    SightCount,
    TripSummary,
    sights_beside,
)
from tagger.query.filter_words import (
    POSITIONS,
    RECENTLY_ADDED,
    UNDATED,
    VERDICTS,
    WHICH,
    Options,
)
from tagger.query.options import MOST_ALTERNATIVES, Alternatives, PhotoQuery
from tagger.query.photo_conditions import Box, NamedFile
from tagger.search import NEGATIONS, Match, NameIndex, folded
from tagger.texts.names import english_names, foreign_names
from tagger.texts.text_format import gettext
from tagger.things import PREFIX, ThingCount


class Kind(StrEnum):
    """Of equal matches, these come in this order."""

    PHOTOS = "photos"  # several parts of a text together
    DATE = "date"
    LANDMARK = "landmark"
    COUNTRY = "country"
    CITY = "city"
    REGION = "region"
    TRIP = "trip"
    SIGHT = "sight"
    THING = "thing"
    CAMERA = "camera"
    FOLDER = "folder"
    FILE = "file"
    OUTCOME = "outcome"


@dataclass(frozen=True)
class Meaning:
    """A meaning of a text: its name, what else tells it apart, and its number of photos if that is known.

    `options`: of an address of its photos; `match`: how the name matches; `trip`: the id of a trip, and
    `days`: its first and last; `trips`: the titles of several by their ids.
    """

    kind: Kind
    label: str
    detail: str
    photos: int | None
    options: Options
    trip: str | None = None
    match: Match = Match.WHOLE
    trips: Mapping[str, str] = field(default_factory=dict)
    days: tuple[date, date] | None = None


Names = NameIndex[Meaning]  # meanings by the names of what they stand for


def landmark_names(counts: Iterable[LandmarkCount]) -> Names:
    things = []
    for count in counts:
        detail = ", ".join(
            dict.fromkeys(
                each
                for each in (count.city, count.country)
                if each and each != count.name
            )
        )
        meaning = Meaning(
            Kind.LANDMARK,
            count.name,
            detail,
            count.photos,
            {"landmark": count.landmark},
        )
        things.append(
            (
                meaning,
                (count.name, count.landmark, *count.other_names),
            )
        )
    return NameIndex(things)


def countries_of_landmarks(counts: Iterable[LandmarkCount]) -> dict[str, int | None]:
    """The countries of landmarks: None if these have photos, which were taken anywhere, else 0."""
    countries: dict[str, int | None] = {}
    for count in counts:
        if count.country:
            countries[count.country] = (
                None if count.photos else countries.get(count.country, 0)
            )
    return countries


def countries_of(
    of_landmarks: Mapping[str, int | None], cities: Iterable[CityCount]
) -> dict[str, int | None]:
    numbers = Counter[str]()
    for city in cities:
        numbers[city.country] += city.photos
    return dict(numbers.most_common()) | {
        country: number
        for country, number in of_landmarks.items()
        if country not in numbers
    }


def country_names(
    numbers: Mapping[str, int | None],
    names_of: Callable[[str], Iterable[str]] = english_names,
) -> Names:
    return NameIndex(
        (
            Meaning(
                Kind.COUNTRY,
                name,
                "",
                photos,
                {"country": name},
            ),
            names_of(name),
        )
        for name, photos in numbers.items()
    )


foreign_country_names = partial(country_names, names_of=foreign_names)


def _city(count: CityCount) -> Meaning:
    detail = ", ".join(
        each for each in (count.region, count.country) if each and each != count.city
    )
    options = {
        "near": f"{count.latitude},{count.longitude}",
        "radius_km": str(count.radius_km),
    }
    return Meaning(
        Kind.CITY,
        count.city,
        detail,
        count.photos,
        options,
    )


def city_names(counts: Iterable[CityCount]) -> Names:
    things = []
    for count in counts:
        # New York City is New York, too.
        short = count.city.removesuffix(" City")
        in_areas = (f"{short} {area}" for area in (count.country, count.region or ""))
        things.append((_city(count), (count.city, short, *in_areas)))
    return NameIndex(things)


def foreign_city_names(counts: Iterable[CityCount]) -> Names:
    names = names_of_cities()
    return NameIndex(
        (
            (
                _city(count),
                names.get(City(count.city, count.region, count.country), ()),
            )
            for count in counts
        ),
        by_words=False,
    )


def with_surroundings(meaning: Meaning) -> Meaning:
    """A city with what lies up to 25 km around it; other things themselves."""
    if meaning.kind is not Kind.CITY:
        return meaning
    radius_km = float(str(meaning.options["radius_km"])) + _AROUND_KM
    return replace(
        meaning,
        label=gettext("around %(city)s", city=meaning.label),
        options={**meaning.options, "radius_km": f"{radius_km:g}"},
        photos=None,
    )


_AROUND_KM = 25.0


def region_names(counts: Iterable[CityCount]) -> Names:
    # The box of a region is that around the circles of its cities.
    cities_of: dict[tuple[str, str], list[CityCount]] = {}
    for count in sorted(
        counts,
        key=lambda each: (each.country, each.region or ""),
    ):
        if count.region:
            cities_of.setdefault((count.region, count.country), []).append(count)
    things = []
    for (region, country), cities in cities_of.items():
        boxes = [
            Box.around(
                Near(
                    city.latitude,
                    city.longitude,
                    city.radius_km,
                )
            )
            for city in cities
        ]
        south = max(min(box.south for box in boxes), -90.0)
        north = min(max(box.north for box in boxes), 90.0)
        # A box that crosses 180° has all longitudes.
        ranges = [
            box.ranges[0] if len(box.ranges) == 1 else (-180.0, 180.0) for box in boxes
        ]
        west = min(west for west, _ in ranges)
        east = max(east for _, east in ranges)
        options = {"box": str(BoundingBox(south, west, north, east))}
        photos = sum(city.photos for city in cities)
        things.append(
            (
                Meaning(
                    Kind.REGION,
                    region,
                    country,
                    photos,
                    options,
                ),
                (region, f"{region} {country}"),
            )
        )
    return NameIndex(things)


# What people call a trip by its place or year, in the languages of the page.
_TRIP_WORDS = frozenset(
    folded("""
trip trips journey journeys vacation vacations holiday Reise Reisen Urlaub Urlaube Ferien voyage voyages vacances viaje viajes vacaciones
viagem viagens férias viaggio viaggi vacanza vacanze vakantie chuyến lịch यात्रा
""").split()
)
_TRIP = re.compile(
    rf"(?:du )?(?:{'|'.join(sorted(_TRIP_WORDS, reverse=True))})(?:(?: di)?(?: (?:in die|to|in|of|from|nach|aus|von|im|en|a|au|aux|al|ao|para|em|de|naar|tới))? (?P<to>.+))?"
    rf"|(?P<of>.+?)(?: की)? (?:{'|'.join(_TRIP_WORDS)})"
)


def place_of_trip(text: str) -> str | None:
    """The place or dates of a phrase for trips, like `Reise nach Rom` or `holiday 2019`; None: it is none."""
    match = _TRIP.fullmatch(folded(text))
    return (match["to"] or match["of"] or "") if match else None


def _trip(trip: TripSummary) -> Meaning:
    id_ = trip.trip.id
    return Meaning(
        Kind.TRIP,
        trip.name,
        trip.trip.dates,
        trip.photos,
        {"trip": id_},
        id_,
        days=(trip.trip.first.date(), trip.trip.last.date()),
    )


def _names_of_trip(trip: TripSummary) -> list[str]:
    return [
        each
        for name in dict.fromkeys((trip.name, trip.trip.name))
        for each in (name, f"{name} {trip.trip.first.year}")
    ]


def trip_names(trips: Iterable[TripSummary]) -> Names:
    return NameIndex(
        (
            _trip(trip),
            (trip.title, *_names_of_trip(trip)),
        )
        for trip in trips
    )


def any_trip(label: str, trips: Sequence[Meaning]) -> Meaning:
    if len(trips) == 1:
        return trips[0]
    titles = {
        str(trip.trip): f"{trip.label}, {trip.detail}"
        for trip in trips[:MOST_ALTERNATIVES]
    }
    queries = Alternatives(tuple(PhotoQuery(trip=trip_id) for trip_id in titles))
    photos = sum(trip.photos or 0 for trip in trips)
    return Meaning(
        Kind.TRIP,
        label,
        "",
        photos,
        {"any_of": (str(queries),)},
        trips=titles,
    )


def journey_names(trips: Sequence[TripSummary]) -> Names:
    trips_to: dict[City, dict[str, Meaning]] = {}
    for trip in trips:
        for visited in trip.trip.places:
            country, region = visited.country or "", visited.region or ""
            city = visited.city or ""
            for place in (
                City("", "", country),
                City("", region, country),
                City(city, region, country),
            ):
                trips_to.setdefault(place, {})[trip.trip.id] = _trip(trip)
    journeys: list[tuple[Meaning, Iterable[str]]] = []
    for place, of_place in trips_to.items():
        name = place.name or place.region or place.country
        names = [name, *names_of_cities().get(place, ())]
        if name == place.country:
            names += (*english_names(name), *foreign_names(name))
        if place.country:
            label = gettext("trips to %(place)s", place=name)
            journeys.append((any_trip(label, list(of_place.values())), names))
    journeys += ((_trip(trip), _names_of_trip(trip)) for trip in trips)
    return NameIndex(
        ((meaning, [f"trip {name}" for name in names]) for meaning, names in journeys),
        by_words=False,
        fold=_trip_phrase,
    )


def _trip_phrase(text: str) -> str:
    # `trip rom` of `Reise nach Rom`, and `trip` of `Urlaub`; empty: the text is no phrase for trips.
    place = place_of_trip(text)
    return "" if place is None else f"trip {place}".strip()


def camera_names(names: Mapping[str, Iterable[str]]) -> Names:
    return NameIndex(
        (
            Meaning(
                Kind.CAMERA,
                model,
                "",
                None,
                {"camera": model},
            ),
            names_of_model,
        )
        for model, names_of_model in names.items()
    )


def folder_names(counts: Iterable[FolderCount]) -> Names:
    # Those nearest to their root come first. Folders above a root have no path.
    things = []
    for count in sorted(counts, key=lambda each: (each.depth, each.folder)):
        path = PurePath(count.folder)
        meaning = Meaning(
            Kind.FOLDER,
            path.name,
            str(path.parent),
            count.photos,
            {"under": count.folder},
        )
        names = [PurePath(count.name).name, count.path]
        if count.path:
            # With the name of the root, as people see it in paths: `trips/rome`.
            root = count.folder[: -len(count.path) - 1]
            names.append(f"{PurePath(root).name}/{count.path}")
        things.append((meaning, tuple(names)))
    return NameIndex(things)


def sight_names(
    counts: Iterable[SightCount], landmarks: Iterable[LandmarkCount]
) -> Names:
    things = []
    for count in sights_beside(counts, landmarks):
        options = {"sight": count.sight.name}
        meaning = Meaning(
            Kind.SIGHT,
            count.sight.name,
            count.country or "",
            count.photos,
            options,
        )
        things.append(
            (meaning, [count.sight.name, *(name for _, name in count.sight.names)])
        )
    return NameIndex(things)


def thing_names(counts: Iterable[ThingCount]) -> Names:
    things = (
        (
            Meaning(
                Kind.THING,
                count.name,
                "",
                count.photos,
                {"thing": count.thing.slug},
            ),
            (
                *count.thing.all_names,
                *(PREFIX + name for name in count.thing.all_names),
            ),
        )
        for count in counts
    )
    return NameIndex(things, by_words=False)


def words_of_kind(phrase: str) -> Collection[str]:
    """All words for the kind of landmarks that a phrase names, as `church`; after a hyphen, ends of words.

    A landmark is of a kind if one of its names has a word for it. `Schloss` is a word of two.
    """
    return _WORDS_OF_KINDS.get(f"={phrase.casefold()}", set()) or _WORDS_OF_KINDS.get(
        folded(phrase), set()
    )


# A kind in each line. After a hyphen, the end of a compound; after =, a word that means it with its accents alone.
_KINDS = """
church, churches, Kirche, Kirchen, -kirche, église, églises, iglesia, iglesias, igreja, igrejas, chiesa, chiese, kerk, kerken, गिरजाघर, =nhà thờ, \
cathedral, Kathedrale, -kathedrale, Dom, Münster, cathédrale, catedral, cattedrale, duomo, kathedraal, basilica, Basilika, basilique, basílica, \
abbey, Abtei, abbaye, abadía, abadia, abbazia, chapel, Kapelle, chapelle, capilla, capela, cappella
cathedral, cathedrals, Kathedrale, Kathedralen, -kathedrale, Dom, Münster, cathédrale, cathédrales, catedral, catedrales, catedrais, cattedrale, cattedrali, duomo, kathedraal, महागिरजाघर, =nhà thờ chính tòa
temple, temples, Tempel, -tempel, templo, templos, tempio, templi, tempels, mandir, मंदिर, मन्दिर, =chùa, =đền, pagoda, pagodas, Pagode, Pagoden, pagodes, pagode
mosque, mosques, Moschee, Moscheen, -moschee, mosquée, mosquées, mezquita, mezquitas, mesquita, mesquitas, moschea, moskee, masjid, camii, मस्जिद, =thánh đường
castle, castles, Burg, Burgen, Schloss, Schlösser, -schloss, château, châteaux, castillo, castillos, castelo, castelos, castello, castelli, kasteel, kastelen, \
fort, forts, fortress, Festung, forteresse, fortaleza, fortezza, किला, =lâu đài
palace, palaces, Palast, Paläste, -palast, Palais, Schloss, Schlösser, -schloss, palacio, palacios, palácio, palácios, palazzo, palazzi, paleis, महल, =cung điện
tower, towers, Turm, Türme, torre, torres, torri, toren, torens, मीनार, =tháp
bridge, bridges, Brücke, Brücken, -brücke, pont, ponts, puente, puentes, ponte, pontes, ponti, brug, bruggen, पुल, =cầu
museum, museums, Museen, musée, musées, museo, museos, museu, museus, musei, musea, संग्रहालय, =bảo tàng
statue, statues, Statuen, estatua, estatuas, estátua, estátuas, statua, standbeeld, मूर्ति, =tượng
lake, lakes, lac, lacs, lago, lagos, laghi, झील, =hồ
waterfall, waterfalls, falls, Wasserfall, Wasserfälle, cascade, cascades, chutes, cascada, cascadas, cataratas, cachoeira, cascata, waterval, झरना, =thác
cave, caves, Höhle, Höhlen, -höhle, grotte, grottes, cueva, cuevas, gruta, grutas, caverna, grotta, grot, गुफा, =hang động, =động
tomb, tombs, mausoleum, Grab, Grabmal, tombeau, mausolée, tumba, mausoleo, túmulo, mausoléu, tomba, मकबरा, =lăng, =lăng mộ
opera, Oper, Opernhaus, opéra, ópera, =nhà hát
"""
_WORDS_OF_KINDS: dict[str, set[str]] = {}
for _line in _KINDS.strip().splitlines():
    _names = _line.split(", ")
    _words = {
        "-" * name.startswith("-") + folded(name)
        for name in _names
        if not name.startswith("=")
    }
    for _word in (
        *_words,
        *(name for name in _names if name.startswith("=")),
    ):
        _WORDS_OF_KINDS.setdefault(_word.removeprefix("-"), set()).update(_words)


def file_meanings(files: Iterable[NamedFile]) -> list[Meaning]:
    return [
        Meaning(
            Kind.FILE,
            file.name,
            file.folder,
            None,
            {"under": file.path},
            match=Match.START,
        )
        for file in files
    ]


@cache
def outcome_names() -> Names:
    things = []
    for label, options, words in _OUTCOMES:
        names = [label, *words.split(", ")]
        if (
            "unknown" in options
        ):  # without a landmark: `not tagged`, `ohne Ort`, `टैग नहीं`
            # Folded before they are paired: this takes long for letters with accents.
            negations = list(map(folded, NEGATIONS))
            words_of_landmarks = list(map(folded, _OF_LANDMARKS.split(", ")))
            names += (f"{no} {word}" for word in words_of_landmarks for no in negations)
            names += (f"{word} नहीं" for word in words_of_landmarks)
        things.append(
            (
                Meaning(
                    Kind.OUTCOME,
                    label,
                    "",
                    None,
                    options,
                ),
                names,
            )
        )
    return NameIndex(things, by_words=False)


# What photos without an accepted landmark do not have.
_OF_LANDMARKS = (
    "tag, tags, tagged, label, labels, landmark, landmarks, place, places, named, recognised, recognized, identified, "
    "getaggt, markiert, erkannt, benannt, Schlagwort, Schlagwörter, Ort, Orte, Wahrzeichen, Sehenswürdigkeit, Sehenswürdigkeiten, "
    "tagué, taguée, taguées, étiquette, étiquettes, étiqueté, étiquetées, monument, monuments, lieu, lieux, reconnu, reconnue, reconnues, identifiées, "
    "etiqueta, etiquetas, etiquetar, etiquetado, etiquetada, etiquetadas, monumento, monumentos, lugar, lugares, reconocida, reconocidas, "
    "marcada, marcadas, marcação, ponto turístico, pontos turísticos, local, reconhecida, reconhecidas, "
    "etichetta, luogo, luoghi, riconosciuta, plaats, plek, bezienswaardigheid, herkend, "
    "टैग, जगह, स्थान, स्थल, दर्शनीय स्थल, लैंडमार्क, पहचान, thẻ, gắn thẻ, nhãn, nơi, địa điểm, địa danh, nhận ra"
)
# Names of choices of the filter, their options, and other words for them.
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
