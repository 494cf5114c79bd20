"""A typed text as parts (`eiffelturm`, `sommer 2016`), what is left out, and the query of all."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import Any

from tagger.errors import QueryOptionInvalid
from tagger.query.filter_words import Options, conditions_text
from tagger.query.options import QUERY_OPTIONS, Alternatives, PhotoQuery
from tagger.search.grammar import (
    MAX_WORDS,
    SPACES_AND_QUOTES,
    Relation,
    is_grammar,
    is_not_after,
    quoted_words,
    relation_of,
    words_of,
)
from tagger.search.names import Kind, Meaning, Names
from tagger.search.vocabulary import AREAS, Files, LeftOut, Part, Vocabulary, with_outcome
from tagger.texts.text_format import N_, country_name, gettext, list_text


@dataclass(frozen=True)
class UnderstoodText:
    """What a text means: its parts, and the query of those understood, with the options of an address."""

    parts: tuple[Part, ...]
    options: Options
    query: PhotoQuery

    @property
    def left_out(self) -> list[Part]:
        """The runs of words that are left out."""
        return [part for part in self.parts if not part.meanings]

    @property
    def guesses(self) -> list[tuple[str, Meaning]]:
        """Words that only resemble a name, with what they are taken for."""
        return [(part.text, part.meanings[0]) for part in self.parts if part.is_guess]

    @property
    def note(self) -> str:
        """A sentence about the words that are left out; empty: none are."""
        reasons = [gettext(each.left_out.value, text=each.text, count=MAX_WORDS) for each in self.left_out]
        return gettext("Left out: %(reasons)s.", reasons="; ".join(reasons)) if reasons else ""

    @property
    def hints(self) -> str:
        """Sentences about what left-out words may mean, and about other places of the same name."""
        close = [_label(each) for part in self.left_out for each in part.others]
        sentences = [gettext("Did you mean %(names)s?", names=list_text(close, "or"))] if close else []
        for part in self.parts:
            for each in part.others if part.meanings else ():
                name = ", ".join(filter(None, (_label(each), each.detail)))
                sentences.append(gettext(_ALSO[each.kind], text=part.text, name=name))
        return " ".join(sentences)

    @property
    def names(self) -> dict[str, str]:
        """Names of landmarks, positions, boxes and trips, by the values of options."""
        names = dict[str, str]()
        for meaning in (each for part in self.parts for each in part.meanings):
            label = f"{meaning.label}, {meaning.detail}" if meaning.trip else meaning.label
            names |= {str(value): label for value in meaning.options.values()}
            names |= meaning.trips
        return names

    @property
    def words(self) -> str:
        """What the photos fulfil: `France, 2019`."""
        return conditions_text(self.query, self.names)

    def within(self, query: PhotoQuery) -> PhotoQuery:
        """The photos of another query that match the text, too, whatever became of them.

        Raises:
            QueryOptionInvalid: both have an option that is possible once, or they contradict each other.
        """
        names = [name for name in self.options if name != "any_rank"]
        both = {name: _both(name, getattr(query, name), getattr(self.query, name)) for name in names}
        return replace(query, **both, any_outcome="any_rank" in self.options)


_ALSO = {
    Kind.COUNTRY: N_("“%(text)s” is also a country: %(name)s."),
    Kind.CITY: N_("“%(text)s” is also a city: %(name)s."),
    Kind.REGION: N_("“%(text)s” is also a state or region: %(name)s."),
    Kind.DATE: N_("“%(text)s” is read as a day. For the month, search for %(name)s."),
}


def _label(meaning: Meaning) -> str:
    return country_name(meaning.label) if meaning.kind is Kind.COUNTRY else meaning.label


def understand(text: str, lists: Iterable[Iterable[Names]], files: Files, today: date) -> UnderstoodText:
    """Understand a text. Of the lists, no more are read than it needs."""
    words, vocabulary = words_of(text), Vocabulary(files, today)
    name = text.strip(SPACES_AND_QUOTES)
    if vocabulary.is_name_of_files(name):
        words = [name]  # with its marks: `Paris (1).jpg`, `a & b.jpg`
    fitting, parts = list[Part](), list[Part]()
    for group in _groups(_related(vocabulary.parts(words[:MAX_WORDS], lists, quoted_words(text)))):
        try:
            PhotoQuery.parse(_options_of([*fitting, *group]))
        except QueryOptionInvalid:
            parts.append(Part(" ".join(part.text for part in group), (), LeftOut.CONTRADICTS))
        else:
            fitting += group
            parts += group
    parts = list(_with_hints(parts, vocabulary))
    if unread := " ".join(words[MAX_WORDS:]):
        parts.append(Part(unread, (), LeftOut.TOO_LONG))
    options = _options_of(fitting)
    return UnderstoodText(tuple(parts), options, PhotoQuery.parse(options))


MOST = 12
"""The most suggestions for a text."""


def suggest(text: str, names: Sequence[Names], files: Files, today: date) -> list[Meaning]:
    """What the start of a text may mean, at most MOST: all that it means now, then single meanings by kind.

    Where its last part is not understood, these are meanings of that, together with the parts before.
    """
    understood, vocabulary = understand(text, [names], files, today), Vocabulary(files, today, names)
    found = vocabulary.starting_with(text)
    *before, last = understood.parts or (Part(""),)
    if before and not found and not last.meanings and last.left_out is LeftOut.UNKNOWN:
        for each in vocabulary.hints(last.text):
            with suppress(QueryOptionInvalid):
                options = _options_of([*before, replace(last, meanings=[each])])
                found.append(replace(each, options=options, trip=None))
    has_photos = all(each.photos != 0 for part in understood.parts for each in part.meanings)
    is_new = has_photos and all(PhotoQuery.parse(each.options) != understood.query for each in found)
    if understood.parts and not understood.left_out and is_new:
        found.insert(0, Meaning(Kind.PHOTOS, understood.words, "", None, understood.options))
    return found[:MOST]


def _related(parts: Iterable[Part]) -> list[Part]:
    """The parts with their relations, without the words for these but before a part that is left out."""
    found, words = list[Part](), list[Part]()
    for part in parts:
        before = found[-1] if found and found[-1].meanings else None
        if part.meanings or not is_grammar(part.text):
            related = _related_part(part, before, words)
            if not related.meanings:
                found += (replace(each, left_out=related.left_out) for each in words)
            found.append(related)
            words = []
        elif before and is_not_after(part.text):
            found[-1] = replace(before, relation=Relation.NOT)
        else:
            words.append(part)
    return found + words


def _related_part(part: Part, before: Part | None, words: Sequence[Part]) -> Part:
    """The part with the relation that the words between it and the one before say."""
    relations = {relation_of(each.text) for each in words}
    is_excluded = Relation.NOT in relations
    if before is None or not (Relation.OR in relations or _are_alternatives(before, part, relations)):
        return replace(part, relation=Relation.NOT if is_excluded else Relation.AND)
    if before.relation is Relation.NOT:
        return replace(part, relation=Relation.NOT)
    options = {name for each in (before, part) for meaning in each.meanings for name in meaning.options}
    if is_excluded or not options.isdisjoint(_NO_ALTERNATIVES):
        return Part(part.text, (), LeftOut.OR)
    return replace(part, relation=Relation.OR)


_NO_ALTERNATIVES = ("untagged", "failed", "sort")
"""Options for photos that are not classified, unlike those of a search, and their order."""
_PLACES = {Kind.LANDMARK, *AREAS}


def _are_alternatives(before: Part, part: Part, relations: set[Relation | None]) -> bool:
    """Whether no photo is of both: things of one kind with `and`, or two cities or regions side by side."""
    kinds = {each.meanings[0].kind for each in (before, part) if each.meanings}
    if not part.meanings or Relation.NOT in relations:
        return False
    if Relation.AND in relations:
        return kinds <= _PLACES or (len(kinds) == 1 and kinds.isdisjoint((Kind.OUTCOME, Kind.THING)))
    return before.relation is Relation.AND and len(kinds) == 1 and kinds <= {Kind.CITY, Kind.REGION}


def _groups(parts: Iterable[Part]) -> list[list[Part]]:
    """Each part together with its alternatives."""
    groups = list[list[Part]]()
    for part in parts:
        if part.meanings and part.relation is Relation.OR:
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def _with_hints(parts: Iterable[Part], vocabulary: Vocabulary) -> Iterator[Part]:
    """The parts; each run that is not understood is one with hints, without empty words at its ends."""
    for reason, run in groupby(parts, key=lambda part: None if part.meanings else part.left_out):
        of_run = list(run)
        says = [not is_grammar(part.text) or relation_of(part.text) is Relation.NOT for part in of_run]
        if reason is None:
            yield from of_run
        elif any(says):
            end = len(of_run) - says[::-1].index(True)
            text = " ".join(part.text for part in of_run[says.index(True) : end])
            hints = vocabulary.hints(text) if reason is LeftOut.UNKNOWN else ()
            yield replace(of_run[-1], text=text, left_out=reason, others=hints)


def _options_of(parts: Iterable[Part]) -> Options:
    """The options of all parts; values of one that can be repeated come together.

    Raises:
        QueryOptionInvalid: two parts have different values of an option that a query can have once.
    """
    options: dict[str, Any] = {}
    for each in (each for group in _groups(parts) for each in _options_of_group(group)):
        for name, value in each.items():
            if QUERY_OPTIONS[name].several:
                options[name] = tuple(dict.fromkeys((*options.get(name, ()), *_values(value))))
            elif options.setdefault(name, value) != value:
                raise QueryOptionInvalid(option=name, reason="is there twice")
    return with_outcome(options)


def _options_of_group(group: Sequence[Part]) -> Sequence[Options]:
    every = [options for part in group for options in _united(part.meanings)]
    if group[0].relation is Relation.NOT:
        return [{"without": (_alternatives([each]),)} for each in every]
    names = {name for each in every for name in each}
    if len(every) < 2 or (len(names) == 1 and _has_any_of(names.pop())):
        return every
    return [{"any_of": (_alternatives(every),)}]


def _united(meanings: Sequence[Meaning]) -> Sequence[Options]:
    """The options of any of these; of several values of one option, once."""
    names = {name for each in meanings for name in each.options}
    if len(meanings) < 2 or len(names) > 1 or not _has_any_of(name := names.pop()):
        return [each.options for each in meanings]
    return [{name: tuple(value for each in meanings for value in _values(each.options[name]))}]


def _has_any_of(option: str) -> bool:
    """Whether several values of the option mean photos of any of them."""
    return QUERY_OPTIONS[option].several and not QUERY_OPTIONS[option].all_of_several


def _values(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _alternatives(options: Iterable[Options]) -> str:
    return str(Alternatives(tuple(map(PhotoQuery.parse, options))))


def _both(option: str, value: Any, of_text: Any) -> Any:
    """The value of an option that fulfils both."""
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
        raise QueryOptionInvalid(option=option, reason="the text has one, too. Leave out one of them")
    return common
