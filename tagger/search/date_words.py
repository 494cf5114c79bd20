"""Words of dates in several languages, and typed texts in the form of these words: without case and accents.

Months are those of CLDR. It has no seasons and holidays, and only some of the other words.
"""

import calendar
import re
from collections.abc import Iterable, Mapping
from functools import cache

from tagger.texts.names import LANGUAGES
from tagger.texts.text_format import without_accents


def plain_dates(text: str) -> str:
    """The text in lower case, without accents and words that mean nothing; months and seasons as one word."""
    folded = without_accents(text).casefold().replace("\u2019", "'").replace("all'", "al ")
    folded = _HOLIDAY_WORDS.sub(lambda match: re.sub("[ ']", "", match[0]), folded)
    folded = _VIETNAMESE_TO.sub("to ", folded)
    folded = _VIETNAMESE_YEAR.sub(r"\1 ", folded)
    words = (word.removeprefix("l'").removeprefix("d'") for word in folded.split())
    plain = " ".join(word for word in words if word not in _CONNECTORS)
    named = _MONTH_BY_NUMBER.sub(lambda match: f"{calendar.month_name[int(match[1])].lower()} ", plain)
    return named.replace("mua ", "mua").strip()


def _words(text: str) -> list[list[str]]:
    """The words of each line, with lines of one meaning."""
    return [without_accents(line).casefold().split() for line in text.strip().splitlines()]


def _by_word(lines: Iterable[Iterable[str]], first: int = 0) -> dict[str, int]:
    return {word: number for number, line in enumerate(lines, first) for word in line}


@cache
def months_by_name() -> Mapping[str, int]:
    """The numbers of months by their names in LANGUAGES and English."""
    from babel.dates import get_month_names  # most commands start without it

    return {
        without_accents(name).casefold(): number
        for language in ("en", "de_AT", *LANGUAGES)
        for form in ("format", "stand-alone")
        for number, name in get_month_names("wide", form, language).items()
    }


_MONTH_BY_NUMBER = re.compile(r"\bthang (0?[1-9]|1[0-2])(?: nam |/|$| )")
"""Vietnamese numbers months: `tháng 5 năm 2019`; its seasons have two words."""
# In English, German, French, Spanish, Portuguese, Italian, Dutch, Hindi and Vietnamese.
SEASONS = _by_word(
    _words("""
spring Frühling Frühjahr printemps primavera lente वसंत muaxuân
summer Sommer été verano verão estate zomer गर्मी muahè
autumn fall Herbst automne otoño outono autunno herfst शरद muathu
winter hiver invierno inverno सर्दी muađông
""")
)
HOLIDAYS = _by_word(
    _words("""
christmas xmas weihnachten noel navidad natal natale kerst kerstmis क्रिसमस giangsinh
newyear newyears neujahr nouvelan anonuevo anonovo capodanno nieuwjaar नयासाल
newyearseve silvester nochevieja reveillon giaothua
easter ostern paques pascua pascoa pasqua pasen ईस्टर phucsinh
""")
)
_HOLIDAY_WORDS = re.compile(
    r"new years?(?:'s)?(?: eve)?\b|nouvel an|ano (?:nuevo|novo)|giang sinh|giao thua|phuc sinh|नया साल"
)
"""Holidays of several words."""
EASTER = 3
"""The number of the holiday that has other days each year."""
AROUND = re.compile(
    r"(?:^|\s)(?:around|about|um|autour|vers|alrededor|cerca|por volta|intorno|rond|khoang|quanh|के आसपास)(?=\s|$)"
)
LAST, THIS, YEAR, MONTH, WEEK = map(
    set,
    _words("""
last previous letzter letzte letztes letzten voriges vorigen dernier dernière passé pasado pasada passado passada scorso scorsa ngoái trước vorig पिछले
this dieser diese dieses diesen ce cette cet este esta esse questo questa nay dit deze इस
year Jahr année l'année an año ano anno năm jaar साल
month Monat mois mes mês mese tháng maand महीने
week Woche semaine semana settimana tuần हफ़्ते
"""),
)
TODAY, YESTERDAY = map(
    set,
    _words("""
today heute aujourd'hui hoy hoje oggi vandaag आज
yesterday gestern hier ayer ontem ieri gisteren
"""),
)
ON_THIS_DAY = re.compile(
    "this day(?: in (?:history|other years))?|(?:an )?diesem tag(?: in anderen jahren)?|ce jour(?:[ -]la)?|(?:n?este|tal) dia(?: como hoy)?|(?:in )?questo giorno|op deze dag"
    "|(?:आज|इस) (?:के )?दिन|(?:vao )?ngay nay(?: nam xua)?"
)
_ONE = r"\d{1,2}|a|an|one|einem|un|um|een|एक|mot"
AGO = re.compile(
    rf"(?:vor|il y a|hace|ha) (?P<before>{_ONE}) (?:jahr(?:en)?|ans?|anos?)"
    rf"|(?P<after>{_ONE}) (?:years? ago|anos? atras|ann[oi] fa|jaar geleden|साल पहले|nam truoc)"
)
"""So many years ago; `a year` is one."""
SINCE, AFTER, BEFORE, UNTIL = map(
    set,
    _words("""
since seit depuis desde dal sinds
after nach après después após dopo na
before vor avant antes prima voor
until till bis jusqu'en jusque hasta até fino tot
"""),
)
QUARTERS, _WEEKS = map(
    set,
    _words("""
quarter quarters Quartal Quartals trimestre kwartaal तिमाही quý
week Woche Kalenderwoche KW CW W semaine semana settimana tuần सप्ताह हफ़्ते हफ़्ता
"""),
)
QUARTER_NUMBERS = _by_word(
    _words("""
1 i 1st 1er 1e first erstes ersten erste premier primer primero primeiro primo eerste पहली पहला nhất
2 ii 2nd 2e second zweites zweiten zweite deuxième segundo secondo tweede दूसरी दूसरा hai
3 iii 3rd 3e third drittes dritten dritte troisième tercer tercero terceiro terzo derde तीसरी तीसरा ba
4 iv 4th 4e fourth viertes vierten vierte quatrième cuarto quarto vierde चौथी चौथा tư bốn
"""),
    1,
)


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


