"""Search by typed text, without SQL. Here its words: which relate parts or say nothing, how others match names.

Names match also with typing errors, without case, punctuation and untyped accents. The grammar of a text:

    text  = part { [and | or] part }
    part  = [not] thing | thing not-after
    thing = date | whole name | words of names

1. From the left, the longest run of words that is a date or a whole name is a part: whole names win over words.
2. What is left between these, and, or and not is compared with the words of names, also with typing errors. Words
   of a name count only if all words beside them are understood; else all are left out, and the names suggested.
   A name with all its words counts.
3. `or` joins two parts. So does `and` between two places or two things of one kind, as no photo is of both;
   otherwise all parts are required.
4. `not` excludes the part after it and its alternatives. In Hindi, it follows what it excludes.
5. Words that say nothing are left out silently, unless they are within what is not understood.
6. A part that contradicts those before it is left out.

A text that is the whole name of a file, with its ending, has no grammar: `Paris (1).jpg` is that file.
"""

import re
import string
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum, IntEnum, auto
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

from tagger.landmarks import normalize_name
from tagger.texts.text_format import UNDECOMPOSED, reader_language

# Names that typed text matches

T = TypeVar("T")
# The vowel signs of Indian scripts are no letters for `re`.
_NOT_OF_WORDS = re.compile(r"(?:[^\w\u0900-\u0dff]|_)+")
_WITHIN_WORDS = re.compile(r"['\u2019.]")
_WORDS_KEPT = 64
# The fewest letters that are looked for inside words: fewer occur in too many names.
_LEAST_INSIDE = 3
# Shorter texts resemble too many names: `home` is no Rome, and `cafe` no cave.
_LETTERS_PER_ERROR = 6
# The fewest letters of a word with one error that is suggested, and with two: `pariss`, `colloseum`.
_LEAST_FOR_HINT, _LETTERS_FOR_TWO = 5, 8


class Match(IntEnum):
    """The best first."""

    WHOLE = 0
    START = 1
    START_OF_WORD = 2
    WORDS = 3  # every word of the text starts one of the name, in any order
    INSIDE = 4
    SIMILAR = 5  # every word of the text is one of the name, but for typing errors


def folded(name: str) -> str:
    """The form in which names are compared: words of letters and digits, with one space between."""
    return _spaced(normalize_name(name))


def _spaced(name: str) -> str:
    return _NOT_OF_WORDS.sub(" ", _WITHIN_WORDS.sub("", name)).strip()


def _with_accents(name: str) -> set[str]:
    # The words of a name in lower case, with accents. Letters that look alike, as Đ and Ð, are one.
    return set(
        _spaced(
            unicodedata.normalize("NFC", name).casefold().translate(UNDECOMPOSED)
        ).split()
    )


