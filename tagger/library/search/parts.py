"""A typed text as parts, such as `eiffelturm`, `sommer 2016` and `canon`: what each means, what is not understood, and the query of all.

From the left, each part is the longest run of words that is a date or exactly a name. Lists of names are read in order of what reading
costs, until every word is understood. Words that no list has exactly are compared with the words of names, also with typing errors, unless
they are quoted.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum, auto
from functools import cache, partial
from itertools import groupby
from typing import Any

from tagger.errors import QueryOptionInvalid
from tagger.library.query.filter_words import Options, conditions_text, query_of, selects_with_landmark
from tagger.library.query.options import (
    MAX_NAMES,
    QUERY_OPTIONS,
    Alternatives,
    PhotoQuery,
    refuse_contradictions,
)
from tagger.library.search.dates import Dates, parse_dates
from tagger.library.search.matching import Match, folded
from tagger.library.search.names import Kind, Meaning, Names
from tagger.system.text_format import N_, gettext, reader_language

MAX_WORDS = 24
"""The words of a text that are read."""
_MOST_WORDS = 12
"""The most words of a part."""
_EDGES = ",;:.!?\"'()“”„«»"
_FILLER_WORDS = """
photo photos picture pictures image images pic pics foto fotos bild bilder imagen imagenes imagens immagini
a an the of in at on from to with and or by near my our me show find all taken during
der die das den dem des ein eine von vom im am aus mit und bei nach zu meine alle
de du la le les l un une en et dans avec mes tous aux au del el los las y con mis todas
da do dos em no na e com minhas di il gli i delle della nel nella van het een
but aber mais pero mas nhung phai
"""
_FILLERS = frozenset(_FILLER_WORDS.split())
"""Words that say nothing about photos, unless a name has them."""
_OR, _NOT, _NOT_BEFORE = (
    frozenset(map(folded, words.split()))
    for words in (
        "or oder ou o hoặc या",
        "not without except nicht ohne außer kein keine pas sans sauf sin excepto salvo não sem exceto senza non niet zonder geen không trừ बिना",
        "नहीं",
    )
)
_NO = "no"
"""This is `not` in English and Spanish, and `in the` in Portuguese."""
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]+)[\"”“»]")
_LEAST_FOR_FILES = 3
"""The fewest letters by which files are looked up."""
Files = Callable[[str, int], Sequence[Meaning]]
"""Files whose names start with a text, at most so many."""


class LeftOut(Enum):
    """Why words are left out of a search, as the page says it."""

    UNKNOWN = N_("“%(text)s”, which is no date and no name in this library")
    CONTRADICTS = N_("“%(text)s”, which contradicts the rest")
    OR = N_("“%(text)s”, since a search cannot join this and the rest with “or”")
    TOO_LONG = N_("“%(text)s”, since a search has at most %(count)s words")


class Relation(Enum):
    """How a part selects photos together with those before: of these, of the part before too, or of all others."""

    AND = auto()
    OR = auto()
    NOT = auto()


@dataclass(frozen=True)
class Part:
    """Words of the text, and what they mean: one thing, or several of which a photo matches any; none: they are left out."""

    text: str
    meanings: Sequence[Meaning]
    left_out: LeftOut = LeftOut.UNKNOWN
    relation: Relation = Relation.AND

    @property
    def is_guess(self) -> bool:
        """Whether the words only resemble the name."""
        return any(meaning.match is Match.SIMILAR for meaning in self.meanings)


@dataclass(frozen=True)
class UnderstoodText:
    """What a text means: its parts in order, and the query of those that are understood, with its options as an address has them."""

    parts: tuple[Part, ...]
    options: Options
    query: PhotoQuery

    @property
    def left_out(self) -> list[tuple[str, LeftOut]]:
        """The runs of words that are left out, each with the reason."""
        runs = groupby(self.parts, key=lambda part: None if part.meanings else part.left_out)
        return [(" ".join(part.text for part in run), reason) for reason, run in runs if reason]

    @property
    def guesses(self) -> list[tuple[str, Meaning]]:
        """Words that only resemble a name, with what they are taken for."""
        return [(part.text, part.meanings[0]) for part in self.parts if part.is_guess]

    @property
    def note(self) -> str:
        """A sentence about the words that are left out; empty: none are."""
        reasons = [gettext(reason.value, text=text, count=MAX_WORDS) for text, reason in self.left_out]
        return gettext("Left out: %(reasons)s.", reasons="; ".join(reasons)) if reasons else ""

    @property
    def names(self) -> dict[str, str]:
        """Names of landmarks, positions, boxes and trips, by the values of options."""
        return {
            str(value): f"{meaning.label}, {meaning.detail}" if meaning.trip else meaning.label
            for part in self.parts
            for meaning in part.meanings
            for value in meaning.options.values()
        }

    @property
    def words(self) -> str:
        """What the photos fulfil: `France, 2019`."""
        return conditions_text(self.query, self.names)

    def within(self, query: PhotoQuery) -> PhotoQuery:
        """The photos of another query that match the text, too, whatever became of them, with their accepted tags.

        Raises:
            QueryOptionInvalid: both have an option that cannot be fulfilled twice, or they contradict each other.
        """
        names = self.options.keys() - {"radius_km", "any_rank"}
        both = {name: _both(name, getattr(query, name), getattr(self.query, name)) for name in names}
        result = replace(query, **both, any_outcome="any_rank" in self.options)
        refuse_contradictions(result)
        return result


def understand(text: str, lists: Iterable[Iterable[Names]], files: Files, today: date) -> UnderstoodText:
    """Understand a text. Of the lists, no more are read than it needs."""
    words = _words(text)
    fitting, parts = list[Part](), list[Part]()
    for group in _groups(divide(words[:MAX_WORDS], lists, files, today, _quoted_words(text))):
        try:
            query_of(_options_of([*fitting, *group]))
        except QueryOptionInvalid:
            parts.append(Part(" ".join(part.text for part in group), (), LeftOut.CONTRADICTS))
        else:
            fitting += group
            parts += group
    if unread := " ".join(words[MAX_WORDS:]):
        parts.append(Part(unread, (), LeftOut.TOO_LONG))
    options = _options_of(fitting)
    return UnderstoodText(tuple(parts), options, query_of(options))


def phrases(text: str) -> set[str]:
    """The runs of words of a text that may be names."""
    words = _words(text)[:MAX_WORDS]
    starts = range(len(words))
    return {
        " ".join(words[start:end]) for start in starts for end in range(start + 1, start + _MOST_WORDS + 1)
    }


def _words(text: str) -> list[str]:
    plain = _EXCLUDED_BEFORE.sub("नहीं", _EXCLUDED.sub("not ", text))
    words = (word.strip(_EDGES) for word in plain.split())
    return [word for word in words if folded(word)]


_EXCLUDED = re.compile(r"(?<!\S)-(?=[^\W\d])")
"""The sign in `paris -louvre`."""
_EXCLUDED_BEFORE = re.compile("के (?:बिना|अलावा|सिवाय)|को छोड़कर")
"""Words for `without` that follow what is excluded."""


def _quoted_words(text: str) -> frozenset[str]:
    return frozenset(word for quoted in _QUOTED.findall(text) for word in _words(quoted))


def divide(
    words: Sequence[str],
    lists: Iterable[Iterable[Names]],
    files: Files,
    today: date,
    quoted: Collection[str] = (),
) -> list[Part]:
    """The parts of a text of these words, without words that say nothing. Those that are `quoted` have no typing errors."""
    names = list[Names]()
    parts = [Part(word, ()) for word in words]

    # Kept, since each list of names is tried with the same phrases.
    dates, named_files = cache(partial(_dates, today=today)), cache(partial(_files, files=files))

    def exact(phrase: str) -> Sequence[Meaning]:
        if _is_filler(phrase) and len(words) > 1:
            return ()
        named = [each for index in names for each in index.named(phrase)]
        return dates(phrase) or _of_one_kind(named) or named_files(phrase)

    for more in lists if words else ():
        names += more
        parts = list(_phrases(words, exact))
        if all(
            any(not _is_empty(each) for each in part.meanings) or _is_of_grammar(part.text) for part in parts
        ):
            break
    return list(_without_fillers(_related(_with_similar(parts, names, quoted))))


MOST = 12
"""The most suggestions for a text."""
_MOST_OF_KIND = {
    **dict.fromkeys(Kind, 2),
    Kind.DATE: 1,
    Kind.LANDMARK: 4,
    Kind.CITY: 3,
    Kind.CAMERA: 3,
    Kind.FOLDER: 3,
    Kind.FILE: 3,
}


def suggest(text: str, names: Sequence[Names], files: Files, today: date) -> list[Meaning]:
    """What the start of a text may mean, at most MOST: all its parts together, then single meanings, those of a kind together.

    Where its last part is not understood, these are meanings of that, together with the parts before.
    """
    understood = understand(text, [names], files, today)
    found = _suggest_one(text, names, files, today)
    *before, last = understood.parts or (Part("", ()),)
    if before and not found and not last.meanings and last.left_out is LeftOut.UNKNOWN:
        for each in _suggest_one(last.text, names, files, today):
            with suppress(QueryOptionInvalid):
                options = _options_of([*before, replace(last, meanings=[each])])
                found.append(replace(each, options=options, trip=None))
    if len(understood.parts) > 1 and not understood.note:
        found.insert(0, Meaning(Kind.PHOTOS, understood.words, "", None, understood.options))
    return found[:MOST]


def _suggest_one(text: str, names: Sequence[Names], files: Files, today: date) -> list[Meaning]:
    """The meanings of the start of one name; similar names only where no word of a name starts with the text."""
    text = " ".join(text.split())
    if not text:
        return []
    found = [replace(each, match=match) for index in names for match, each in index.find(text)]
    if all(each.match > Match.WORDS for each in found):
        found += [
            _similar(match.thing) for index in names for match in index.find_words(text) if match.errors
        ]
    if len(text) >= _LEAST_FOR_FILES:
        found += files(text, _MOST_OF_KIND[Kind.FILE])
    once = {(each.kind, str(each.options)): each for each in reversed([*_dates(text, today), *found])}
    with_photos = [each for each in reversed(once.values()) if not _is_empty(each)]
    groups = [[each for each in with_photos if each.kind is kind][: _MOST_OF_KIND[kind]] for kind in Kind]
    by_match = sorted(filter(None, groups), key=lambda group: group[0].match)
    return [replace(each, options=_with_outcome(each.options)) for group in by_match for each in group]


def _phrases(words: Sequence[str], meanings: Callable[[str], Sequence[Meaning]]) -> Iterator[Part]:
    """From the left, the longest runs of words with a meaning, and each other word alone."""
    first = 0
    while first < len(words):
        for end in range(min(len(words), first + _MOST_WORDS), first, -1):
            phrase = " ".join(words[first:end])
            if found := meanings(phrase):
                break
        yield Part(phrase, found)
        first = end


def _with_similar(parts: Iterable[Part], names: Sequence[Names], quoted: Collection[str]) -> Iterator[Part]:
    """The parts, with those of runs without a meaning by the words of names, also with typing errors."""

    def similar(phrase: str) -> Sequence[Meaning]:
        if _is_of_grammar(phrase):
            return ()
        return _with_words(phrase, names, can_guess=not any(word in quoted for word in phrase.split()))

    for is_known, run in groupby(parts, key=lambda part: bool(part.meanings)):
        of_run = list(run)
        yield from of_run if is_known else _phrases([part.text for part in of_run], similar)


def _related(parts: Iterable[Part]) -> list[Part]:
    """The parts with their relations, without the words that say these. Such words stay before a part that is left out."""
    found, words = list[Part](), list[Part]()
    for part in parts:
        is_grammar = not part.meanings and _is_of_grammar(part.text)
        if is_grammar and folded(part.text) in _NOT_BEFORE and found and found[-1].meanings:
            found[-1] = replace(found[-1], relation=Relation.NOT)
        elif is_grammar:
            words.append(part)
        else:
            related = _related_part(part, found[-1] if found and found[-1].meanings else None, words)
            if not related.meanings:
                found += (replace(each, left_out=related.left_out) for each in words)
            found.append(related)
            words = []
    return found + words


def _related_part(part: Part, before: Part | None, words: Sequence[Part]) -> Part:
    """The part with the relation that the words between it and the one before say."""
    relations = {_relation(folded(each.text)) for each in words}
    is_excluded = Relation.NOT in relations
    if before is None or Relation.OR not in relations:
        return replace(part, relation=Relation.NOT if is_excluded else Relation.AND)
    if before.relation is Relation.NOT:
        return replace(part, relation=Relation.NOT)
    options = {name for each in (before, part) for meaning in each.meanings for name in meaning.options}
    if is_excluded or not options.isdisjoint(_NO_ALTERNATIVES):
        return Part(part.text, (), LeftOut.OR)
    return replace(part, relation=Relation.OR)


_NO_ALTERNATIVES = ("untagged", "failed")
"""Options for photos that are not classified, unlike those of a search."""


def _relation(word: str) -> Relation:
    if word in _OR:
        return Relation.OR
    is_no = word == _NO and reader_language() in (None, "es")
    return Relation.NOT if is_no or word in _NOT or word in _NOT_BEFORE else Relation.AND


def _groups(parts: Iterable[Part]) -> list[list[Part]]:
    """Each part together with its alternatives."""
    groups = list[list[Part]]()
    for part in parts:
        if part.meanings and part.relation is Relation.OR:
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def _without_fillers(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts without words that say nothing, except within what is not understood."""
    for reason, run in groupby(parts, key=lambda part: None if part.meanings else part.left_out):
        of_run = list(run)
        is_filler = [reason is not None and _is_filler(part.text) for part in of_run]
        if not all(is_filler):
            yield from of_run[is_filler.index(False) : len(of_run) - is_filler[::-1].index(False)]


