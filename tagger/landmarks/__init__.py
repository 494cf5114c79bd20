"""Landmarks: found by slug, name, country or distance; and how many photos show each.

A landmark's slug never changes. Names are compared in Python, which folds the case of every script; SQLite
folds ASCII only. Models may know hundred thousands of landmarks by name alone: those are read only if a photo
has them, or by the slugs that their names become. Knows nothing of what models say (see registration).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from operator import attrgetter

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    cast,
    exists,
    func,
    or_,
    select,
    true,
)

from tagger.database.connection import display_language
from tagger.database.statements import among, distinct_values
from tagger.database.tables import (
    effective_tags,
    landmarks,
    model_labels,
    models,
    photos,
)
from tagger.errors import CountryNotFound, LandmarkAmbiguous, LandmarkNotFound
from tagger.geo import WORLD_REGIONS, regional_slug
from tagger.texts.names import (
    english_names,
    foreign_names,
    name_in_language,
    slug_of_name,
)
from tagger.texts.text_format import gettext, without_accents

# By extent: up to the first distance, a photo was taken at the landmark. Between the second and the
# third, it may still show it: mountains are seen from afar, and one that is no point extends far
# from its centre. From the fourth one on, the photo was taken elsewhere.
REACHES_KM: Mapping[str, tuple[float, float, float, float]] = {
    "point": (0.3, 3.0, 100.0, 400.0),
    "area": (1.0, 15.0, 300.0, 6000.0),
    "line": (1.0, 15.0, 1000.0, 10_000.0),
    "multi": (1.0, 15.0, 1000.0, 10_000.0),
}
# An unknown extent counts as this.
UNKNOWN_EXTENT = "area"


def farthest_km(extent: str | None) -> float:
    """How far away a photo may still show a landmark of this extent."""
    return REACHES_KM.get(extent or UNKNOWN_EXTENT, REACHES_KM[UNKNOWN_EXTENT])[2]


def photos_by_landmark(
    connection: Connection, *conditions: ColumnElement[bool]
) -> Counter[int]:
    """Numbers of photos with these conditions that have a landmark as a tag, by its id."""
    numbers = (
        select(effective_tags.c.landmark_id, func.count().label("photos"))
        .select_from(
            effective_tags.join(
                photos, photos.c.content_id == effective_tags.c.content_id
            )
        )
        .where(
            effective_tags.c.accepted == true(),
            photos.c.gone_since.is_(None),
            *conditions,
        )
        .group_by(effective_tags.c.landmark_id)
    )
    return Counter({row.landmark_id: row.photos for row in connection.execute(numbers)})


SUGGESTIONS = 5


@dataclass(frozen=True)
class Landmark:
    """A landmark. Its coordinates may be missing. `extent`: a point, a line, an area, or several.

    `names` are its names by language tag, `aliases` other names that people use. `edited` are the columns
    that a person set, `merged_slugs` the slugs of landmarks that were merged into it. `display_name` is its
    name in the language of the settings. `own`: no registered model knows it, a person added it.
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


def landmarks_by_slug(
    connection: Connection, slugs: Collection[str]
) -> dict[str, Landmark]:
    """The landmarks with these slugs, by them, and all into which others were merged, by their slugs too."""
    is_merged = cast(landmarks.c.merged_slugs, Text) != "[]"
    found = all_landmarks(connection, or_(is_merged, among(landmarks.c.slug, slugs)))
    return {slug: landmark for landmark in found for slug in landmark.all_slugs}


def all_landmarks(
    connection: Connection, *conditions: ColumnElement[bool]
) -> list[Landmark]:
    # With the model, the index finds the label.
    of_model = model_labels.c.model_id.in_(select(models.c.id))
    is_labelled = exists().where(of_model, model_labels.c.landmark_id == landmarks.c.id)
    query = select(landmarks, (~is_labelled).label("own")).where(*conditions)
    language = display_language(connection)
    # Sorted here: SQLite would read all landmarks along an index, which takes ten times as long.
    return [
        Landmark(
            **row._mapping,  # noqa: SLF001
            display_name=name_in_language(row.name, row.names, language),
        )
        for row in sorted(connection.execute(query), key=attrgetter("slug"))
    ]


def landmarks_by_id(
    connection: Connection, ids: Collection[int]
) -> dict[int, Landmark]:
    """The landmarks with these ids; those that were removed are left out."""
    found = all_landmarks(connection, among(landmarks.c.id, ids)) if ids else ()
    return {landmark.id: landmark for landmark in found}


def display_names(connection: Connection, slugs: Collection[str]) -> dict[str, str]:
    found = all_landmarks(connection, among(landmarks.c.slug, slugs)) if slugs else ()
    return {landmark.slug: landmark.display_name for landmark in found}


# Whether more is known of a landmark than its slug and name.
IS_DESCRIBED = or_(
    landmarks.c.country.is_not(None),
    landmarks.c.latitude.is_not(None),
    cast(landmarks.c.names, Text) != "{}",
    *(
        cast(landmarks.c[column], Text) != "[]"
        for column in ("aliases", "edited", "merged_slugs")
    ),
)


def familiar_landmarks(connection: Connection) -> list[Landmark]:
    """The landmarks that photos have, or of which more is known than a name."""
    of_photos = distinct_values(
        effective_tags.c.landmark_id, effective_tags.c.accepted == true()
    )
    with_photos = connection.scalars(of_photos).all()
    return all_landmarks(
        connection, or_(IS_DESCRIBED, among(landmarks.c.id, with_photos))
    )


