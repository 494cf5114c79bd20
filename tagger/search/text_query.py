"""A typed text as a query of a database (see parts). Commands read the names here, the page keeps them."""

from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime

from tagger.cameras import names_of_camera_models
from tagger.database.connection import Database
from tagger.database.statements import among
from tagger.database.tables import effective_tags
from tagger.errors import SearchTextInvalid
from tagger.landmarks.landmarks import (
    find_landmark,
    landmark_countries,
    landmarks_that_may_have,
    landmarks_with_slugs_of,
    newest_landmarks,
    photos_by_landmark,
)
from tagger.query.areas import position_countries
from tagger.query.counts import LandmarkCount, city_counts, folder_counts, landmark_counts
from tagger.query.option_values import DEFAULT_RADIUS_KM, Near
from tagger.query.photo_conditions import files_by_name
from tagger.query.trip_summaries import trip_summaries
from tagger.roots.roots import RootPaths
from tagger.search.grammar import MAX_LETTERS, MAX_WORDS, phrases
from tagger.search.names import (
    Names,
    camera_names,
    city_names,
    country_names,
    file_meanings,
    folder_names,
    foreign_city_names,
    foreign_country_names,
    journey_names,
    landmark_names,
    outcome_names,
    region_names,
    thing_names,
    trip_names,
)
from tagger.search.parts import Files, LeftOut, UnderstoodText, understand
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
    return lambda start, limit: file_meanings(files_by_name(database, root_paths, start, limit))


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
        numbers = photos_by_landmark(connection, among(effective_tags.c.landmark_id, list(found)))
    counts = [LandmarkCount.of(each, numbers[each.id]) for each in found.values()]
    return landmark_names(sorted(counts, key=lambda count: (-count.photos, count.landmark)))


def _lists_of_names(database: Database, text: str, root_paths: RootPaths) -> Iterator[Sequence[Names]]:
    # The names for a text, the cheapest first. Folders are counted from all photos.
    counts = landmark_counts(database)
    with database.read() as connection:
        countries = dict.fromkeys((*position_countries(connection), *landmark_countries(connection)))
        cameras = names_of_camera_models(connection)
        things = count_things(connection)
    familiar = {each.landmark for each in counts}
    yield (
        landmark_names(counts),
        unfamiliar_names(database, text, familiar),
        country_names(countries),
        camera_names(cameras),
        outcome_names(),
        thing_names(things),
    )
    cities = city_counts(database)
    yield city_names(cities), region_names(cities)
    yield foreign_country_names(countries), foreign_city_names(cities)
    trips = trip_summaries(database)
    yield journey_names(trips), trip_names(trips)
    yield (folder_names(folder_counts(database, root_paths)),)
    yield (unfamiliar_names(database, text, familiar, by_name=True),)