def _is_filler(phrase: str) -> bool:
    return all(word in _FILLERS or word in _OR for word in folded(phrase).split())


def _is_of_grammar(phrase: str) -> bool:
    """Whether the words say nothing, or how others are related."""
    return _is_filler(phrase) or folded(phrase) in _NOT | _NOT_BEFORE


def _dates(phrase: str, today: date) -> Sequence[Meaning]:
    dates = parse_dates(phrase, today)
    if dates is None:
        return ()
    options = _date_options(dates)
    return [Meaning(Kind.DATE, conditions_text(query_of(options)), "", None, options)]


def _date_options(dates: Dates) -> Options:
    first, end = dates.first, dates.end
    if dates.months:
        return {"calendar_month": tuple(map(str, dates.months))}
    if first and end and (first.month, first.day, end) == (1, 1, first.replace(year=first.year + 1)):
        return {"year": (str(first.year),)}
    limits = {"taken_after": first, "taken_before": end}
    return {name: day.isoformat() for name, day in limits.items() if day}


def _with_words(phrase: str, names: Iterable[Names], *, can_guess: bool) -> Sequence[Meaning]:
    """What has photos and these words in its name, else in an alias; of names with typing errors, the one with the fewest."""
    found = [match for index in names for match in index.find_words(phrase) if not _is_empty(match.thing)]
    if exact := sorted((match for match in found if not match.errors), key=lambda match: match.is_alias):
        return _of_one_kind([match.thing for match in exact])
    return [_similar(min(found, key=lambda match: match[:3]).thing)] if found and can_guess else ()