def landmarks_with_slugs_of(
    connection: Connection, names: Iterable[str]
) -> list[Landmark]:
    """The landmarks whose slugs are what these names become, also with a part of the world."""
    return all_landmarks(connection, among(landmarks.c.slug, _slugs_of(names)))


def landmarks_that_may_have(
    connection: Connection, names: Collection[str]
) -> list[Landmark]:
    """The landmarks of which more is known than a name, and those that may have one of these names."""
    is_named = among(
        func.lower(landmarks.c.name, type_=Text),
        [name.strip().lower() for name in names],
    )
    has_slug = among(landmarks.c.slug, _slugs_of(names))
    return all_landmarks(connection, or_(IS_DESCRIBED, is_named, has_slug))


def newest_landmarks(connection: Connection) -> list[Landmark]:
    newest = select(landmarks.c.id).order_by(landmarks.c.id.desc()).limit(_NEWEST)
    return all_landmarks(
        connection, among(landmarks.c.id, connection.scalars(newest).all())
    )


_NEWEST = 20


def _slugs_of(names: Iterable[str]) -> set[str]:
    every = (
        (slug_of_name(name), *(regional_slug(name, region) for region in WORLD_REGIONS))
        for name in names
    )
    return {slug for slugs in every for slug in slugs if slug}


def find_landmark(
    connection: Connection, name: str, *, by_slug: bool = False
) -> Landmark:
    """The landmark with that slug or name, in any case; else the one with that name in a language or alias.

    For a merged landmark, this is the one that it was merged into. `by_slug`: names do not count.

    Raises:
        LandmarkNotFound: there is none; the message lists similar ones.
        LandmarkAmbiguous: several have that name; the message lists their slugs.
    """
    slug = name.strip().casefold()
    if with_slug := all_landmarks(connection, landmarks.c.slug == slug):
        return with_slug[0]
    every = landmarks_that_may_have(connection, [name])
    for landmark in every:
        if slug in landmark.merged_slugs:
            return landmark
    if by_slug:
        raise LandmarkNotFound(name=name, close="")
    normal = normalize_name(name)
    matches = [
        landmark for landmark in every if normal == normalize_name(landmark.name)
    ] or [
        landmark
        for landmark in every
        if normal in map(normalize_name, landmark.all_names)
    ]
    if len(matches) > 1:
        slugs = ", ".join(landmark.slug for landmark in matches)
        cities = ", ".join(
            landmark.city or landmark.country or landmark.slug for landmark in matches
        )
        raise LandmarkAmbiguous(name=name, slugs=slugs, cities=cities)
    if matches:
        return matches[0]
    familiar = familiar_landmarks(connection)
    names = {
        text: landmark.display_name
        for landmark in familiar
        for text in (*landmark.all_names, landmark.slug)
    }
    raise LandmarkNotFound(name=name, close=_suggestion(_similar(normal, names)))


def landmarks_spelled_like(
    connection: Connection, landmark: Landmark
) -> list[Landmark]:
    """Other landmarks whose name differs in few letters from the name of this one: at most SUGGESTIONS."""
    normal = normalize_name(landmark.name)
    found = (
        other
        for other in familiar_landmarks(connection)
        if other.id != landmark.id
        and get_close_matches(normal, map(normalize_name, other.all_names), 1, 0.85)
    )
    return list(islice(found, SUGGESTIONS))


def landmarks_in_country(connection: Connection, country: str) -> list[Landmark]:
    """The landmarks of a country.

    Raises:
        CountryNotFound: it has no landmark; the message lists similar countries.
    """
    names = country_spellings(country, landmark_countries(connection))
    return all_landmarks(connection, landmarks.c.country.in_(names))


def country_spellings(country: str, known: Collection[str]) -> list[str]:
    """The known countries of a name, in any case and any language of the search.

    Raises:
        CountryNotFound: there is none; the message lists similar countries.
    """
    normal = normalize_name(country)
    if found := [name for name in known if normalize_name(name) == normal]:
        return found
    for names_of in (english_names, foreign_names):
        if found := [
            name for name in known if normal in map(normalize_name, names_of(name))
        ]:
            return found
    raise CountryNotFound(
        name=country,
        close=_suggestion(_similar(normal, {each: each for each in sorted(known)})),
    )


def landmark_countries(connection: Connection) -> Sequence[str]:
    return connection.scalars(distinct_values(landmarks.c.country)).all()


def landmarks_within(
    connection: Connection, contains: Callable[[float, float], bool]
) -> list[Landmark]:
    return [
        landmark
        for landmark in all_landmarks(connection, landmarks.c.latitude.is_not(None))
        if landmark.latitude is not None
        and landmark.longitude is not None
        and contains(landmark.latitude, landmark.longitude)
    ]


def normalize_name(name: str) -> str:
    """The form in which names are compared: without case, accents, invisible marks, hyphens and underscores.

    A name of which nothing is left, like an accent alone, equals only itself.
    """
    plain = (name if name.isascii() else without_accents(name)).casefold()
    return " ".join(plain.replace("-", " ").replace("_", " ").split()) or name


def _similar(normal: str, names: Mapping[str, str]) -> Iterable[str]:
    # The values of at most SUGGESTIONS names that resemble a normalized name, as a whole or in one word.
    values: dict[str, list[str]] = {}
    for name, value in names.items():
        whole = normalize_name(name)
        for spelling in (whole, *whole.split()):
            values.setdefault(spelling, []).append(value)
    matches = (
        value
        for spelling in get_close_matches(normal, values, cutoff=0.7)
        for value in values[spelling]
    )
    return islice(dict.fromkeys(matches), SUGGESTIONS)


def _suggestion(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return " " + gettext("Did you mean %(names)s?", names=text) if text else ""
