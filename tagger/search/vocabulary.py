"""What words of a typed text can mean: dates, files, and the names of lists. See grammar for the rules."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from functools import cache, partial
from itertools import groupby

from tagger.photos.photo_names import is_photo_name
from tagger.positions.cities import is_name_of_city
from tagger.query.filter_words import Options, conditions_text, selects_with_landmark
from tagger.query.options import MAX_NAMES, QUERY_OPTIONS, PhotoQuery
from tagger.query.photo_conditions import searched_name
from tagger.search.date_words import AROUND
from tagger.search.dates import Dates, dates_with_short_year, parse_dates
from tagger.search.grammar import (
    MOST_WORDS_OF_PART,
    Relation,
    is_grammar,
    relation_of,
    without_fillers,
)
from tagger.search.kinds import words_of_kind
from tagger.search.matching import Match, WordMatch, folded
from tagger.search.names import TRIP_WORDS, Kind, Meaning, Names, TripIndex, place_of_trip, with_surroundings
from tagger.texts.text_format import N_, gettext, without_accents

Files = Callable[[str, int], Sequence[Meaning]]
"""Files whose names start with a text, at most so many."""
_LEAST_FOR_FILES = 3
"""The fewest letters by which files are looked up."""
_MOST_HINTS = 3
AREAS = (Kind.COUNTRY, Kind.CITY, Kind.REGION)


class LeftOut(Enum):
    """Why words are left out of a search, as the page says it."""

    UNKNOWN = N_("“%(text)s”, which is no date and no name in this library")
    CONTRADICTS = N_("“%(text)s”, which contradicts the rest")
    OR = N_("“%(text)s”, since a search cannot join this and the rest with “or”")
    TOO_LONG = N_("“%(text)s”, since a search has at most %(count)s words")


@dataclass(frozen=True)
class Part:
    """Words of the text, and what they mean: one thing, or any of several; none: they are left out.

    `others`: other places of this name, or what left-out words may mean. `is_of_name`: of longer names.
    """

    text: str
    meanings: Sequence[Meaning] = ()
    left_out: LeftOut = LeftOut.UNKNOWN
    relation: Relation = Relation.AND
    others: Sequence[Meaning] = ()
    is_of_name: bool = False

    @property
    def is_guess(self) -> bool:
        """Whether the words only resemble the name."""
        return any(meaning.match is Match.SIMILAR for meaning in self.meanings)


class Vocabulary:
    """The meanings of words. `names`: lists that were read before."""

    def __init__(self, files: Files, today: date, names: Iterable[Names] = ()) -> None:
        self._names = list(names)
        self._files = files
        self._today = today
        # Kept, since each list of names is tried with the same phrases.
        self._dates = cache(partial(_dates, today=today))
        self._named_files = cache(partial(_named_files, files=files))

    def is_name_of_files(self, text: str) -> bool:
        """Whether the whole text is the name of files, with its ending."""
        return is_photo_name(text) and bool(self._named_files(text))

    def parts(
        self, words: Sequence[str], lists: Iterable[Iterable[Names]], quoted: frozenset[str]
    ) -> Iterator[Part]:
        """The parts of a text of these words. Words that relate parts or say nothing have no meaning.

        Lists are read until all words are understood. Words that are `quoted` have no typing errors.
        """
        parts = [Part(word) for word in words]
        for more in lists if words else ():
            self._names += more
            parts = list(_longest(words, self._with_name))
            is_whole = all(is_grammar(each.text) or not all(map(_is_empty, each.meanings)) for each in parts)
            if is_whole and not any(map(_may_be_both, parts)):
                break
        by_words = partial(self._with_words, quoted=quoted)
        for is_rest, run in groupby(parts, lambda part: not (part.meanings or relation_of(part.text))):
            of_run = list(run)
            rest = list(_longest([part.text for part in of_run], by_words)) if is_rest else of_run
            is_whole = all(
                is_grammar(part.text) or (part.meanings and not words_of_kind(part.text)) for part in rest
            )
            yield from (Part(part.text) if part.is_of_name and not is_whole else part for part in rest)

    def _with_name(self, phrase: str) -> Part | None:
        """The part of words that are a date or a whole name."""
        if is_grammar(phrase):
            return None
        named = [each for index in self._names for each in index.named(phrase)]
        short = without_fillers(phrase)
        if not named and short != phrase:
            every = (each for index in self._names for each in index.named(short))
            named = [each for each in every if each.kind is Kind.OUTCOME]
        dates = self._dates(phrase)
        meanings = dates or self._of_name(named, phrase) or self._trips_during(phrase) or self._around(phrase)
        meanings = meanings or self._named_files(phrase)
        others = self._months(phrase) if dates else _others(named, meanings)
        return Part(phrase, meanings, others=others) if meanings else None

    def _of_name(self, named: Sequence[Meaning], phrase: str) -> Sequence[Meaning]:
        """As `_of_name`; a thing that landmarks are, too, is both: `church`."""
        found = _of_name(named)
        is_thing = any(each.kind is Kind.THING for each in found)
        return [*found, *self._of_kind(phrase)] if is_thing else found

    def _trips_during(self, phrase: str) -> Sequence[Meaning]:
        """The trips of a phrase like `trips 2022`; of `trips` alone, all if they are few."""
        dates = parse_dates(place_of_trip(phrase), self._today)
        if dates is None and folded(phrase) not in TRIP_WORDS:
            return ()
        label = ", ".join([gettext("Trips"), *([_words(dates)] if dates else [])])
        trips = (index for index in self._names if isinstance(index, TripIndex))
        return [each for index in trips for each in index.during(dates, label)]

    def _around(self, phrase: str) -> Sequence[Meaning]:
        """A city with what is around it, of a phrase like `around Cologne`."""
        is_around = AROUND.search(without_accents(phrase).casefold())
        part = self._with_name(without_fillers(phrase)) if is_around else None
        return list(map(with_surroundings, part.meanings)) if part else []

    def _months(self, phrase: str) -> Sequence[Meaning]:
        """What else a past day without a year may be: `september 24` is a month, too."""
        dates = dates_with_short_year(phrase, self._today)
        is_past = dates and dates.first and dates.first <= self._today
        return [each for each in _meanings(dates) if is_past and [each] != self._dates(phrase)]

    def _with_words(self, phrase: str, quoted: frozenset[str]) -> Part | None:
        """The part of words in names of what has photos: whole names first; of typing errors, the fewest."""
        if of_kind := self._of_kind(phrase):
            return Part(phrase, of_kind)
        found = [] if is_grammar(phrase) else self._matches(phrase)
        exact = [match for match in found if not match.errors]
        best = [match for match in exact if not match.further_words] or exact
        if not best and found and quoted.isdisjoint(phrase.split()):
            best = [min(found, key=lambda match: match[:3])]
        best.sort(key=partial(_preference, folded(phrase)))
        meanings = _of_one_kind([match.thing for match in best])
        if not exact:
            meanings = [replace(each, match=Match.SIMILAR) for each in meanings]
        return Part(phrase, meanings, is_of_name=best[0].further_words > 0) if meanings else None

    def _of_kind(self, phrase: str) -> Sequence[Meaning]:
        """The landmarks with photos of which this is a kind: `church`."""
        words = words_of_kind(phrase)
        every = (each for index in self._names if words for each in index.with_words(words))
        found = [each for each in every if each.kind is Kind.LANDMARK and not _is_empty(each)]
        return _of_one_kind(found)

    def _matches(self, phrase: str, *, is_hint: bool = False) -> list[WordMatch[Meaning]]:
        every = (match for index in self._names for match in index.find_words(phrase, is_hint=is_hint))
        return [match for match in every if not (_is_empty(match.thing) or phrase.isdigit())]

    def starting_with(self, text: str) -> list[Meaning]:
        """The meanings of the start of a name; similar names only where no word of one starts so."""
        text = " ".join(text.split())
        if not text:
            return []
        found = [replace(each, match=match) for index in self._names for match, each in index.find(text)]
        if all(each.match > Match.WORDS for each in found):
            close = sorted(self._matches(text, is_hint=True), key=lambda match: match.errors)
            found += [replace(match.thing, match=Match.SIMILAR) for match in close if match.errors]
        if len(text) >= _LEAST_FOR_FILES:
            found += self._files(text, _MOST_OF_KIND)
        once = {(each.kind, str(each.options)): each for each in reversed([*self._dates(text), *found])}
        with_photos = [each for each in reversed(once.values()) if not _is_empty(each)]
        groups = [[each for each in with_photos if each.kind is kind][:_MOST_OF_KIND] for kind in Kind]
        by_match = sorted(filter(None, groups), key=lambda group: group[0].match)
        return [replace(each, options=with_outcome(each.options)) for group in by_match for each in group]

    def hints(self, text: str) -> Sequence[Meaning]:
        """What left-out words may mean: a day without its year, the start of a name, or a word alone."""
        text = " ".join(word for word in text.split() if not relation_of(word))
        if not text or text.isdigit():
            return ()
        starts = [each for each in self.starting_with(text) if (each.kind, each.match) != _START_OF_OUTCOME]
        found = [*self._past_dates(text), *starts]
        if not found:
            words = (word for word in text.split() if not is_grammar(word))
            every = [match for word in words for match in self._matches(word, is_hint=True)]
            every.sort(key=lambda match: match[:3])
            found = [match.thing for match in every if match.errors == every[0].errors]
        once = {each.label: replace(each, options=with_outcome(each.options)) for each in found}
        return list(once.values())[:_MOST_HINTS]

    def _past_dates(self, text: str) -> Sequence[Meaning]:
        """The last days of this name in a year, such as Christmas."""
        for year in (self._today.year, self._today.year - 1):
            dates = parse_dates(f"{text} {year}", self._today)
            if dates and dates.first and dates.first <= self._today:
                return self._dates(f"{text} {year}")
        return ()


_START_OF_OUTCOME = Kind.OUTCOME, Match.START
_MOST_OF_KIND = 3
"""The most suggestions of a kind."""


def _longest(words: Sequence[str], part_of: Callable[[str], Part | None]) -> Iterator[Part]:
    """From the left, the parts of the longest runs of words, and each other word alone."""
    first = 0
    while first < len(words):
        for end in range(min(len(words), first + MOST_WORDS_OF_PART), first, -1):
            phrase = " ".join(words[first:end])
            if part := part_of(phrase):
                break
        yield part or Part(phrase)
        first = end


def _dates(phrase: str, today: date) -> Sequence[Meaning]:
    return _meanings(parse_dates(phrase, today))


def _meanings(dates: Dates | None) -> Sequence[Meaning]:
    return [Meaning(Kind.DATE, _words(dates), "", None, _date_options(dates))] if dates else ()


def _words(dates: Dates) -> str:
    return conditions_text(PhotoQuery.parse(_date_options(dates)))


def _date_options(dates: Dates) -> Options:
    first, end = dates.first, dates.end
    if dates.days:
        return {"calendar_day": tuple(f"{day:%m-%d}" for day in dates.days)}
    if dates.months:
        return {"calendar_month": tuple(map(str, dates.months))}
    if first and end and (first.month, first.day, end) == (1, 1, date(first.year + 1, 1, 1)):
        return {"year": (str(first.year),)}
    limits = {"taken_after": first, "taken_before": end}
    return {name: day.isoformat() for name, day in limits.items() if day}


def _may_be_both(part: Part) -> bool:
    """Whether the words are the name of a landmark and of a city, whose photos are found too."""
    kinds = {each.kind for each in part.meanings}
    return kinds == {Kind.LANDMARK} and is_name_of_city(part.text)


def _preference(phrase: str, match: WordMatch[Meaning]) -> tuple[object, ...]:
    """Main names before aliases, then countries and regions that begin so, then by kind."""
    kind, label = match.thing.kind, match.thing.label
    is_area = kind in (Kind.COUNTRY, Kind.REGION) and folded(label).startswith(phrase)
    return match.is_alias, not is_area, _BY_WORDS.index(kind)


_BY_WORDS = (Kind.LANDMARK, Kind.COUNTRY, Kind.CAMERA, Kind.REGION, Kind.CITY, Kind.TRIP, Kind.FOLDER)
"""What is found by words of its names, the first kind before others."""


def _is_empty(meaning: Meaning) -> bool:
    return meaning.photos == 0


def _of_one_kind(found: Sequence[Meaning]) -> Sequence[Meaning]:
    """Those of the first kind, with photos before others; one alone if its option is possible once."""
    found = list({str(each.options): each for each in sorted(found, key=_is_empty)}.values())
    same = [each for each in found if each.kind is found[0].kind]
    can_repeat = all(QUERY_OPTIONS[name].several for each in same[:1] for name in each.options)
    return same[: MAX_NAMES if can_repeat else 1]


def _of_name(named: Sequence[Meaning]) -> Sequence[Meaning]:
    """Those of the first kind. A landmark that is called like its city or region is both."""
    found = _of_one_kind(named)
    if not found or found[0].kind is not Kind.LANDMARK or _is_empty(found[0]):
        return found
    areas = [each for each in named if each.kind in AREAS and not _is_empty(each)]
    return [*found, *_of_one_kind(areas)]


def _others(named: Iterable[Meaning], chosen: Sequence[Meaning]) -> Sequence[Meaning]:
    """Other places of the same name, such as the state of a city if it has more photos."""
    if not chosen or chosen[0].kind not in AREAS:
        return ()
    known = [each.options for each in chosen]
    every = (each for each in named if each.kind in AREAS and each.photos != 0 and each.options not in known)
    fuller = (each for each in every if each.kind is Kind.CITY or each.photos != chosen[0].photos)
    return list({str(each.options): each for each in fuller}.values())[:_MOST_HINTS]


def _named_files(phrase: str, files: Files) -> Sequence[Meaning]:
    """Files with this name, with or without its ending; names of several words have theirs."""
    is_one_word = " " not in phrase and any(each in "._0123456789" for each in phrase)
    if len(phrase) < _LEAST_FOR_FILES or not (is_one_word or is_photo_name(phrase)):
        return ()
    name = searched_name(phrase)
    names = [(each, searched_name(each.label)) for each in files(phrase, MAX_NAMES)]
    return [each for each, other in names if name in (other, other.rpartition(".")[0])]


def with_outcome(options: Options) -> Options:
    """The options; where they would select photos with a landmark alone, those of all classified photos."""
    return {**options, "any_rank": "1"} if options and selects_with_landmark(options) else options
