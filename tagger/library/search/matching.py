"""Names that typed text matches, also with typing errors. Case, accents and punctuation do not matter."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from tagger.library.catalog.landmarks import normalize_name

T = TypeVar("T")
_NOT_OF_WORDS = re.compile(r"[\W_]+")
_WITHIN_WORDS = re.compile(r"['\u2019.]")
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

    def find(self, text: str) -> list[tuple[Match, T]]:
        """The things with a name that contains the text, the best first; each once."""
        words = folded(text).split()
        if not words:
            return []
        whole = " ".join(words)
        return _best((_match(name.text, whole, words), name.thing) for name in self._names)

    def named(self, text: str) -> list[T]:
        """The things with exactly this name, in order of preference; each once."""
        whole = folded(text)
        return list({id(name.thing): name.thing for name in self._names if name.text == whole}.values())

    def find_words(self, text: str) -> list[tuple[int, int, T]]:
        """The things with all words of the text in a name: the number of typing errors, that of further words in the name, and the thing.

        A start of the last word counts as one error. The fewest errors and further words come first; each thing once.
        """
        words = [(word, _letters(word)) for word in folded(text).split()]
        found: dict[int, tuple[int, int, T]] = {}
        for name in self._names if words else ():
            errors = _errors(name.words, words)
            if errors is not None:
                match = errors, max(len(name.words) - len(words), 0), name.thing
                found[id(name.thing)] = min(
                    found.get(id(name.thing), match), match, key=lambda each: each[:2]
                )
        return sorted(found.values(), key=lambda each: each[:2])

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


def _errors(words: Sequence[tuple[str, int]], typed: Sequence[tuple[str, int]]) -> int | None:
    """The typing errors of all words together; None: one is no word of the name."""
    total = 0
    for number, (word, letters) in enumerate(typed, 1):
        fewest = min(
            (
                errors
                for other, other_letters in words
                if (letters & ~other_letters).bit_count() <= _most_errors(word)
                and (errors := _errors_of_word(word, other)) is not None
            ),
            default=None,
        )
        if fewest is None and number == len(typed) and len(word) >= _LEAST_START - (number > 1):
            fewest = 1 if any(other.startswith(word) for other, _ in words) else None
        if fewest is None:
            return None
        total += fewest
    return total


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
    # What was typed has few letters that the name does not have: this is fast, and decides nearly always.
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