class _Name(NamedTuple, Generic[T]):
    text: str  # folded
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
    `fold`: makes typed texts comparable with names.
    """

    def __init__(
        self,
        things: Iterable[tuple[T, Iterable[str]]],
        *,
        by_words: bool = True,
        fold: Callable[[str], str] = folded,
    ) -> None:
        self.things: list[T] = []
        self._by_words = by_words
        self._folded = fold
        self._names: list[_Name[T]] = []
        self._with_text: dict[str, dict[int, T]] = {}
        self._with_word: dict[str, list[int]] = {}
        for thing, names in things:
            self.things.append(thing)
            spellings: dict[str, str] = {}
            for name in names:
                spellings.setdefault(folded(name), name)
            spellings.pop("", None)
            for number, (text, spelling) in enumerate(spellings.items()):
                self._with_text.setdefault(text, {})[id(thing)] = thing
                for word in dict.fromkeys(self._words(text)):
                    self._with_word.setdefault(word, []).append(len(self._names))
                self._names.append(_Name(text, spelling, number > 0, thing))
        # The parts of a text are tried in many combinations, in which each word occurs again.
        self._names_with = lru_cache(maxsize=_WORDS_KEPT)(self._find_names_with)

    def _words(self, text: str) -> list[str]:
        # What is compared of a folded text.
        return text.split() if self._by_words else [text]

    def find(self, text: str) -> list[tuple[Match, T]]:
        whole = self._folded(text)
        best: dict[int, tuple[Match, T]] = {}
        for name in self._names if whole else ():
            match = _match(name.text, whole)
            if match is None or (match > Match.START and not self._by_words):
                continue
            if id(name.thing) not in best or match < best[id(name.thing)][0]:
                best[id(name.thing)] = match, name.thing
        return sorted(best.values(), key=itemgetter(0))

    def named(self, text: str) -> list[T]:
        return list(self._with_text.get(self._folded(text), {}).values())

    def find_words(
        self,
        text: str,
        *,
        is_hint: bool = False,
    ) -> list[WordMatch[T]]:
        """The things with all words of the text in a name, the best first; each thing once.

        The text may have one typing error for every six letters, but none in a word of three, or in words of
        an alias with others. Other accents are an error. `is_hint`: one in a word of five letters, two of 8.
        """
        if not (self._by_words or is_hint):
            return []
        words = self._words(self._folded(text))
        if is_hint:
            errors_of = [
                (len(word) >= _LEAST_FOR_HINT) + (len(word) >= _LETTERS_FOR_TWO)
                for word in words
            ]
            most = sum(errors_of)
        else:
            most = sum(map(len, words)) // _LETTERS_PER_ERROR
            errors_of = [
                min(most, max(1, len(word) // _LETTERS_PER_ERROR))
                if len(word) > _LEAST_INSIDE
                else 0
                for word in words
            ]
        names_with = list(map(self._names_with, words, errors_of))
        accents = (
            set()
            if text.isascii()
            else {word for word in _with_accents(text) if folded(word) != word}
        )
        best: dict[int, WordMatch[T]] = {}
        for number in min(names_with, key=len, default=()):
            name = self._names[number]
            errors = sum(each.get(number, most + 1) for each in names_with)
            if errors <= most and accents:
                spelled = _with_accents(name.spelling)
                errors += any(
                    word not in spelled and folded(word) not in spelled
                    for word in accents
                )
            further_words = max(len(self._words(name.text)) - len(words), 0)
            if errors <= most and not (errors and name.is_alias and further_words):
                match = WordMatch(
                    errors,
                    name.is_alias,
                    further_words,
                    name.thing,
                )
                best[id(name.thing)] = min(
                    best.get(id(name.thing), match),
                    match,
                    key=lambda each: each[:3],
                )
        return sorted(best.values(), key=lambda each: each[:3])

    def with_words(self, words: Collection[str]) -> list[T]:
        """The things with a name that has one of these words; after a hyphen, one that ends so. Each once."""
        ends = tuple(word[1:] for word in words if word.startswith("-"))
        names = {
            number
            for word in words
            for number in self._with_word.get(word.partition(" ")[0], ())
            if f" {word} " in f" {self._names[number].text} "
        }
        for word in self._with_word if ends else ():
            names.update(self._with_word[word] if word.endswith(ends) else ())
        things = (self._names[number].thing for number in sorted(names))
        return list({id(thing): thing for thing in things}.values())

    @cached_property
    def _letters(self) -> Mapping[str, int]:
        # Only what no name matches is compared so.
        return {
            word: _letters(word)
            for word in self._with_word
            if len(word) >= _LEAST_FOR_HINT
        }

    def _find_names_with(self, word: str, most_errors: int) -> Mapping[int, int]:
        # Names with a word, by number, and its typing errors: none in the first letter or short words.
        errors_in = dict.fromkeys(self._with_word.get(word, ()), 0)
        if not most_errors:
            return errors_in
        letters = _letters(word)
        for other, other_letters in self._letters.items():
            # What was typed has few other letters than the name: this is fast, and decides nearly always.
            if (
                other[0] != word[0]
                or (letters & ~other_letters).bit_count() > most_errors
            ):
                continue
            for errors in range(1, most_errors + 1):
                if is_similar(word, other, errors):
                    for number in self._with_word[other]:
                        errors_in[number] = min(errors_in.get(number, errors), errors)
                    break
        return errors_in


def _letters(word: str) -> int:
    # The set of letters as bits; some letters share one.
    return sum(1 << bit for bit in {ord(letter) & 63 for letter in word})


def _match(name: str, text: str) -> Match | None:
    words = text.split()
    if not all(word in name for word in words):
        return None
    holds = {
        Match.WHOLE: name == text,
        Match.START: name.startswith(text),
        Match.START_OF_WORD: f" {text}" in name,
        Match.WORDS: len(words) > 1 and all(f" {word}" in f" {name}" for word in words),
        Match.INSIDE: len(text) >= _LEAST_INSIDE and text in name,
    }
    for match, is_so in holds.items():
        if is_so:
            return match
    return None


def is_similar(text: str, word: str, errors: int) -> bool:
    """Whether both are equal but for so many errors: a letter too many, missing or wrong, or two swapped."""
    if text == word:
        return True
    if abs(len(text) - len(word)) > errors:
        return False
    if text[:1] == word[:1]:
        return is_similar(text[1:], word[1:], errors)
    left = errors - 1
    return errors > 0 and (
        is_similar(text[1:], word[1:], left)
        or is_similar(text[1:], word, left)
        or is_similar(text, word[1:], left)
        or (
            text[:2] == word[1::-1]
            and len(word) > 1
            and is_similar(text[2:], word[2:], left)
        )
    )


# The words of the grammar

MAX_LETTERS = 200  # of a text
MAX_WORDS = 24  # of a text that are read
MOST_WORDS_OF_PART = 12


class Relation(Enum):
    """How a part selects photos: of those before, of the part before too, or all others."""

    AND = auto()
    OR = auto()
    NOT = auto()


def _plain(word: str) -> str:
    return unicodedata.normalize("NFC", word).casefold()


def _spellings(words: str) -> frozenset[str]:
    # The words as they are, and without accents. Others make other words: `ou` is or, `où` is not.
    return frozenset(
        spelling for word in words.split() for spelling in (_plain(word), folded(word))
    )


# In English, German, French, Spanish, Portuguese, Italian, Dutch, Hindi and Vietnamese.
_FILLERS = _spellings("""
photo photos picture pictures image images pic pics foto fotos bild bilder imagen imagenes imagens immagini ảnh hình तस्वीर तस्वीरें फ़ोटो
a an the of in at on from to with by near my our me i we show find all any some taken during have has was were yet
der die das den dem des ein eine einen einem von vom im am an aus mit bei nach zu meine alle noch hat haben
à de du la le les l d un une en dans avec mes tous aux ont del el los las con mis todas tiene tienen
da do das dos em no na minhas com têm il di gli i delle della nel nella ha van het een
ở tại của các có phải được की का के में से पर कोई वाली गई
around about um autour alrededor cerca volta intorno rond आसपास khoảng quanh
but aber mais pero mas nhưng
""")
_NOT_WORDS = """
not no without except nicht ohne außer kein keine keinen keiner pas sans sauf aucun aucune non sin excepto ningún ninguna não sem exceto nenhum
nenhuma senza nessun nessuna niet zonder geen không chưa trừ बिना
"""
NEGATIONS = tuple(_NOT_WORDS.split())
_RELATIONS = {
    **dict.fromkeys(_spellings(_NOT_WORDS), Relation.NOT),
    **dict.fromkeys(_spellings("or oder ou o hoặc hay या"), Relation.OR),
    **dict.fromkeys(_spellings("and und et y e và और"), Relation.AND),
}
_NOT_AFTER = "नहीं"
_EDGES = ",;:.!?\"'()“”„«»"
SPACES_AND_QUOTES = string.whitespace + '"“”„«»'
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]+)[\"”“»]")
_SIGNS = (
    # As in `paris -louvre` and `2019 -2018`.
    (
        re.compile(r"(?<!\S)[-!](?=[^\W\d])|(?<=\s)[-!](?=\d{4}\b)"),
        "not ",
    ),
    (re.compile(r"(?<!\S)[&+](?!\S)"), "and"),
    (re.compile("के (?:बिना|अलावा|सिवाय)|को छोड़कर"), _NOT_AFTER),
)


def words_of(text: str) -> list[str]:
    for sign, word in _SIGNS:
        text = sign.sub(word, text)
    words = (word.strip(_EDGES) for word in text.split())
    return [word for word in words if folded(word)]


def quoted_words(text: str) -> frozenset[str]:
    return frozenset(
        word for quoted in _QUOTED.findall(text) for word in words_of(quoted)
    )


def phrases(text: str) -> set[str]:
    words = words_of(text)[:MAX_WORDS]
    starts, lengths = range(len(words)), range(1, MOST_WORDS_OF_PART + 1)
    return {
        " ".join(words[start : start + length])
        for start in starts
        for length in lengths
    }


def relation_of(word: str) -> Relation | None:
    plain = _plain(word)
    # `not` in English and Spanish, and `in the` in Portuguese
    if plain == "no" and reader_language() not in (None, "es"):
        return None
    return Relation.NOT if is_not_after(word) else _RELATIONS.get(plain)


def is_not_after(word: str) -> bool:
    return folded(word) == folded(_NOT_AFTER)


def is_grammar(phrase: str) -> bool:
    return all(_plain(word) in _FILLERS or relation_of(word) for word in phrase.split())


def without_fillers(phrase: str) -> str:
    """The phrase without words that say nothing: `without any landmark` is `without landmark`."""
    return " ".join(
        word
        for word in phrase.split()
        if relation_of(word) or _plain(word) not in _FILLERS
    )