def _similar(meaning: Meaning) -> Meaning:
    return replace(meaning, match=Match.SIMILAR)


def _is_empty(meaning: Meaning) -> bool:
    return meaning.photos == 0


def _of_one_kind(found: Sequence[Meaning]) -> Sequence[Meaning]:
    """Those of the first kind, with photos before others; if a query can have its option once, the first one alone."""
    found = sorted(found, key=_is_empty)
    same = [each for each in found if each.kind is found[0].kind]
    can_repeat = all(QUERY_OPTIONS[name].several for each in same[:1] for name in each.options)
    return same[: MAX_NAMES if can_repeat else 1]


def _files(phrase: str, files: Files) -> Sequence[Meaning]:
    """Files with this name, with or without its ending."""
    if " " in phrase or len(phrase) < _LEAST_FOR_FILES or not any(each in "._0123456789" for each in phrase):
        return ()
    name = phrase.casefold()
    return [
        each
        for each in files(phrase, MAX_NAMES)
        if name in (each.label.casefold(), each.label.casefold().rpartition(".")[0])
    ]


def _options_of(parts: Iterable[Part]) -> Options:
    """The options of all parts; values of one that can be repeated are united.

    Raises:
        QueryOptionInvalid: two parts have different values of an option that a query can have once.
    """
    options: dict[str, Any] = {}
    for each in (each for group in _groups(parts) for each in _options_of_group(group)):
        for name, value in each.items():
            if QUERY_OPTIONS[name].several:
                values = (value,) if isinstance(value, str) else value
                options[name] = tuple(dict.fromkeys((*options.get(name, ()), *values)))
            elif options.setdefault(name, value) != value:
                raise QueryOptionInvalid(option=name, reason="is there twice")
    return _with_outcome(options)