QUARTER = re.compile(
    rf"[qt]([1-4])|({_any(QUARTER_NUMBERS)})\.? (?:{_any(QUARTERS)})|(?:{_any(QUARTERS)}) ({_any(QUARTER_NUMBERS)})"
)
"""A quarter and its number: `q1`, `first quarter`, `1. quartal`, `quý 1`."""
NUMBERED_WEEK = re.compile(
    rf"(?:calendar )?(?:{_any(_WEEKS)}) ?(\d{{1,2}})|(\d{{1,2}})\.? (?:{_any(_WEEKS)})"
)
"""A week and its number: `week 12`, `kw 12`, `w12`, `12. kw`."""
_CONNECTORS = set(_words("of on the in im am von van vom de del d' do da den der le la el du l' era")[0])
"""Words within dates that mean nothing: `3 de mayo de 2019`."""
FROM = re.compile(r"(?:from|du|van|desde|dal|dalla|tu) ")
TO = re.compile(
    r" ?(?:\u2013|\.\.) ?|(?<=\d{4})-(?=\d{4})|(?<=\w)-(?=[^\W\d])"
    r"| (?:-|to|until|till|through|bis zum|bis|a|au|jusqu'a|jusqu'en|al|hasta|ao|ate|ad|alla|fino a|tot en met|tot|t/m|से) "
)
_VIETNAMESE_TO = re.compile(r"\b(?:den|toi) (?=thang|mua)|(?<=\d )(?:den|toi) (?=\d)")
"""Without its accents, `đến` is a German article."""
_VIETNAMESE_YEAR = re.compile(r"\b((?:quy|tuan) \w{1,4}) nam (?=\d)|\bngay (?=\d)")
BETWEEN = re.compile(
    r"(?:between|zwischen|entre|tra|fra|tussen|giua) (.+) (?:and|und|et|y|e|en|va) (.+)|(.+) और (.+) के बीच"
)
"""Without the first word, `and` joins two dates, not what is between them."""
