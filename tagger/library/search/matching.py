"""Names that typed text matches, also with typing errors. Case, accents and punctuation do not matter."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Generic, TypeVar

from tagger.library.catalog.landmarks import normalize_name

T = TypeVar("T")
_NOT_OF_WORDS = re.compile(r"[\W_]+")
_WITHIN_WORDS = re.compile(r"['\u2019.]")
_WORDS_KEPT = 64
_LEAST_INSIDE = 3
"""The fewest letters that are looked for inside words: fewer occur in too many names."""


class Match(IntEnum):
    """How a name matches, the best first."""

    WHOLE = 0
    START = 1
    START_OF_WORD = 2
    WORDS = 3
    """Every word of the text starts one of the name, in any order."""
    INSIDE = 4
    SIMILAR = 5
    """Every word of the text starts one of the name but for one typing error, or two in a long word."""


def folded(name: str) -> str:
    """The form in which names are compared: words of letters and digits, with one space between."""
    joined = _WITHIN_WORDS.sub("", normalize_name(name))
    return _NOT_OF_WORDS.sub(" ", joined).strip()


@dataclass(frozen=True)
class _Name(Generic[T]):
    text: str  # folded
    words: tuple[tuple[str, int], ...]  # each with its letters
    thing: T


class NameIndex(Generic[T]):
    """Things by their names, in order of preference: of several that match equally well, the first is the best."""

    def __init__(self, things: Iterable[tuple[T, Iterable[str]]]) -> None:
        named = [(thing, list(names)) for thing, names in things]
        self.things = [thing for thing, _ in named]
        self._names = [
            _Name(text, tuple((word, _letters(word)) for word in text.split()), thing)
            for thing, names in named
            for text in dict.fromkeys(filter(None, map(folded, names)))
        ]
        self._with_text: dict[str, list[T]] = {}
        self._with_word: dict[str, list[int]] = {}
        self._letters: dict[str, int] = {}
        for number, name in enumerate(self._names):
            self._with_text.setdefault(name.text, []).append(name.thing)
            for word, letters in dict(name.words).items():
                self._with_word.setdefault(word, []).append(number)
                self._letters[word] = letters
        # The parts of a text are tried in many combinations, in which each word occurs again.
        self._names_with = lru_cache(maxsize=_WORDS_KEPT)(self._find_names_with)

    def find(self, text: str) -> list[tuple[Match, T]]:
        """The things with a name that contains the text, the best first; each once."""
        words = folded(text).split()
        if not words:
            return []
        whole = " ".join(words)
        return _best((_match(name.text, whole, words), name.thing) for name in self._names)

    def named(self, text: str) -> list[T]:
        """The things with exactly this name, in order of preference; each once."""
        return list({id(thing): thing for thing in self._with_text.get(folded(text), ())}.values())

    def find_words(self, text: str) -> list[tuple[int, int, T]]:
        """The things with all words of the text in a name: the number of typing errors, that of further words in the name, and the thing.

        A start of the last word counts as one error. The fewest errors and further words come first; each thing once.
        """
        words = folded(text).split()
        if not words:
            return []
        *others, last = words
        found = self._names_with(last, starts=len(last) >= _LEAST_START - bool(others))
        for word in others:
            errors_of = self._names_with(word, starts=False)
            found = {
                number: errors + errors_of[number] for number, errors in found.items() if number in errors_of
            }
        best: dict[int, tuple[int, int, T]] = {}
        for number, errors in sorted(found.items()):
            name = self._names[number]
            match = errors, max(len(name.words) - len(words), 0), name.thing
            best[id(name.thing)] = min(best.get(id(name.thing), match), match, key=lambda each: each[:2])
        return sorted(best.values(), key=lambda each: each[:2])

    def _find_names_with(self, word: str, *, starts: bool) -> Mapping[int, int]:
        """The numbers of the names with a word, and its typing errors there. `starts`: also as the start of a word, as one error."""
        found: dict[int, int] = {}
        for other, errors in self._similar_words(word, starts=starts):
            for number in self._with_word[other]:
                found[number] = min(found.get(number, errors), errors)
        return found

    def _similar_words(self, word: str, *, starts: bool) -> Iterator[tuple[str, int]]:
        most, letters = _most_errors(word), _letters(word)
        if not most and not starts:
            if word in self._with_word:
                yield word, 0
            return
        for other, other_letters in self._letters.items():
            # What was typed has few letters that the name does not have: this is fast, and decides nearly always.
            is_near = (letters & ~other_letters).bit_count() <= most
            errors = _errors_of_word(word, other) if is_near else None
            if errors is None and starts and other.startswith(word):
                errors = 1
            if errors is not None:
                yield other, errors

    def find_similar(self, text: str) -> list[tuple[Match, T]]:
        """The things of which a name resembles the text; each once."""
        words = [(word, _letters(word)) for word in folded(text).split()]
        if not words:
            return []
        return _best(
            (Match.SIMILAR if all(_has_similar(name.words, word) for word in words) else None, name.thing)
            for name in self._names
        )


def is_similar_start(text: str, word: str, errors: int) -> bool:
    """Whether `text` is the start of `word` with at most so many errors: a letter too many, missing or wrong, or two swapped."""
    if not text:
        return True
    if text[0] == word[:1]:
        return is_similar_start(text[1:], word[1:], errors)
    if not errors:
        return False
    left = errors - 1
    return (
        is_similar_start(text[1:], word, left)
        or (bool(word) and is_similar_start(text[1:], word[1:], left))
        or (bool(word) and is_similar_start(text, word[1:], left))
        or (text[:2] == word[1::-1] and len(word) > 1 and is_similar_start(text[2:], word[2:], left))
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


_LEAST_START = 4
"""The fewest letters that match as the start of a word; one fewer after other words."""


def _errors_of_word(text: str, word: str) -> int | None:
    """The typing errors in a whole word, of which the first letter is right; None: too many."""
    if text == word:
        return 0
    if text[0] != word[0]:
        return None
    for errors in range(1, _most_errors(text) + 1):
        if is_similar_start(text, word, errors) and is_similar_start(word, text, errors):
            return errors
    return None


def _most_errors(word: str) -> int:
    return 0 if len(word) < 4 else 1 if len(word) < 8 else 2


def _has_similar(words: Iterable[tuple[str, int]], typed: tuple[str, int]) -> bool:
    word, letters = typed
    errors = _most_errors(word)
    return any(
        (letters & ~other_letters).bit_count() <= errors and is_similar_start(word, other, errors)
        for other, other_letters in words
    )


def _letters(word: str) -> int:
    """The set of letters as bits; some letters share one."""
    letters = 0
    for letter in word:
        letters |= 1 << (ord(letter) & 63)
    return letters
