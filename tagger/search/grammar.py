"""The grammar of a typed text: how its words become parts, and which words relate parts or say nothing.

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
from enum import Enum, auto

from tagger.search.matching import folded
from tagger.texts.text_format import reader_language

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
    return frozenset(spelling for word in words.split() for spelling in (_plain(word), folded(word)))


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
_NO = "no"  # `not` in English and Spanish, and `in the` in Portuguese
_EDGES = ",;:.!?\"'()“”„«»"
SPACES_AND_QUOTES = string.whitespace + '"“”„«»'
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]+)[\"”“»]")
_SIGNS = (
    (re.compile(r"(?<!\S)-(?=[^\W\d])"), "not "),  # paris -louvre
    (re.compile(r"(?<!\S)[&+](?!\S)"), "and"),
    (re.compile("के (?:बिना|अलावा|सिवाय)|को छोड़कर"), _NOT_AFTER),
)


def words_of(text: str) -> list[str]:
    """The words of a text, without the marks around them."""
    for sign, word in _SIGNS:
        text = sign.sub(word, text)
    words = (word.strip(_EDGES) for word in text.split())
    return [word for word in words if folded(word)]


def quoted_words(text: str) -> frozenset[str]:
    """The words in quotes."""
    return frozenset(word for quoted in _QUOTED.findall(text) for word in words_of(quoted))


def phrases(text: str) -> set[str]:
    """The runs of words of a text that may be names."""
    words = words_of(text)[:MAX_WORDS]
    starts, lengths = range(len(words)), range(1, MOST_WORDS_OF_PART + 1)
    return {" ".join(words[start : start + length]) for start in starts for length in lengths}


def relation_of(word: str) -> Relation | None:
    """How this word relates parts; None: it does not."""
    plain = _plain(word)
    if plain == _NO and reader_language() not in (None, "es"):
        return None
    return Relation.NOT if is_not_after(word) else _RELATIONS.get(plain)


def is_not_after(word: str) -> bool:
    """Whether the word excludes the part before it."""
    return folded(word) == folded(_NOT_AFTER)


def is_grammar(phrase: str) -> bool:
    """Whether all words say nothing of photos themselves."""
    return all(_plain(word) in _FILLERS or relation_of(word) for word in phrase.split())


def without_fillers(phrase: str) -> str:
    """The phrase without words that say nothing: `without any landmark` is `without landmark`."""
    return " ".join(word for word in phrase.split() if relation_of(word) or _plain(word) not in _FILLERS)