def _options_of_group(group: Sequence[Part]) -> Sequence[Options]:
    every = [meaning.options for part in group for meaning in part.meanings]
    if group[0].relation is Relation.NOT:
        return [{"without": (_alternatives([each]),)} for each in every]
    names = {name for each in every for name in each}
    if len(group) == 1 or (len(names) == 1 and QUERY_OPTIONS[names.pop()].several):
        return every
    return [{"any_of": (_alternatives(every),)}]


def _alternatives(options: Iterable[Options]) -> str:
    return str(Alternatives(tuple(map(query_of, options))))


def _with_outcome(options: Options) -> Options:
    """The options; where they would select photos with a landmark alone, those of all classified photos."""
    return {**options, "any_rank": "1"} if options and selects_with_landmark(options) else options


def _both(option: str, value: Any, of_text: Any) -> Any:
    """The value of an option that fulfils both."""
    if value in (None, False, ()):
        return of_text
    if option in ("any_of", "without"):
        return (*value, *of_text)
    if option == "taken_after":
        return max(value, of_text)
    if option == "taken_before":
        return min(value, of_text)
    can_match_both = option in ("year", "calendar_month")
    common = tuple(each for each in value if each in of_text) if can_match_both else ()
    if not common:
        raise QueryOptionInvalid(option=option, reason="the text has one, too. Leave out one of them")
    return common
