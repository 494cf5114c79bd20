"""A typed text as a query: its parts (`eiffelturm`, `sommer 2016`), what is left out, and the query of all.

Parts are dates, files, and names in lists; see words for the rules. Commands read the names here, the page
keeps them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from functools import cache, partial
from itertools import chain, dropwhile, groupby
from typing import Any

from tagger.cameras import names_of_camera_models
from tagger.database.connection import Database
from tagger.database.statements import among
from tagger.database.tables import effective_tags
from tagger.errors import QueryOptionInvalid, SearchTextInvalid, ThingNotFound
from tagger.landmarks.landmarks import (
    familiar_landmarks,
    find_landmark,
    landmark_countries,
    landmarks_that_may_have,
    landmarks_with_slugs_of,
    newest_landmarks,
    normalize_name,
    photos_by_landmark,
)
from tagger.photos.names import is_photo_name
from tagger.positions.cities import is_name_of_city
from tagger.query.counts import (
    LandmarkCount,
    city_counts,
    folder_counts,
    landmark_counts,
    sight_counts,
    trip_summaries,
)
from tagger.query.filter_words import Options, conditions_text, selects_with_landmark
from tagger.query.option_values import DEFAULT_RADIUS_KM, Near
from tagger.query.options import (
    MAX_NAMES,
    MOST_ALTERNATIVES,
    QUERY_OPTIONS,
    Alternatives,
    PhotoQuery,
)
from tagger.query.photo_conditions import files_by_name, position_countries, searched_name
from tagger.roots.roots import RootPaths
from tagger.search.dates import AROUND, Dates, dates_with_short_year, parse_dates
from tagger.search.names import (
    Kind,
    Meaning,
    Names,
    any_trip,
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
    place_of_trip,
    region_names,
    sight_names,
    thing_names,
    trip_names,
    with_surroundings,
    words_of_kind,
)
from tagger.search.words import (
    MAX_LETTERS,
    MAX_WORDS,
    MOST_WORDS_OF_PART,
    SPACES_AND_QUOTES,
    Match,
    Relation,
    WordMatch,
    folded,
    is_grammar,
    is_not_after,
    phrases,
    quoted_words,
    relation_of,
    without_fillers,
    words_of,
)
from tagger.tags.models_in_use import THINGS, shipped_file, things_off_text
from tagger.texts.text_format import N_, country_name, gettext, list_text, without_accents
from tagger.things import PREFIX, ThingCount, all_things, count_things, find_thing

Files = Callable[[str, int], Sequence[Meaning]]  # whose names start with a text, at most so many
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
_ALSO = {
    Kind.COUNTRY: N_("“%(text)s” is also a country: %(name)s."),
    Kind.CITY: N_("“%(text)s” is also a city: %(name)s."),
    Kind.REGION: N_("“%(text)s” is also a state or region: %(name)s."),
    Kind.DATE: N_("“%(text)s” is read as a day. For the month, search for %(name)s."),
}
_LEAST_FOR_FILES = 3  # letters
MOST = 12  # suggestions for a text
_MOST_OF_KIND = 3
_MOST_HINTS = 3


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
    others: Sequence[Meaning] = ()
    is_of_name: bool = False
    is_excluded: bool = False


@dataclass(frozen=True)
class UnderstoodText:
    """What a text means: its parts, and the query of those understood, with the options of an address.

    `clauses`: the parts, each together with its alternatives.
    """

    clauses: Sequence[Sequence[Part]]
    options: Options
    query: PhotoQuery

    @property
    def parts(self) -> list[Part]:
        return list(chain(*self.clauses))

    @property
    def left_out(self) -> list[Part]:
        return [part for part in self.parts if not part.meanings]

    @property
    def guesses(self) -> list[tuple[str, Meaning]]:
        """Words that only resemble a name, with what they are taken for."""
        meanings = ((part.text, meaning) for part in self.parts for meaning in part.meanings[:1])
        return [(text, each) for text, each in meanings if each.match is Match.SIMILAR]

    @property
    def note(self) -> str:
        """A sentence about the words that are left out; empty: none are."""
        reasons = [
            gettext(
                each.left_out.value,
                text=each.text,
                count=MAX_WORDS,
            )
            for each in self.left_out
        ]
        return gettext("Left out: %(reasons)s.", reasons="; ".join(reasons)) if reasons else ""

    @property
    def hints(self) -> str:
        close = [_label(other) for part in self.left_out for other in part.others]
        sentences = (
            [gettext("Did you mean %(names)s?", names=list_text(close, "or"))] if close else []
        )
        for part in self.parts:
            for each in part.others if part.meanings else ():
                name = ", ".join(filter(None, (_label(each), each.detail)))
                sentences.append(gettext(_ALSO[each.kind], text=part.text, name=name))
        return " ".join(sentences)

    @property
    def words(self) -> str:
        names = dict[str, str]()
        for meaning in (each for part in self.parts for each in part.meanings):
            label = f"{meaning.label}, {meaning.detail}" if meaning.trip else meaning.label
            names |= {str(value): label for value in meaning.options.values()}
            names |= meaning.trips
        return conditions_text(self.query, names)

    def within(self, query: PhotoQuery) -> PhotoQuery:
        """The photos of another query that match the text, too, whatever became of them.

        Raises:
            QueryOptionInvalid: both have an option that is possible once, or they contradict each other.
        """
        names = [name for name in self.options if name != "any_rank"]
        both = {
            name: _both(
                name,
                getattr(query, name),
                getattr(self.query, name),
            )
            for name in names
        }
        return replace(query, **both, any_outcome="any_rank" in self.options)


def _label(meaning: Meaning) -> str:
    return country_name(meaning.label) if meaning.kind is Kind.COUNTRY else meaning.label


def understand(
    text: str,
    lists: Iterable[Iterable[Names]],
    files: Files,
    today: date,
    unshown: Unshown = lambda _: (),
) -> UnderstoodText:
    """Understand a text. Of the lists, no more are read than it needs, and what is unshown last."""
    words, vocabulary = words_of(text), Vocabulary(files, today, unshown=unshown)
    name = text.strip(SPACES_AND_QUOTES)
    if is_photo_name(name) and vocabulary.named_files(name):
        words = [name]  # with its marks: `Paris (1).jpg`, `a & b.jpg`
    clauses = list[list[Part]]()
    for clause in _clauses(
        vocabulary.parts(
            words[:MAX_WORDS],
            lists,
            quoted_words(text),
        )
    ):
        try:
            PhotoQuery.parse(_options_of([*clauses, clause]))
        except QueryOptionInvalid:
            clauses.append(
                [
                    Part(
                        " ".join(part.text for part in clause),
                        left_out=LeftOut.CONTRADICTS,
                    )
                ]
            )
        else:
            clauses.append([vocabulary.with_hints(part) for part in clause])
    if unread := " ".join(words[MAX_WORDS:]):
        clauses.append([Part(unread, left_out=LeftOut.TOO_LONG)])
    options = _options_of(clauses)
    return UnderstoodText(clauses, options, PhotoQuery.parse(options))


def suggest(
    text: str,
    names: Sequence[Names],
    files: Files,
    today: date,
) -> list[Meaning]:
    """What the start of a text may mean, at most MOST: all that it means now, then single meanings by kind.

    Where its last part is not understood, these are meanings of that, together with the parts before.
    """
    understood = understand(text, [names], files, today)
    vocabulary = Vocabulary(files, today, names)
    suggestions = [
        replace(each, options=with_outcome(each.options)) for each in vocabulary.starting_with(text)
    ]
    *before, last = understood.parts or (Part(""),)
    if before and not suggestions and not last.meanings and last.left_out is LeftOut.UNKNOWN:
        *clauses, (*alternatives, _) = understood.clauses
        for hint in vocabulary.hints(last.text):
            with suppress(QueryOptionInvalid):
                options = _options_of(
                    [
                        *clauses,
                        [*alternatives, replace(last, meanings=[hint])],
                    ]
                )
                suggestions.append(replace(hint, options=options, trip=None))
    has_photos = all(meaning.photos != 0 for part in understood.parts for meaning in part.meanings)
    is_new = has_photos and all(
        PhotoQuery.parse(each.options) != understood.query for each in suggestions
    )
    if understood.parts and not understood.left_out and is_new:
        suggestions.insert(
            0,
            Meaning(
                Kind.PHOTOS,
                understood.words,
                "",
                None,
                understood.options,
            ),
        )
    return suggestions[:MOST]


def _clauses(parts: Iterable[Part]) -> list[list[Part]]:
    # Each part together with its alternatives. Words that relate parts or say nothing are gone.
    clauses, words = list[list[Part]](), list[str]()
    for part in _with_runs(parts):
        clause = clauses[-1] if clauses and clauses[-1][-1].meanings else []
        if not part.meanings and is_grammar(part.text):
            if clause and is_not_after(part.text):
                excluded = replace(clause.pop(), is_excluded=True)
                clauses = [*filter(None, clauses), [excluded]]
            else:
                words.append(part.text)
            continue
        relations = {relation_of(word) for word in words}
        from_negation = dropwhile(
            lambda word: relation_of(word) is not Relation.NOT,
            words,
        )
        left_out = Part(
            " ".join([*from_negation, part.text]),
            left_out=LeftOut.UNKNOWN,
        )
        related = part if part.meanings else left_out
        words = []
        if not clause or not _are_alternatives(clause, part, relations):
            clauses.append([replace(related, is_excluded=Relation.NOT in relations)])
            continue
        before = clause[-1]
        options = {
            name for meaning in (*before.meanings, *part.meanings) for name in meaning.options
        }
        # With these, a search finds other photos, or in another order, than for the rest.
        is_apart = not options.isdisjoint(("untagged", "failed", "sort"))
        if before.is_excluded or not (Relation.NOT in relations or is_apart):
            clause.append(replace(related, is_excluded=before.is_excluded))
        else:
            clauses.append([replace(left_out, left_out=LeftOut.OR)])
    if text := " ".join(word for word in words if relation_of(word) is Relation.NOT):
        clauses.append([Part(text)])
    return clauses


def _with_runs(parts: Iterable[Part]) -> Iterator[Part]:
    # The parts; words that are not understood are one, from the first to the last that says something.
    for is_understood, run in groupby(parts, lambda part: bool(part.meanings)):
        of_run = list(run)
        says = [number for number, part in enumerate(of_run) if not is_grammar(part.text)]
        if is_understood or not says:
            yield from of_run
        else:
            first, end = says[0], says[-1] + 1
            text = " ".join(part.text for part in of_run[first:end])
            yield from (*of_run[:first], Part(text), *of_run[end:])


def _are_alternatives(
    clause: Sequence[Part],
    part: Part,
    relations: set[Relation | None],
) -> bool:
    # Whether a photo need not be of both: with `or`, or where none is, as of two places.
    if Relation.OR in relations:
        return True
    if Relation.NOT in relations or not part.meanings:
        return False
    kinds = {each.meanings[0].kind for each in (clause[-1], part)}
    if Relation.AND in relations:
        is_of_one = len(kinds) == 1 and kinds.isdisjoint((Kind.OUTCOME, Kind.THING))
        return is_of_one or kinds <= {Kind.LANDMARK, *AREAS}
    is_alone = len(clause) == 1 and not clause[0].is_excluded
    return is_alone and len(kinds) == 1 and kinds <= {Kind.CITY, Kind.REGION}


def _options_of(clauses: Iterable[Sequence[Part]]) -> Options:
    """The options of all clauses; values of one that can be repeated come together.

    Raises:
        QueryOptionInvalid: two have different values of an option that a query can have once.
    """
    options: dict[str, Any] = {}
    for clause in clauses:
        every = [
            each
            for part in clause
            for each in _united([meaning.options for meaning in part.meanings])
        ]
        if clause[0].is_excluded:
            every = [{"without": (_alternatives([each]),)} for each in every]
        elif len(every := _united(every)) > 1:
            every = [{"any_of": (_alternatives(every),)}]
        for name, value in chain(*(each.items() for each in every)):
            if QUERY_OPTIONS[name].several:
                options[name] = tuple(
                    dict.fromkeys(
                        (
                            *options.get(name, ()),
                            *_values(value),
                        )
                    )
                )
            elif options.setdefault(name, value) != value:
                raise QueryOptionInvalid(option=name, reason="is there twice")
    return with_outcome(options)


def _united(every: list[Options]) -> list[Options]:
    # One option with all values, if several mean photos of any of them; else these options.
    names = {name for each in every for name in each}
    is_one = len(names) == 1 and all(
        QUERY_OPTIONS[name].several and not QUERY_OPTIONS[name].all_of_several for name in names
    )
    if not is_one:
        return every
    return [
        {name: tuple(value for each in every for value in _values(each[name])) for name in names}
    ]


def _values(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _alternatives(options: Iterable[Options]) -> str:
    return str(Alternatives(tuple(map(PhotoQuery.parse, options))))


def _both(option: str, value: Any, of_text: Any) -> Any:
    # The value of an option that fulfils both.
    if value in (None, False, ()):
        return of_text
    if option in ("any_of", "without") or QUERY_OPTIONS[option].all_of_several:
        return (*value, *of_text)
    if option == "taken_after":
        return max(value, of_text)
    if option == "taken_before":
        return min(value, of_text)
    can_match_both = option in ("year", "calendar_month", "calendar_day")
    common = tuple(each for each in value if each in of_text) if can_match_both else ()
    if not common:
        raise QueryOptionInvalid(
            option=option, reason="the text has one, too. Leave out one of them"
        )
    return common


class Vocabulary:
    """The meanings of words. `names`: lists that were read before."""

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
            is_found = all(any(meaning.photos != 0 for meaning in part.meanings) for part in named)
            landmarks = [
                part for part in named if all(each.kind is Kind.LANDMARK for each in part.meanings)
            ]
            if is_found and not any(is_name_of_city(part.text) for part in landmarks):
                break
        by_words = partial(self._with_words, quoted=quoted)
        for is_rest, run in groupby(
            parts,
            lambda part: not (part.meanings or relation_of(part.text)),
        ):
            of_run = list(run)
            rest = list(_longest([part.text for part in of_run], by_words)) if is_rest else of_run
            is_whole = all(
                is_grammar(part.text) or (part.meanings and not words_of_kind(part.text))
                for part in rest
            )
            yield from (
                Part(part.text) if part.is_of_name and not is_whole else part for part in rest
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
                meaning for meaning in _date_meanings(month) if is_past and meaning not in dates
            ]
            return Part(phrase, dates, others=others)
        short = without_fillers(phrase)
        named = self._named(phrase) or [
            each for each in self._named(short) if each.kind is Kind.OUTCOME
        ]
        meanings = self._of_name(named, phrase) or self._trips_during(phrase)
        if not meanings and AROUND.search(without_accents(phrase).casefold()):
            place = self._with_name(short)
            meanings = [with_surroundings(each) for each in place.meanings] if place else ()
        meanings = meanings or self.named_files(phrase)
        if not meanings:
            return None
        others = []
        if meanings[0].kind in AREAS:
            # Other places of the same name, such as the state of a city if it has more photos.
            chosen = [each.options for each in meanings]
            areas = [each for each in named if each.kind in AREAS and each.options not in chosen]
            others = [
                area
                for area in areas
                if area.photos != 0
                and (area.kind is Kind.CITY or area.photos != meanings[0].photos)
            ]
        by_label = {area.label: area for area in others}
        return Part(
            phrase,
            meanings,
            others=list(by_label.values())[:_MOST_HINTS],
        )

    def _named(self, phrase: str) -> list[Meaning]:
        return [each for index in self._names for each in index.named(phrase)]

    def _of_name(self, named: Sequence[Meaning], phrase: str) -> Sequence[Meaning]:
        # Those of the first kind. Some words mean two: a landmark and its city, or a thing and a kind.
        first_kind = _of_one_kind(named)
        if any(each.kind is Kind.THING for each in first_kind):
            return [*first_kind, *self._of_kind(phrase)]
        if any(each.kind is Kind.LANDMARK for each in first_kind) and not _is_empty(first_kind[0]):
            areas = [each for each in named if each.kind in AREAS and not _is_empty(each)]
            return [*first_kind, *_of_one_kind(areas)]
        return first_kind

    def _trips_during(self, phrase: str) -> Sequence[Meaning]:
        # The trips of a phrase like `trips 2022`; of `trips` alone, all if they are few.
        place = place_of_trip(phrase)
        dates = parse_dates(place or "", self._today)
        if place is None or (place and not dates):
            return ()
        things = (thing for index in self._names for thing in index.things)
        trips = {
            thing.trip: thing
            for thing in things
            if thing.days and (not dates or dates.has_any(*thing.days))
        }
        newest = sorted(
            trips.values(),
            key=lambda trip: trip.days or (),
            reverse=True,
        )
        label = ", ".join(
            [
                gettext("Trips"),
                *(meaning.label for meaning in _date_meanings(dates)),
            ]
        )
        return (
            [any_trip(label, newest)]
            if newest and (dates or len(newest) <= MOST_ALTERNATIVES)
            else ()
        )

    def named_files(self, phrase: str) -> Sequence[Meaning]:
        # Files with this name, with or without its ending; names of several words have theirs.
        is_one_word = " " not in phrase and any(each in "._0123456789" for each in phrase)
        if len(phrase) < _LEAST_FOR_FILES or not (is_one_word or is_photo_name(phrase)):
            return ()
        name = searched_name(phrase)
        names = [(file, searched_name(file.label)) for file in self._files(phrase, MAX_NAMES)]
        return [each for each, other in names if name in (other, other.rpartition(".")[0])]

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
        every = (meaning for index in self._names if words for meaning in index.with_words(words))
        return _of_one_kind(
            [each for each in every if each.kind is Kind.LANDMARK and not _is_empty(each)]
        )

    def _matches(
        self,
        phrase: str,
        *,
        is_hint: bool = False,
    ) -> list[WordMatch[Meaning]]:
        every = (
            match for index in self._names for match in index.find_words(phrase, is_hint=is_hint)
        )
        return [match for match in every if not (_is_empty(match.thing) or phrase.isdigit())]

    def starting_with(self, text: str) -> list[Meaning]:
        """The meanings of the start of a name; similar names only where no word of one starts so."""
        text = " ".join(text.split())
        if not text:
            return []
        meanings = [
            replace(each, match=match) for index in self._names for match, each in index.find(text)
        ]
        if all(each.match > Match.WORDS for each in meanings):
            close = sorted(
                self._matches(text, is_hint=True),
                key=lambda match: match.errors,
            )
            meanings += [
                replace(match.thing, match=Match.SIMILAR) for match in close if match.errors
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
            others=[replace(hint, options=with_outcome(hint.options)) for hint in hints],
        )

    def hints(self, text: str) -> Sequence[Meaning]:
        text = " ".join(word for word in text.split() if not relation_of(word))
        if not text or text.isdigit():
            return ()
        start_of_outcome = Kind.OUTCOME, Match.START
        meanings = [
            each for each in self.starting_with(text) if (each.kind, each.match) != start_of_outcome
        ]
        if not meanings:
            words = (word for word in text.split() if not is_grammar(word))
            every = [match for word in words for match in self._matches(word, is_hint=True)]
            every.sort(key=lambda match: match[:3])
            meanings = [match.thing for match in every if match.errors == every[0].errors]
        return list({each.label: each for each in meanings}.values())[:_MOST_HINTS]


def _longest(words: Sequence[str], part_of: Callable[[str], Part | None]) -> Iterator[Part]:
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
    meanings = list({str(each.options): each for each in sorted(meanings, key=_is_empty)}.values())
    same = [each for each in meanings if each.kind is meanings[0].kind]
    can_repeat = all(QUERY_OPTIONS[name].several for each in same[:1] for name in each.options)
    can_repeat = can_repeat and all(each.kind is not Kind.TRIP for each in same[:1])
    return same[: MAX_NAMES if can_repeat else 1]


def with_outcome(options: Options) -> Options:
    """The options; where they would select photos with a landmark alone, those of all classified photos."""
    return {**options, "any_rank": "1"} if options and selects_with_landmark(options) else options


# The text of a command: its names are read from the database

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
        raise SearchTextInvalid(
            text=f"{text[:_SHOWN_LETTERS]}…",
            reason=reason,
            hint="",
        )
    queries = list_queries(database, root_paths)
    understood = understand(
        text,
        lists_of_names(database, text, lambda name: queries[name]()),
        named_files(database, root_paths),
        this_day(),
        unshown_things(database),
    )
    if not understood.parts:
        raise SearchTextInvalid(text=repr(text), reason="it has no words.", hint="")
    for part in understood.left_out:
        hint = understood.hints if part.others else ""
        of_thing = thing_hint(database, part.text) if part.left_out is LeftOut.UNKNOWN else ""
        reason = " ".join(filter(None, (_REASONS[part.left_out], hint, of_thing)))
        raise SearchTextInvalid(text=part.text, reason=reason, hint=hint)
    return understood


def thing_hint(database: Database, text: str) -> str:
    """Why no photo is found by the name of a thing; empty: it is none."""
    name = text.removeprefix(PREFIX).casefold()
    with database.read() as connection:
        off_text = things_off_text(connection)
        if not off_text:
            try:
                find_thing(connection, name)
            except ThingNotFound as error:
                return str(error) if text.startswith(PREFIX) else ""
            return ""
    from tagger.model.artifact import read_manifest  # pydantic

    for label in read_manifest(shipped_file(THINGS)).labels:
        if name in map(
            str.casefold,
            (
                label.name,
                *label.names.values(),
                *label.aliases,
            ),
        ):
            return off_text
    return ""


def place_near(database: Database, name: str, root_paths: RootPaths) -> Near | None:
    """The circle around a city, landmark or sight that a text names; None: it names none.

    Raises:
        SearchTextInvalid: as `text_query`, if no sight of the world has the name either.
    """
    try:
        query = text_query(database, name, root_paths).query
    except SearchTextInvalid:
        circle = _around_sight(database, name)
        if circle is None:
            raise
        return circle
    if query.circle is not None:
        return query.circle
    if query.landmark:
        with database.read() as connection:
            landmark = find_landmark(connection, query.landmark[0])
        if landmark.latitude is not None and landmark.longitude is not None:
            return Near(landmark.latitude, landmark.longitude, DEFAULT_RADIUS_KM)
    return _around_sight(database, name)


def _around_sight(database: Database, name: str) -> Near | None:
    from tagger.sights import library_sights  # numpy, and a table of 20,900 sights

    with database.read() as connection:
        sights = library_sights(connection)
    for sight in sights.find(name, 1):
        return Near(sight.latitude, sight.longitude, DEFAULT_RADIUS_KM)
    return None


def named_files(database: Database, root_paths: RootPaths) -> Files:
    return lambda start, limit: file_meanings(files_by_name(database, root_paths, start, limit))


def unshown_things(database: Database) -> Unshown:
    """The things of models that a text names, which are read if nothing in the library has the name."""

    @cache
    def names() -> Names:
        with database.read() as connection:
            is_off = bool(things_off_text(connection))
            things = () if is_off else all_things(connection).values()
        return thing_names(ThingCount(thing, 0, 0, "") for thing in things)

    return lambda text: names().named(text)


def this_day() -> date:
    return datetime.now().astimezone().date()


def unfamiliar_names(
    database: Database,
    text: str,
    familiar: Collection[str],
    sights: Collection[str] = (),
    *,
    by_name: bool = False,
) -> Names:
    """The names in a text of landmarks without these slugs, and the newest ones: just taught places.

    A landmark that no photo shows stands back where photos were taken at the sight of its name.
    `by_name`: also if the slug has not the name; reads all landmarks.
    """
    find = landmarks_that_may_have if by_name else landmarks_with_slugs_of
    with database.read() as connection:
        every = (
            *find(connection, phrases(text)),
            *newest_landmarks(connection),
        )
        unfamiliar = {each.id: each for each in every if each.slug not in familiar}
        numbers = photos_by_landmark(
            connection,
            among(effective_tags.c.landmark_id, list(unfamiliar)),
        )
    names_of_sights = set(map(normalize_name, sights))
    counts = [
        LandmarkCount.of(each, numbers[each.id])
        for each in unfamiliar.values()
        if numbers[each.id] or names_of_sights.isdisjoint(map(normalize_name, each.all_names))
    ]
    return landmark_names(
        sorted(
            counts,
            key=lambda count: (-count.photos, count.landmark),
        )
    )


def lists_of_names(
    database: Database,
    text: str,
    read: Callable[[str], Any],
    make: Callable[..., Any] = lambda names_of, *lists: names_of(*lists),
    *,
    by_name: bool = True,
) -> Iterator[Sequence[Names]]:
    """The names for a text, those that are read fastest first.

    `read`: the list with a name of `list_queries`. `make`: what a function makes of lists.
    `by_name`: as `unfamiliar_names`.
    """
    counts = read("counts")
    is_counted = counts is not None
    if not is_counted:
        counts = uncounted_landmarks(database)
    familiar = {count.landmark for count in counts if count.photos or not is_counted}
    sights = read("sights")
    names_of_sights = [count.sight.name for count in sights]
    countries = read("countries")
    yield (
        make(landmark_names, counts) if is_counted else landmark_names(counts, is_counted=False),
        unfamiliar_names(database, text, familiar, names_of_sights),
        make(country_names, countries),
        make(camera_names, read("cameras")),
        make(outcome_names),
        thing_names(read("things")),
    )
    cities = read("cities")
    yield (
        make(city_names, cities),
        make(region_names, cities),
        make(sight_names, sights, counts),
    )
    yield make(foreign_country_names, countries), make(foreign_city_names, cities)
    trips = read("trips")
    yield make(journey_names, trips), make(trip_names, trips)
    yield (make(folder_names, read("folders")),)
    if by_name:
        yield (unfamiliar_names(database, text, familiar, names_of_sights, by_name=True),)


def list_queries(database: Database, root_paths: RootPaths) -> Mapping[str, Callable[[], Any]]:
    """What reads each list in which searches find names. Folders are counted from all photos."""

    def read_countries() -> Mapping[str, None]:
        with database.read() as connection:
            return dict.fromkeys((*position_countries(connection), *landmark_countries(connection)))

    def read_cameras() -> Mapping[str, Collection[str]]:
        with database.read() as connection:
            return names_of_camera_models(connection)

    return {
        "counts": lambda: landmark_counts(database),
        "sights": lambda: sight_counts(database),
        "countries": read_countries,
        "cameras": read_cameras,
        "things": lambda: count_things(database),
        "cities": lambda: city_counts(database),
        "trips": lambda: trip_summaries(database),
        "folders": lambda: folder_counts(database, root_paths),
    }


def uncounted_landmarks(database: Database) -> list[LandmarkCount]:
    """The familiar landmarks by name, for the time until their photos are counted."""
    with database.read() as connection:
        landmarks = familiar_landmarks(connection)
    by_name = sorted(landmarks, key=lambda landmark: normalize_name(landmark.display_name))
    return [LandmarkCount.of(landmark, 0) for landmark in by_name]
