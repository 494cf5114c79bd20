"""Free text as a query: `eiffelturm 2019`, `canon frankreich`.

The text is divided into phrases: from the left, each is the longest one that is a date or exactly a name. Lists of names are read
in order of what reading costs, until every word is understood.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from tagger.database.connection import Database
from tagger.errors import QueryOptionInvalid, SearchTextInvalid
from tagger.library.catalog.cameras import names_of_camera_models
from tagger.library.catalog.landmarks import all_landmarks
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.areas import position_countries
from tagger.library.query.counts import LandmarkCount, city_counts, folder_counts
from tagger.library.query.filter_words import Options, conditions_text
from tagger.library.query.options import QUERY_OPTIONS, PhotoQuery, parse_query, refuse_contradictions
from tagger.library.query.trip_summaries import trip_summaries
from tagger.library.search.matching import DateRange, folded, parse_dates
from tagger.library.search.suggestions import (
    Kind,
    Names,
    Suggestion,
    camera_names,
    city_names,
    country_names_index,
    folder_names,
    landmark_names,
    suggest,
    trip_names,
)
from tagger.photos.paths import parse_path

_MOST_WORDS = 12
"""Words of a phrase."""
_MOST_SUGGESTIONS = 3
_IN_ORDER = ("landmark", "country", "near", "radius_km", "trip", "camera", "year", "under")
"""Options in the order of the words for them; dates come last."""
_WITHOUT_OF = ("under", "taken_after", "taken_before")
"""Options whose words have a preposition of their own."""


@dataclass(frozen=True)
class Phrase:
    """Words of the text, and what they mean: one thing, or several of which a photo matches any; none: they are not understood."""

    text: str
    meanings: Sequence[Suggestion]


@dataclass(frozen=True)
class TextQuery:
    """What a text means: its options as an address has them, and their query. `names` are by the values of options."""

    options: Options
    query: PhotoQuery
    names: Mapping[str, str]

    @property
    def words(self) -> str:
        """The photos that the text means: `photos of France, 2019`."""
        trip_name = None if self.query.trip is None else self.names[self.query.trip]
        words = conditions_text(self.query, self.names, trip_name)
        return f"photos {words}" if next(iter(self.options)) in _WITHOUT_OF else f"photos of {words}"

    @property
    def is_landmark(self) -> bool:
        """Whether the text is the name of a landmark, and nothing else."""
        return len(self.query.landmark) == 1 and len(self.options) == 1

    def within(self, query: PhotoQuery) -> PhotoQuery:
        """The photos of another query that match the text, too.

        Raises:
            QueryOptionInvalid: both have an option that cannot be fulfilled twice, or they contradict each other.
        """
        values = {name: getattr(self.query, name) for name in self.options if name != "radius_km"}
        both = {name: _both(name, getattr(query, name), value) for name, value in values.items()}
        result = replace(query, **both)
        refuse_contradictions(result)
        return result


def text_query(database: Database, text: str, root_paths: RootPaths) -> TextQuery:
    """Understand a text. `root_paths` is settings.roots.

    Raises:
        SearchTextInvalid: a word is no date and no name, or two phrases contradict each other.
    """
    return query_of_phrases(divide(text, _lists_of_names(database, root_paths)))


def divide(text: str, lists: Iterable[Iterable[Names]]) -> list[Phrase]:
    """The phrases of a text. Of the lists, no more are read than it needs.

    Raises:
        SearchTextInvalid: a word is no date, and in no list; the message has similar names. Or there is no word.
    """
    words, names = text.split(), list[Names]()
    phrases = list[Phrase]()
    for more in lists:
        names += more
        phrases = list(_phrases(words, names))
        if not phrases:
            raise SearchTextInvalid(text=repr(text), reason="it has no words.")
        if all(phrase.meanings for phrase in phrases):
            return phrases
    runs = groupby(phrases, key=lambda phrase: bool(phrase.meanings))
    unknown = next(" ".join(phrase.text for phrase in run) for is_known, run in runs if not is_known)
    similar = dict.fromkeys(each.label for each in suggest(unknown, names, lambda _start, _limit: ()))
    close = f" Did you mean {', '.join([*similar][:_MOST_SUGGESTIONS])}?" if similar else ""
    raise SearchTextInvalid(
        text=unknown, reason=f"it is no date, and nothing in the library has this name.{close}"
    )


def query_of_phrases(phrases: Iterable[Phrase]) -> TextQuery:
    """The query whose photos match all phrases; of several landmarks, countries, cameras, folders or years, any.

    Raises:
        SearchTextInvalid: two phrases contradict each other.
    """
    options: dict[str, Any] = {}
    names: dict[str, str] = {}
    for phrase in phrases:
        for meaning in phrase.meanings:
            for name, value in meaning.options.items():
                if name == "any_rank":  # on the page, photos without a landmark are a choice
                    continue
                if not QUERY_OPTIONS[name].several and name in options:
                    reason = "the text has two of this kind, and a photo cannot match both. Leave out one."
                    raise SearchTextInvalid(text=phrase.text, reason=reason)
                options[name] = (*options.get(name, ()), value) if QUERY_OPTIONS[name].several else value
                names[value] = meaning.label
    ordered = {name: options[name] for name in (*_IN_ORDER, *options) if name in options}
    return TextQuery(ordered, parse_query(**_typed(options)), names)


def _lists_of_names(database: Database, root_paths: RootPaths) -> Iterator[Sequence[Names]]:
    """All names, the cheapest first: cities read all positions, trips their photos, and folders all photos."""
    with database.read() as connection:
        landmarks = [LandmarkCount.of(landmark, 0) for landmark in all_landmarks(connection)]
        countries = [*position_countries(connection), *(each.country for each in landmarks if each.country)]
        cameras = names_of_camera_models(connection)
    yield (
        landmark_names(landmarks, with_empty=True),
        country_names_index(dict.fromkeys(countries)),
        camera_names(cameras),
    )
    yield (city_names(city_counts(database)),)
    yield (trip_names(trip_summaries(database)),)
    yield (folder_names(folder_counts(database, root_paths)),)


def _phrases(words: Sequence[str], names: Sequence[Names]) -> Iterator[Phrase]:
    first = 0
    while first < len(words):
        for end in range(min(len(words), first + _MOST_WORDS), first, -1):
            text = " ".join(words[first:end]).strip(",;")
            if meanings := _meanings(text, names):
                yield Phrase(text, meanings)
                break
        else:
            end = first + 1
            if folded(words[first]):  # and not punctuation alone
                yield Phrase(words[first], ())
        first = end


def _meanings(text: str, names: Iterable[Names]) -> Sequence[Suggestion]:
    """What exactly this text means: the first kind that has such a name. Of a kind that a query can have once, the one with most photos."""
    if (dates := parse_dates(text)) is not None:
        return [_date(dates)]
    found = [each for index in names for each in index.named(text)]
    same = [each for each in found if each.kind is found[0].kind]
    return (
        same if all(QUERY_OPTIONS[name].several for each in same[:1] for name in each.options) else same[:1]
    )


def _date(dates: DateRange) -> Suggestion:
    year = dates.first.year
    if (dates.first.replace(year=year + 1), dates.first.timetuple().tm_yday) == (dates.end, 1):
        return Suggestion(Kind.DATE, dates.name, "", None, {"year": str(year)})
    limits = {"taken_after": dates.first.isoformat(), "taken_before": dates.end.isoformat()}
    return Suggestion(Kind.DATE, dates.name, "", None, limits)


def _typed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an address as `parse_query` takes them."""
    values = dict(options)
    if "radius_km" in values:
        values["radius_km"] = float(values["radius_km"])
    for name, parse in (("year", int), ("under", parse_path)):
        if name in values:
            values[name] = tuple(map(parse, values[name]))
    return values


def _both(option: str, value: Any, of_text: Any) -> Any:
    """The value of an option that fulfils both."""
    if value in (None, ()):
        return of_text
    if option == "taken_after":
        return max(value, of_text)
    if option == "taken_before":
        return min(value, of_text)
    common = tuple(each for each in value if each in of_text) if option == "year" else ()
    if not common:
        raise QueryOptionInvalid(option=option, reason="the text has one, too. Leave out one of them")
    return common
