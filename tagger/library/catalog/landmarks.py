"""Landmarks: found by slug, name, country or distance; how far away they are photographed, and how many photos show each.

A landmark's slug never changes. There are a few thousand landmarks, so names are compared in Python, which folds the case
of every script; SQLite folds ASCII only. Knows nothing of what models say (see registration).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

from sqlalchemy import ColumnElement, Connection, func, select, true

from tagger.database.connection import display_language
from tagger.database.tables import effective_tags, landmarks, model_labels, photos
from tagger.errors import CountryNotFound, LandmarkAmbiguous, LandmarkNotFound
from tagger.system.names import name_in_language
from tagger.system.text_format import gettext, without_accents

REACHES_KM: Mapping[str, tuple[float, float, float, float]] = {
    "point": (1.0, 3.0, 100.0, 400.0),
    "area": (5.0, 15.0, 300.0, 6000.0),
    "line": (5.0, 15.0, 1000.0, 10_000.0),
    "multi": (5.0, 15.0, 1000.0, 10_000.0),
}
"""By extent: up to the first distance, a photo was taken at the landmark. Between the second and the third one, it may still show it:
towers and mountains are seen from afar, and a landmark that is no point may extend far from its coordinates, which are those of its
centre. From the fourth one on, the photo was taken elsewhere."""
UNKNOWN_EXTENT = "area"
"""An unknown extent counts as this."""


def farthest_km(extent: str | None) -> float:
    """How far away a photo may still show a landmark of this extent."""
    return REACHES_KM.get(extent or UNKNOWN_EXTENT, REACHES_KM[UNKNOWN_EXTENT])[2]


def photos_by_landmark(connection: Connection, *conditions: ColumnElement[bool]) -> Counter[int]:
    """Numbers of photos with these conditions that have a landmark as a tag, by landmark id."""
    numbers = (
        select(effective_tags.c.landmark_id, func.count().label("photos"))
        .select_from(effective_tags.join(photos, photos.c.content_id == effective_tags.c.content_id))
        .where(effective_tags.c.accepted == true(), *conditions)
        .group_by(effective_tags.c.landmark_id)
    )
    return Counter({row.landmark_id: row.photos for row in connection.execute(numbers)})


SUGGESTIONS = 5


@dataclass(frozen=True)
class Landmark:
    """A landmark. Its coordinates may be missing. `extent`: whether it is a point, a line, an area, or several.

    `names` are its names by language tag, `aliases` other names that people use. `edited` are the columns that a person
    set, `merged_slugs` the slugs of landmarks that were merged into it. `display_name` is its name in the language of the
    settings. `own`: no registered model knows it, a person added it.
    """

    id: int
    slug: str
    name: str
    names: dict[str, str]
    aliases: list[str]
    country: str | None
    region: str | None
    city: str | None
    latitude: float | None
    longitude: float | None
    extent: str | None
    edited: list[str]
    merged_slugs: list[str]
    own: bool
    display_name: str

    @property
    def all_names(self) -> list[str]:
        """Every name that it can be found by, without the slug."""
        return [self.name, *self.names.values(), *self.aliases]

    @property
    def all_slugs(self) -> list[str]:
        """Every slug that it can be found by, its own first."""
        return [self.slug, *self.merged_slugs]


def landmark_ids_by_slug(connection: Connection) -> dict[str, int]:
    """The id of each landmark, by its slug and by the slugs of landmarks that were merged into it."""
    return {slug: landmark.id for landmark in all_landmarks(connection) for slug in landmark.all_slugs}


def all_landmarks(connection: Connection, *conditions: ColumnElement[bool]) -> list[Landmark]:
    """Every landmark with these conditions, by slug."""
    labelled = select(model_labels.c.landmark_id).distinct().subquery()
    query = (
        select(landmarks, labelled.c.landmark_id.is_(None).label("own"))
        .outerjoin(labelled, labelled.c.landmark_id == landmarks.c.id)
        .where(*conditions)
        .order_by(landmarks.c.slug)
    )
    language = display_language(connection)
    return [
        Landmark(**row._mapping, display_name=name_in_language(row.name, row.names, language))  # noqa: SLF001 - SQLAlchemy's public name for it
        for row in connection.execute(query)
    ]


def find_landmark(connection: Connection, name: str, *, by_slug: bool = False) -> Landmark:
    """The landmark with that slug or name, in any case. A name in another language or an alias counts if no landmark has it as its name.

    For a merged landmark, this is the one that it was merged into. `by_slug`: names do not count.

    Raises:
        LandmarkNotFound: there is none; the message lists similar ones.
        LandmarkAmbiguous: several have that name; the message lists their slugs.
    """
    slug = name.strip().casefold()
    if with_slug := all_landmarks(connection, landmarks.c.slug == slug):
        return with_slug[0]
    every = all_landmarks(connection)
    normal = normalize_name(name)
    for landmark in every:
        if slug in landmark.merged_slugs:
            return landmark
    if by_slug:
        raise LandmarkNotFound(name=name, close="")
    matches = [landmark for landmark in every if normal == normalize_name(landmark.name)] or [
        landmark for landmark in every if normal in map(normalize_name, landmark.all_names)
    ]
    if len(matches) > 1:
        slugs = ", ".join(landmark.slug for landmark in matches)
        cities = ", ".join(landmark.city or landmark.country or landmark.slug for landmark in matches)
        raise LandmarkAmbiguous(name=name, slugs=slugs, cities=cities)
    if matches:
        return matches[0]
    names = {
        text: landmark.display_name for landmark in every for text in (*landmark.all_names, landmark.slug)
    }
    raise LandmarkNotFound(name=name, close=_suggestion(_similar(normal, names)))


def landmarks_spelled_like(connection: Connection, landmark: Landmark) -> list[Landmark]:
    """Other landmarks with a name that differs in few letters from the name of this one: at most SUGGESTIONS."""
    normal = normalize_name(landmark.name)
    found = (
        other
        for other in all_landmarks(connection)
        if other.id != landmark.id
        and get_close_matches(normal, map(normalize_name, other.all_names), 1, 0.85)
    )
    return list(islice(found, SUGGESTIONS))


def landmarks_in_country(
    connection: Connection, country: str, other_countries: Collection[str] = ()
) -> list[Landmark]:
    """The landmarks of a country, named in any case; none if it is one of the other countries.

    Raises:
        CountryNotFound: it has no landmark, and is no other country; the message lists similar countries.
    """
    every = all_landmarks(connection)
    normal = normalize_name(country)
    matches = [
        landmark for landmark in every if landmark.country and normalize_name(landmark.country) == normal
    ]
    if not matches and normal not in map(normalize_name, other_countries):
        names = {*other_countries, *(landmark.country for landmark in every if landmark.country)}
        countries = {name: name for name in sorted(names)}
        raise CountryNotFound(name=country, close=_suggestion(_similar(normal, countries)))
    return matches


def landmarks_within(connection: Connection, contains: Callable[[float, float], bool]) -> list[Landmark]:
    """The landmarks whose latitude and longitude an area contains."""
    return [
        landmark
        for landmark in all_landmarks(connection)
        if landmark.latitude is not None
        and landmark.longitude is not None
        and contains(landmark.latitude, landmark.longitude)
    ]


def normalize_name(name: str) -> str:
    """The form in which names are compared: without case, accents and invisible marks; any spaces, hyphens and underscores are equal.

    A name of which nothing is left, like an accent alone, equals only itself.
    """
    plain = (name if name.isascii() else without_accents(name)).casefold()
    return " ".join(plain.replace("-", " ").replace("_", " ").split()) or name


def _similar(normal: str, names: Mapping[str, str]) -> Iterable[str]:
    """The values of at most SUGGESTIONS names that resemble a normalized name, as a whole or in one word."""
    values: dict[str, list[str]] = {}
    for name, value in names.items():
        whole = normalize_name(name)
        for spelling in (whole, *whole.split()):
            values.setdefault(spelling, []).append(value)
    matches = (
        value for spelling in get_close_matches(normal, values, cutoff=0.7) for value in values[spelling]
    )
    return islice(dict.fromkeys(matches), SUGGESTIONS)


def _suggestion(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return " " + gettext("Did you mean %(names)s?", names=text) if text else ""
