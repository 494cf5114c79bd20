"""Names that typed text matches, also with typing errors, without case, punctuation and untyped accents."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

from tagger.landmarks.landmarks import normalize_name
from tagger.texts.text_format import UNDECOMPOSED

T = TypeVar("T")
_NOT_OF_WORDS = re.compile(r"(?:[^\w\u0900-\u0dff]|_)+")
"""The vowel signs of Indian scripts are no letters for `re`."""
_WITHIN_WORDS = re.compile(r"['\u2019.]")
_WORDS_KEPT = 64
_LEAST_INSIDE = 3
"""The fewest letters that are looked for inside words: fewer occur in too many names."""
_LETTERS_PER_ERROR = 6
"""Shorter texts resemble too many names: `home` is no Rome, and `cafe` no cave."""
_LEAST_FOR_HINT, _LETTERS_FOR_TWO = 5, 8
"""The fewest letters of a word with one error that is suggested, and with two: `pariss`, `colloseum`."""


class Match(IntEnum):
    """How a name matches, the best first."""

    WHOLE = 0
    START = 1
    START_OF_WORD = 2
    WORDS = 3
    """Every word of the text starts one of the name, in any order."""
    INSIDE = 4
    SIMILAR = 5
    """Every word of the text is one of the name, but for typing errors."""


def folded(name: str) -> str:
    """The form in which names are compared: words of letters and digits, with one space between."""
    return _spaced(normalize_name(name))


def _spaced(name: str) -> str:
    return _NOT_OF_WORDS.sub(" ", _WITHIN_WORDS.sub("", name)).strip()


def _with_accents(name: str) -> set[str]:
    """The words of a name in lower case, with accents. Letters that look alike, as Đ and Ð, are one."""
    return set(_spaced(unicodedata.normalize("NFC", name).casefold().translate(UNDECOMPOSED)).split())


class _Name(NamedTuple, Generic[T]):
    text: str  # folded
    words: tuple[str, ...]  # by which it is found
    spelling: str
    is_alias: bool
    thing: T


class WordMatch(NamedTuple, Generic[T]):
    """A thing with all words of a text in a name; the best with fewest errors. First names are no aliases."""

    errors: int
    is_alias: bool
    further_words: int
    thing: T


class NameIndex(Generic[T]):
    """Things by their names, both in order of preference: of equal matches, the first is the best.

    `by_words`: names are found by their words. Otherwise by their starts, and as hints with typing errors.
    """

    def __init__(self, things: Iterable[tuple[T, Iterable[str]]], *, by_words: bool = True) -> None:
        named = [(thing, list(names)) for thing, names in things]
        self.things = [thing for thing, _ in named]
        self._by_words = by_words
        self._names = [
            _Name(text, tuple(text.split() if by_words else [text]), spelling, number > 0, thing)
            for thing, names in named
            for number, (text, spelling) in enumerate(_spellings(names).items())
        ]
        self._with_text: dict[str, list[T]] = {}
        self._with_word: dict[str, list[int]] = {}
        for number, name in enumerate(self._names):
            self._with_text.setdefault(name.text, []).append(name.thing)
            for word in dict.fromkeys(name.words):
                self._with_word.setdefault(word, []).append(number)
        self._letters = {word: _letters(word) for word in self._with_word if len(word) >= _LEAST_FOR_HINT}
        # The parts of a text are tried in many combinations, in which each word occurs again.
        self._names_with = lru_cache(maxsize=_WORDS_KEPT)(self._find_names_with)

    def find(self, text: str) -> list[tuple[Match, T]]:
        """The things with a name that contains the text, the best first; each once."""
        words = folded(text).split()
        if not words:
            return []
        whole = " ".join(words)
        found = ((_match(name.text, whole, words), name.thing) for name in self._names)
        return _best(
            (match, each) for match, each in found if self._by_words or (match or Match.WHOLE) <= Match.START
        )

    def named(self, text: str) -> list[T]:
        """The things with exactly this name, in order of preference; each once."""
        return list({id(thing): thing for thing in self._with_text.get(folded(text), ())}.values())

    def find_words(self, text: str, *, is_hint: bool = False) -> list[WordMatch[T]]:
        """The things with all words of the text in a name, the best first; each thing once.

        The text may have one typing error for every six letters, but none in a word of three, or in words of
        an alias with others. Other accents are an error. `is_hint`: one in a word of five letters, two of 8.
        """
        if not (self._by_words or is_hint):
            return []
        words = folded(text).split() if self._by_words else [folded(text)]
        errors_of = [_most_errors(word, is_hint=is_hint) for word in words]
        most = sum(errors_of if is_hint else map(len, words)) // (1 if is_hint else _LETTERS_PER_ERROR)
        found = [
            self._names_with(*each) for each in zip(words, (min(most, e) for e in errors_of), strict=True)
        ]
        accents = set() if text.isascii() else {word for word in _with_accents(text) if folded(word) != word}
        best: dict[int, WordMatch[T]] = {}
        for number in min(found, key=len, default=()):
            name = self._names[number]
            errors = sum(each.get(number, most + 1) for each in found)
            if errors <= most and accents:
                spelled = _with_accents(name.spelling)
                errors += any(word not in spelled and folded(word) not in spelled for word in accents)
            further_words = max(len(name.words) - len(words), 0)
            if errors <= most and not (errors and name.is_alias and further_words):
                match = WordMatch(errors, name.is_alias, further_words, name.thing)
                best[id(name.thing)] = min(best.get(id(name.thing), match), match, key=lambda each: each[:3])
        return sorted(best.values(), key=lambda each: each[:3])

    def resembling(self, words: Iterable[str]) -> list[T]:
        """The things that a text with any of these words may mean, or be a hint of; each once."""
        found = dict[int, T]()
        for word in words:
            close = (
                match.thing for is_hint in (False, True) for match in self.find_words(word, is_hint=is_hint)
            )
            found |= {id(thing): thing for thing in (*(thing for _, thing in self.find(word)), *close)}
        return list(found.values())

    def with_words(self, words: Collection[str]) -> list[T]:
        """The things with a name that has one of these words; after a hyphen, one that ends so. Each once."""
        ends = tuple(word[1:] for word in words if word.startswith("-"))
        numbers = {
            number
            for word in words
            for number in self._with_word.get(word.partition(" ")[0], ())
            if f" {word} " in f" {self._names[number].text} "
        }
        for word in self._with_word if ends else ():
            numbers.update(self._with_word[word] if word.endswith(ends) else ())
        return list(
            {id(thing): thing for thing in (self._names[each].thing for each in sorted(numbers))}.values()
        )

    def _find_names_with(self, word: str, most_errors: int) -> Mapping[int, int]:
        """Names with a word, by number, and its typing errors: none in the first letter or short words."""
        found = dict.fromkeys(self._with_word.get(word, ()), 0)
        letters = _letters(word)
        for other, other_letters in self._letters.items() if most_errors else ():
            # What was typed has few other letters than the name: this is fast, and decides nearly always.
            is_like = (letters & ~other_letters).bit_count() <= most_errors and other[0] == word[0]
            if is_like:
                for errors in range(1, most_errors + 1):
                    if is_similar(word, other, errors):
                        for number in self._with_word[other]:
                            found[number] = min(found.get(number, errors), errors)
        return found


def _spellings(names: Iterable[str]) -> dict[str, str]:
    """The folded names in their order, with the first spelling of each."""
    spellings: dict[str, str] = {}
    for name in names:
        spellings.setdefault(folded(name), name)
    spellings.pop("", None)
    return spellings


def is_similar(text: str, word: str, errors: int) -> bool:
    """Whether both are equal but for so many errors: a letter too many, missing or wrong, or two swapped."""
    if text == word:
        return True
    if abs(len(text) - len(word)) > errors:
        return False
    if text[:1] == word[:1]:
        return is_similar(text[1:], word[1:], errors)
    if not errors:
        return False
    left = errors - 1
    return (
        is_similar(text[1:], word[1:], left)
        or is_similar(text[1:], word, left)
        or is_similar(text, word[1:], left)
        or (text[:2] == word[1::-1] and len(word) > 1 and is_similar(text[2:], word[2:], left))
    )


def _best(matches: Iterable[tuple[Match | None, T]]) -> list[tuple[Match, T]]:
    best: dict[int, tuple[Match, T]] = {}
    for match, thing in matches:
        if match is not None and (id(thing) not in best or match < best[id(thing)][0]):
            best[id(thing)] = match, thing
    return sorted(best.values(), key=lambda found: found[0])


def _match(name: str, text: str, words: Sequence[str]) -> Match | None:
    if text in name:
        if name == text:
            return Match.WHOLE
        if name.startswith(text):
            return Match.START
        if f" {text}" in name:
            return Match.START_OF_WORD
        return Match.INSIDE if len(text) >= _LEAST_INSIDE else None
    if len(words) > 1 and all(f" {word}" in f" {name}" for word in words):
        return Match.WORDS
    return None


def _most_errors(word: str, *, is_hint: bool) -> int:
    if is_hint:
        return (len(word) >= _LEAST_FOR_HINT) + (len(word) >= _LETTERS_FOR_TWO)
    return 0 if len(word) <= _LEAST_INSIDE else max(1, len(word) // _LETTERS_PER_ERROR)


def _letters(word: str) -> int:
    """The set of letters as bits; some letters share one."""
    letters = 0
    for letter in word:
        letters |= 1 << (ord(letter) & 63)
    return letters
