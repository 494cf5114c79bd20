"""A typed text as a query of a database (see parts). Commands read the names here, the page keeps them."""

from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime

from sqlalchemy import Connection, select, true

from tagger.cameras import names_of_camera_models
from tagger.database.connection import Database
from tagger.database.statements import among, distinct_values
from tagger.database.tables import effective_tags, trip_edits
from tagger.errors import SearchTextInvalid
from tagger.landmarks.landmarks import (
    Landmark,
    find_landmark,
    landmark_countries,
    landmarks_by_id,
    landmarks_that_may_have,
    landmarks_with_slugs_of,
    newest_landmarks,
    photos_by_landmark,
)
from tagger.query.areas import position_countries
from tagger.query.counts import LandmarkCount, city_counts, folder_counts
from tagger.query.option_values import DEFAULT_RADIUS_KM, Near
from tagger.query.photo_conditions import files_by_name
from tagger.query.trip_summaries import trip_summaries
from tagger.roots.roots import RootPaths
from tagger.search.grammar import MAX_LETTERS, MAX_WORDS, is_grammar, phrases, words_of
from tagger.search.kinds import words_of_kind
from tagger.search.matching import NameIndex, folded
from tagger.search.names import (
    TRIP_WORDS,
    Meaning,
    Names,
    camera_names,
    city_names,
    country_names,
    file_meanings,
    folder_names,
    foreign_city_names,
    journey_names,
    landmark_names,
    outcome_names,
    region_names,
    thing_names,
    trip_names,
)
from tagger.search.parts import UnderstoodText, understand
from tagger.search.vocabulary import Files, LeftOut
from tagger.texts.names import foreign_names
from tagger.things import count_things

_REASONS = {
    LeftOut.UNKNOWN: "it is no date, and nothing in the library has this name.",
    LeftOut.CONTRADICTS: "no photo can match this and the rest. Leave out one of them.",
    LeftOut.OR: "a search cannot join this and the rest with `or`. Search for one after the other.",
    LeftOut.TOO_LONG: f"a search has at most {MAX_WORDS} words. Leave these out.",
}

_SHOWN_LETTERS = 40


def text_query(database: Database, text: str, root_paths: RootPaths) -> UnderstoodText:
    """Understand a text. `root_paths` is settings.roots.

    Raises:
        SearchTextInvalid: it is longer than MAX_LETTERS, a word is no date and no name, two parts contradict
            each other, or no word is.
    """
    if len(text) > MAX_LETTERS:
        reason = f"it is longer than {MAX_LETTERS} letters. Search for less at once."
        raise SearchTextInvalid(text=f"{text[:_SHOWN_LETTERS]}…", reason=reason, hint="")
    lists = _lists_of_names(database, text, root_paths)
    understood = understand(text, lists, named_files(database, root_paths), this_day())
    if not understood.parts:
        raise SearchTextInvalid(text=repr(text), reason="it has no words.", hint="")
    for part in understood.left_out:
        hint = understood.hints if part.others else ""
        reason = f"{_REASONS[part.left_out]} {hint}".rstrip()
        raise SearchTextInvalid(text=part.text, reason=reason, hint=hint)
    return understood


def place_near(database: Database, name: str, root_paths: RootPaths) -> Near | None:
    """The circle around a city or landmark that a text names; None: it names none.

    Raises:
        SearchTextInvalid: as `text_query`.
    """
    query = text_query(database, name, root_paths).query
    if query.circle is not None or not query.landmark:
        return query.circle
    with database.read() as connection:
        landmark = find_landmark(connection, query.landmark[0])
    if landmark.latitude is None or landmark.longitude is None:
        return None
    return Near(landmark.latitude, landmark.longitude, DEFAULT_RADIUS_KM)


def named_files(database: Database, root_paths: RootPaths) -> Files:
    """Look up files by the starts of their names."""

    def files(start: str, limit: int) -> Sequence[Meaning]:
        return file_meanings(files_by_name(database, root_paths, start, limit))

    return files


def this_day() -> date:
    """Return the day on this machine."""
    return datetime.now().astimezone().date()


def unfamiliar_names(
    database: Database, text: str, familiar: Collection[str], *, by_name: bool = False
) -> Names:
    """The names in a text of landmarks without these slugs, and the newest ones: just taught places.

    `by_name`: also if the slug has not the name; reads all landmarks.
    """
    find = landmarks_that_may_have if by_name else landmarks_with_slugs_of
    with database.read() as connection:
        every = (*find(connection, phrases(text)), *newest_landmarks(connection))
        found = {each.id: each for each in every if each.slug not in familiar}
        return landmark_names(_counted(connection, found.values()))


def _counted(connection: Connection, found: Collection[Landmark]) -> list[LandmarkCount]:
    """Landmarks with their numbers of photos, most photos first."""
    numbers = photos_by_landmark(connection, among(effective_tags.c.landmark_id, [each.id for each in found]))
    counts = (LandmarkCount.of(each, numbers[each.id]) for each in found)
    return sorted(counts, key=lambda count: (-count.photos, count.landmark))


def _lists_of_names(database: Database, text: str, root_paths: RootPaths) -> Iterator[Sequence[Names]]:
    """The names for a text, the cheapest first. Photos are counted of landmarks that it may mean.

    Cities read the index of all positions. Trips read all photos, if a word is in what trips are named after.
    The last list reads all landmarks.
    """
    words = [word for word in words_of(text)[:MAX_WORDS] if not is_grammar(word)]
    with database.read() as connection:
        tagged = landmarks_by_id(connection, connection.scalars(_TAGGED_LANDMARKS).all()).values()
        names = NameIndex((each, (*each.all_names, each.slug)) for each in tagged)
        of_kinds = set[str]().union(*map(words_of_kind, phrases(text)))
        found = {each.id: each for each in (*names.resembling(words), *names.with_words(of_kinds))}
        landmarks = landmark_names(_counted(connection, found.values()))
        countries = dict.fromkeys((*position_countries(connection), *landmark_countries(connection)))
        cameras = names_of_camera_models(connection)
        things = thing_names(count_things(connection))
        given = NameIndex((name, [name]) for name in (*TRIP_WORDS, *connection.scalars(_NAMES_OF_TRIPS)))
    familiar = {each.slug for each in tagged}
    of_countries = country_names(countries)
    yield (
        landmarks,
        unfamiliar_names(database, text, familiar),
        of_countries,
        camera_names(cameras),
        outcome_names(),
        things,
    )
    cities = city_counts(database)
    of_cities = city_names(cities), region_names(cities)
    yield of_cities
    yield (country_names(countries, foreign_names), foreign_city_names(cities))
    places = (landmarks, of_countries, *of_cities)
    if given.resembling(words) or any(each.with_words(list(map(folded, words))) for each in places):
        trips = trip_summaries(database)
        yield journey_names(trips), trip_names(trips)
    yield (folder_names(folder_counts(database, root_paths)),)
    yield (unfamiliar_names(database, text, familiar, by_name=True),)


_TAGGED_LANDMARKS = distinct_values(effective_tags.c.landmark_id, effective_tags.c.accepted == true())
_NAMES_OF_TRIPS = select(trip_edits.c.name).where(trip_edits.c.name.is_not(None))
