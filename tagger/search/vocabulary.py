"""What words of a search mean: dates, files, and names in lists. The head of the package has the rules."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from functools import cache, partial
from itertools import chain, groupby

from tagger.photos.names import is_photo_name
from tagger.positions.cities import is_name_of_city
from tagger.query.filter_words import Options, conditions_text, selects_with_landmark
from tagger.query.options import (
    MAX_NAMES,
    MOST_ALTERNATIVES,
    QUERY_OPTIONS,
    PhotoQuery,
)
from tagger.query.photo_conditions import searched_name
from tagger.search import (
    MOST_WORDS_OF_PART,
    Match,
    WordMatch,
    folded,
    is_grammar,
    relation_of,
    without_fillers,
)
from tagger.search.dates import AROUND, Dates, dates_with_short_year, parse_dates
from tagger.search.names import (
    Kind,
    Meaning,
    Names,
    any_trip,
    place_of_trip,
    with_surroundings,
    words_of_kind,
)
from tagger.texts.text_format import N_, gettext, without_accents

Files = Callable[
    [str, int], Sequence[Meaning]
]  # whose names start with a text, at most so many
Unshown = Callable[[str], Sequence[Meaning]]  # what has a name, but no photos
AREAS = (Kind.COUNTRY, Kind.CITY, Kind.REGION)
# What is found by words of its names, the first kind before others.
_BY_WORDS = (
    Kind.LANDMARK,
    Kind.COUNTRY,
    Kind.CAMERA,
    Kind.REGION,
    Kind.CITY,
    Kind.SIGHT,
    Kind.TRIP,
    Kind.FOLDER,
)
_LEAST_FOR_FILES = 3  # letters
_MOST_OF_KIND = 3
_MOST_HINTS = 3


class LeftOut(Enum):
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
    others: Sequence[Meaning] = ()
    is_of_name: bool = False
    is_excluded: bool = False


class Vocabulary:
    """`names`: lists that were read before."""

    def __init__(
        self,
        files: Files,
        today: date,
        names: Iterable[Names] = (),
        unshown: Unshown = lambda _: (),
    ) -> None:
        self._names = list(names)
        self._unshown = unshown
        self._today = today
        # Kept, since each list of names is tried with the same phrases.
        self._dates = cache(lambda phrase: _date_meanings(parse_dates(phrase, today)))
        self._files = cache(files)

    def parts(
        self,
        words: Sequence[str],
        lists: Iterable[Iterable[Names]],
        quoted: frozenset[str],
    ) -> Iterator[Part]:
        """The parts of a text of these words. Words that relate parts or say nothing have no meaning.

        Lists are read until all words are understood. Words that are `quoted` have no typing errors.
        """
        parts = [Part(word) for word in words]
        for more in lists if words else ():
            self._names += more
            parts = list(_longest(words, self._with_name))
            named = [part for part in parts if not is_grammar(part.text)]
            # Another list may have photos. Of a landmark called like a city, its photos are found, too.
            is_found = all(
                any(meaning.photos != 0 for meaning in part.meanings) for part in named
            )
            landmarks = [
                part
                for part in named
                if all(each.kind is Kind.LANDMARK for each in part.meanings)
            ]
            if is_found and not any(is_name_of_city(part.text) for part in landmarks):
                break
        by_words = partial(self._with_words, quoted=quoted)
        for is_rest, run in groupby(
            parts,
            lambda part: not (part.meanings or relation_of(part.text)),
        ):
            of_run = list(run)
            rest = (
                list(_longest([part.text for part in of_run], by_words))
                if is_rest
                else of_run
            )
            is_whole = all(
                is_grammar(part.text)
                or (part.meanings and not words_of_kind(part.text))
                for part in rest
            )
            yield from (
                Part(part.text) if part.is_of_name and not is_whole else part
                for part in rest
            )

    def _with_name(self, phrase: str) -> Part | None:
        # The part of words that are a date or a whole name.
        if is_grammar(phrase):
            return None
        if dates := self._dates(phrase):
            # What else a past day without a year may be: `september 24` is a month, too.
            month = dates_with_short_year(phrase, self._today)
            is_past = month and month.first and month.first <= self._today
            others = [
                meaning
                for meaning in _date_meanings(month)
                if is_past and meaning not in dates
            ]
            return Part(phrase, dates, others=others)
        short = without_fillers(phrase)
        named = self._named(phrase) or [
            each for each in self._named(short) if each.kind is Kind.OUTCOME
        ]
        meanings = self._of_name(named, phrase) or self._trips_during(phrase)
        if not meanings and AROUND.search(without_accents(phrase).casefold()):
            place = self._with_name(short)
            meanings = (
                [with_surroundings(each) for each in place.meanings] if place else ()
            )
        meanings = meanings or self.named_files(phrase)
        if not meanings:
            return None
        others = []
        if meanings[0].kind in AREAS:
            # Other places of the same name, such as the state of a city if it has more photos.
            chosen = [each.options for each in meanings]
            others = [
                each
                for each in named
                if each.kind in AREAS
                and each.options not in chosen
                and not _is_empty(each)
                and (each.kind is Kind.CITY or each.photos != meanings[0].photos)
            ]
        by_label = {area.label: area for area in others}
        return Part(phrase, meanings, others=list(by_label.values())[:_MOST_HINTS])

    def _named(self, phrase: str) -> list[Meaning]:
        return [each for index in self._names for each in index.named(phrase)]

    def _of_name(self, named: Sequence[Meaning], phrase: str) -> Sequence[Meaning]:
        # Those of the first kind. Some words mean two: a landmark and its city, or a thing and a kind.
        first_kind = _of_one_kind(named)
        if any(each.kind is Kind.THING for each in first_kind):
            return [*first_kind, *self._of_kind(phrase)]
        if any(each.kind is Kind.LANDMARK for each in first_kind) and not _is_empty(
            first_kind[0]
        ):
            areas = [
                each for each in named if each.kind in AREAS and not _is_empty(each)
            ]
            return [*first_kind, *_of_one_kind(areas)]
        return first_kind

    def _trips_during(self, phrase: str) -> Sequence[Meaning]:
        # The trips of a phrase like `trips 2022`; of `trips` alone, all if they are few.
        place = place_of_trip(phrase)
        dates = parse_dates(place or "", self._today)
        if place is None or (place and not dates):
            return ()
        trips = {
            thing.trip: thing
            for index in self._names
            for thing in index.things
            if thing.days and (not dates or dates.has_any(*thing.days))
        }
        if not trips or not (dates or len(trips) <= MOST_ALTERNATIVES):
            return ()
        newest = sorted(trips.values(), key=lambda trip: trip.days or (), reverse=True)
        of_dates = (meaning.label for meaning in _date_meanings(dates))
        return [any_trip(", ".join([gettext("Trips"), *of_dates]), newest)]

    def named_files(self, phrase: str) -> Sequence[Meaning]:
        # Files with this name, with or without its ending; names of several words have theirs.
        is_one_word = " " not in phrase and any(
            each in "._0123456789" for each in phrase
        )
        if len(phrase) < _LEAST_FOR_FILES or not (is_one_word or is_photo_name(phrase)):
            return ()
        name = searched_name(phrase)
        return [
            file
            for file in self._files(phrase, MAX_NAMES)
            if (other := searched_name(file.label)) == name
            or other.rpartition(".")[0] == name
        ]

    def _with_words(self, phrase: str, quoted: frozenset[str]) -> Part | None:
        # The part of words in names of what has photos: whole names first; of typing errors, the fewest.
        if of_kind := self._of_kind(phrase):
            return Part(phrase, of_kind)
        matches = [] if is_grammar(phrase) else self._matches(phrase)
        exact = [match for match in matches if not match.errors]
        best = [match for match in exact if not match.further_words] or exact
        if not best and matches and quoted.isdisjoint(phrase.split()):
            best = [min(matches, key=lambda match: match[:3])]
        best.sort(key=partial(_preference, folded(phrase)))
        meanings = _of_one_kind([match.thing for match in best])
        if not exact:
            meanings = [replace(meaning, match=Match.SIMILAR) for meaning in meanings]
        if meanings:
            return Part(phrase, meanings, is_of_name=best[0].further_words > 0)
        unshown = () if is_grammar(phrase) else self._unshown(phrase)
        return Part(phrase, unshown) if unshown else None

    def _of_kind(self, phrase: str) -> Sequence[Meaning]:
        # The landmarks with photos of which this is a kind: `church`.
        words = words_of_kind(phrase)
        every = (
            meaning
            for index in self._names
            if words
            for meaning in index.with_words(words)
        )
        return _of_one_kind(
            [
                each
                for each in every
                if each.kind is Kind.LANDMARK and not _is_empty(each)
            ]
        )

    def _matches(
        self,
        phrase: str,
        *,
        is_hint: bool = False,
    ) -> list[WordMatch[Meaning]]:
        every = (
            match
            for index in self._names
            for match in index.find_words(phrase, is_hint=is_hint)
        )
        return [
            match for match in every if not (_is_empty(match.thing) or phrase.isdigit())
        ]

    def starting_with(self, text: str) -> list[Meaning]:
        text = " ".join(text.split())
        if not text:
            return []
        meanings = [
            replace(each, match=match)
            for index in self._names
            for match, each in index.find(text)
        ]
        if all(each.match > Match.WORDS for each in meanings):
            close = sorted(
                self._matches(text, is_hint=True),
                key=lambda match: match.errors,
            )
            meanings += [
                replace(match.thing, match=Match.SIMILAR)
                for match in close
                if match.errors
            ]
        if len(text) >= _LEAST_FOR_FILES:
            meanings += self._files(text, _MOST_OF_KIND)
        once = {
            (each.kind, str(each.options)): each
            for each in reversed([*self._dates(text), *meanings])
        }
        with_photos = [each for each in reversed(once.values()) if not _is_empty(each)]
        groups = [
            [meaning for meaning in with_photos if meaning.kind is kind][:_MOST_OF_KIND]
            for kind in Kind
        ]
        by_match = sorted(filter(None, groups), key=lambda group: group[0].match)
        return list(chain(*by_match))

    def with_hints(self, part: Part) -> Part:
        if part.meanings or part.left_out is not LeftOut.UNKNOWN:
            return part
        hints = self.hints(part.text)
        return replace(
            part,
            others=[
                replace(hint, options=with_outcome(hint.options)) for hint in hints
            ],
        )

    def hints(self, text: str) -> Sequence[Meaning]:
        text = " ".join(word for word in text.split() if not relation_of(word))
        if not text or text.isdigit():
            return ()
        start_of_outcome = Kind.OUTCOME, Match.START
        meanings = [
            each
            for each in self.starting_with(text)
            if (each.kind, each.match) != start_of_outcome
        ]
        if not meanings:
            words = (word for word in text.split() if not is_grammar(word))
            every = [
                match for word in words for match in self._matches(word, is_hint=True)
            ]
            every.sort(key=lambda match: match[:3])
            meanings = [
                match.thing for match in every if match.errors == every[0].errors
            ]
        return list({each.label: each for each in meanings}.values())[:_MOST_HINTS]


def _longest(
    words: Sequence[str], part_of: Callable[[str], Part | None]
) -> Iterator[Part]:
    # From the left, the parts of the longest runs of words, and each other word alone.
    first = 0
    while first < len(words):
        for end in range(
            min(len(words), first + MOST_WORDS_OF_PART),
            first,
            -1,
        ):
            phrase = " ".join(words[first:end])
            if part := part_of(phrase):
                break
        yield part or Part(phrase)
        first = end


def _is_empty(meaning: Meaning) -> bool:
    return meaning.photos == 0


def _date_meanings(dates: Dates | None) -> Sequence[Meaning]:
    if dates is None:
        return ()
    first, end = dates.first, dates.end
    options: Options
    if dates.days:
        options = {"calendar_day": tuple(f"{day:%m-%d}" for day in dates.days)}
    elif dates.months:
        options = {"calendar_month": tuple(map(str, dates.months))}
    elif (
        first
        and end
        and (first.month, first.day, end)
        == (
            1,
            1,
            date(first.year + 1, 1, 1),
        )
    ):
        options = {"year": (str(first.year),)}
    else:
        limits = {"taken_after": first, "taken_before": end}
        options = {name: day.isoformat() for name, day in limits.items() if day}
    return [
        Meaning(
            Kind.DATE,
            conditions_text(PhotoQuery.parse(options)),
            "",
            None,
            options,
        )
    ]


def _preference(phrase: str, match: WordMatch[Meaning]) -> tuple[object, ...]:
    # Main names before aliases, then countries and regions that begin so, then by kind.
    kind, label = match.thing.kind, match.thing.label
    is_area = kind in (Kind.COUNTRY, Kind.REGION) and folded(label).startswith(phrase)
    return match.is_alias, not is_area, _BY_WORDS.index(kind)


def _of_one_kind(meanings: Sequence[Meaning]) -> Sequence[Meaning]:
    # Those of the first kind, with photos before others; one alone if its option is possible once.
    meanings = list(
        {str(each.options): each for each in sorted(meanings, key=_is_empty)}.values()
    )
    same = [each for each in meanings if each.kind is meanings[0].kind]
    can_repeat = all(
        QUERY_OPTIONS[name].several for each in same[:1] for name in each.options
    )
    can_repeat = can_repeat and all(each.kind is not Kind.TRIP for each in same[:1])
    return same[: MAX_NAMES if can_repeat else 1]


def with_outcome(options: Options) -> Options:
    """The options; where they would select photos with a landmark alone, those of all classified photos."""
    return (
        {**options, "any_rank": "1"}
        if options and selects_with_landmark(options)
        else options
    )
