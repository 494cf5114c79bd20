"""Words of dates in several languages, and typed texts in the form of these words: without case and accents.

Months are those of CLDR. It has no seasons and holidays, and only some of the other words.
"""

import calendar
import re
from collections.abc import Mapping
from functools import cache

from tagger.texts.names import LANGUAGES
from tagger.texts.text_format import without_accents


def plain_dates(text: str) -> str:
    """The text in lower case, without accents and words that mean nothing; each name is one word."""
    plain = without_accents(text).casefold()
    for pattern, words in _REWRITES:
        plain = pattern.sub(words, plain)
    plain = _NAMES_OF_WORDS.sub(lambda match: re.sub("[ ']", "", match[0]), plain)
    plain = " ".join(word for word in plain.split() if word not in _CONNECTORS)
    return _MONTH_BY_NUMBER.sub(lambda match: f"{calendar.month_name[int(match[1])].lower()} ", plain).strip()


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


def _words(text: str) -> list[list[str]]:
    """The words of each line, with lines of one meaning."""
    return [without_accents(line).casefold().split() for line in text.strip().splitlines()]


# The first day of each period and the day after its last, with a number of years to add to that of its name;
# then its names in English, German, French, Spanish, Portuguese, Italian, Dutch, Hindi and Vietnamese.
PERIODS = {
    name: ((int(first_years), first_day), (int(end_years), end_day))
    for first_years, first_day, end_years, end_day, *names in _words("""
+0 03-01 +0 06-01 spring Frühling Frühjahr printemps primavera lente वसंत muaxuân
+0 06-01 +0 09-01 summer Sommer été verano verão estate zomer गर्मी muahè
+0 09-01 +0 12-01 autumn fall Herbst automne otoño outono autunno herfst शरद muathu
+0 12-01 +1 03-01 winter hiver invierno inverno सर्दी muađông
+0 12-24 +0 12-27 christmas xmas weihnachten noel navidad natal natale kerst kerstmis क्रिसमस giangsinh
-1 12-31 +0 01-02 newyear newyears neujahr nouvelan anonuevo anonovo capodanno nieuwjaar नयासाल
+0 12-31 +1 01-02 newyearseve silvester nochevieja reveillon giaothua
""")
    for name in names
}
_NAMES_OF_WORDS = re.compile(
    r"new years?(?:'s)?(?: eve)?\b|nouvel an|ano (?:nuevo|novo)|giang sinh|giao thua|नया साल|mua (?=xuan|he|thu|dong)"
)
_REWRITES = (
    (re.compile("\u2019"), "'"),
    (re.compile("all'"), "al "),
    (re.compile(r"(?<!\S)[ld]'"), ""),
    # In Vietnamese: until, without accents a German article; and day.
    (re.compile(r"\b(?:den|toi) (?=thang|mua)|(?<=\d )(?:den|toi) (?=\d)"), "to "),
    (re.compile(r"\bngay (?=\d)"), ""),
)
# Vietnamese numbers months: `tháng 5 năm 2019`.
_MONTH_BY_NUMBER = re.compile(r"\bthang (0?[1-9]|1[0-2])(?: nam |/|$| )")
AROUND = re.compile(
    r"(?:^|\s)(?:around|about|um|autour|vers|alrededor|cerca|por volta|intorno|rond|khoang|quanh|के आसपास)(?=\s|$)"
)
LAST, THIS, YEAR, MONTH, WEEK, TODAY, YESTERDAY, SINCE, AFTER, BEFORE, UNTIL, _CONNECTORS = map(
    set,
    _words("""
last previous letzter letzte letztes letzten voriges vorigen dernier dernière passé pasado pasada passado passada scorso scorsa ngoái trước vorig पिछले
this dieser diese dieses diesen ce cette cet este esta esse questo questa nay dit deze इस
year Jahr année l'année an año ano anno năm jaar साल
month Monat mois mes mês mese tháng maand महीने
week Woche semaine semana settimana tuần हफ़्ते
today heute aujourd'hui hoy hoje oggi vandaag आज
yesterday gestern hier ayer ontem ieri gisteren
since seit depuis desde dal sinds
after nach après después após dopo na
before vor avant antes prima voor
until till bis jusqu'en jusque hasta até fino tot
of on the in im am von van vom de del d' do da den der le la el du l' era
"""),
)
ON_THIS_DAY = re.compile(
    "this day(?: in (?:history|other years))?|(?:an )?diesem tag(?: in anderen jahren)?|ce jour(?:[ -]la)?|(?:n?este|tal) dia(?: como hoy)?|(?:in )?questo giorno|op deze dag"
    "|(?:आज|इस) (?:के )?दिन|(?:vao )?ngay nay(?: nam xua)?"
)
_A_YEAR = r"(?:1|a|one|einem|un|um|uno|een|एक|mot)"
A_YEAR_AGO = re.compile(
    rf"(?:vor|il y a|hace|ha) {_A_YEAR} (?:jahr|an|ano)"
    rf"|{_A_YEAR} (?:year ago|ano atras|anno fa|jaar geleden|साल पहले|nam truoc)"
)
FROM = re.compile(r"(?:from|du|van|desde|dal|dalla|tu) ")
TO = re.compile(
    r" ?(?:\u2013|\.\.) ?|(?<=\d{4})-(?=\d{4})|(?<=\w)-(?=[^\W\d])"
    r"| (?:-|to|until|till|through|bis zum|bis|a|au|jusqu'a|jusqu'en|al|hasta|ao|ate|ad|alla|fino a|tot en met|tot|t/m|से) "
)
# Without the first word, `and` joins two dates, not what is between them.
BETWEEN = re.compile(
    r"(?:between|zwischen|entre|tra|fra|tussen|giua) (.+) (?:and|und|et|y|e|en|va) (.+)|(.+) और (.+) के बीच"
)
