"""When and where a photo was taken, as XMP, side files and its name state it; and how times are written.

Knows nothing of which statement counts. The files may be hostile: any of them gives facts, no facts, or a
broken file.

Slightly wrong times that can mean only one time are read: phones write 24:08:19 for eight past midnight of
the day that has begun, seconds of 60, or the time zone behind the time. Others are not: 08/07/2015 is a day
in July or in August.
"""

import csv
import json
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from tagger.errors import FailureKind, PhotoFailed
from tagger.geo import distance_km, is_on_earth
from tagger.metadata import OUR_METHOD, WriteRefused
from tagger.metadata.xmp import (
    Value,
    added_in_properties,
    properties,
    texts,
)
from tagger.metadata.xmp.packet import (
    GPS_ERROR,
    GPS_METHOD,
    LATITUDE,
    LONGITUDE,
    degrees_of,
    same_coordinate,
    utf8_packet,
)
from tagger.photos import (
    FIRST_FACTS,
    LARGEST_ERROR_M,
    LARGEST_OFFSET_S,
    LEAST_OFFSET_S,
    PhotoFacts,
)
from tagger.photos.paths import folded_name
from tagger.photos.side_files import SIDECAR_MAX_BYTES, SideFile
from tagger.photos.source import PhotoSource, open_source
from tagger.texts import decoded_text
from tagger.texts.text_format import plain_number, with_ascii_digits

# ruff: noqa: RUF001 - words of all scripts


def half_day_word(text: str) -> str:
    """The text in the form of these words: `p. m.` becomes `pm`; empty if it has no letter."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(
        letter for letter in folded if unicodedata.category(letter)[0] in "LM"
    )


_MORNING_WORDS = """
a adduha ag am amvormittag an ankstāinan antemidí ap atm banhaet bn braxkndaax comme damanhã de
delamañana delmatin dinda dop dopoldne dopołdnja dopołedniŏ eparadites fh fm ft förmiddag
fọmọ́nin gh goöň göň günortadanöň hengihengi hh hoseng iarmade ib ibikɛ̂glà icheheavo idiɓa im
isuk iđitbeaivet iđitbeaivi ka kangama karoon ki kiroko kiɛmɛ́ɛm krn kíkíríg lb leebi lumalwak
lwamilawu ma makeo mambia manhã maná mat matin mañana mbaʼámbaʼ mbaꞌmbaꞌ moies muhi munkyo nd
ntufat ntɔ́ngɔ́ nụtụtụ od pagisiang pamilau paradite pd pg pgsg piopensuno priekšp
priekšpusdiena priekšpusdienā priešpiet prijepodne prp prīškpušdīnē rn rw rũ sa saaku safiya sf
sokallim soodo sub subaka subbaahi sárúwá taparachu tesiran tifawt to too uhrvörmiddaachs
ulloqeqqatatungaa uluchelo utuko vaasisu vm vorm vormittag vörmeddaach wd wichishu yb zdatazal
zmu àárɔ̀ àárọ̀ öö öň ĩyakwakya ŋdi ǁgoagas ɛnkakɛnyá ʊshilèkʊboɖu πμ а ам апн апоўначы дп
обедтэикеле преподне претпл пријеподне проб таңкы то тң эи үө ӕмбисбоныразмӕ ա לפנהצ פֿאַרמיטאָג
اےایم بن تد ص صباحا صباحًا صبحمنجهند غم ق قبلازظهر قظ چب چۈشتىنبۇرۇن ܩ ܩܛ ߛ एएम तडके दुपहरब्रोंठ
पूर्वाह्न फुं भोर भ्यागा येएम सकाळीं सबेरे सवेर सुबुहजा এএম নুমাং ਪੂਦੁ ਸ ଏ ଏଏମ ପୂ ପୂର୍ବାହ୍ନ ఉ ఎ
ఎఎమ్ පෙ පෙව ก่อนเที่ยง ກ່ອນທ່ຽງ སྔཆ སྔདྲོ နံနက် ማለዶ ቀደምሰርምዕል ቅቀ ጠ ጥዋት ጽባሕ ፋዱስጃብ Ꮜ ᏌᎾᎴ ᐁᒼ ᐊᒼ ᠦᠥ
ᱥᱮᱛᱟᱜ ⵜⵉⴼⴰⵡⵜ 上午 午前 ꎸꄑ 오전 𐐰𐑋 𐑨𐑥 𞤢 𞤢𞤰
"""
MORNING = frozenset(_MORNING_WORDS.split())
_AFTERNOON_WORDS = """
ak akasuba aluula amnamittag anw banringzgvaq baubaukndaax carra ch chilo cɛɛ́nko datarde
delatarde desira dilolo du ea eahketbeaivet eahketbeaivi eb ebongi ebyámu efiafi eftermade
eftermiddag eh eigulo em ep epasdites ew fi fọívnin gd gm gosoň gsoň günortadansoň hawwaro
hwaĩinĩ ichamthi in iɓugajɔp ja kikiiɗe kingoto kisɛ́ndɛ koosk kooskoliny kugú kyiukonyi lilli
lk lumalwap makaaripi mchochill md mog mpókwa muu nabali nabalị nachm nam namittag ncwònzém ngo
ngəgógəle nm nommendaach nomë nomëttes ntmeddit nyiaghuo odp ot p pamunyi papussideinan pasdite
pashamihe piecpušdīnē pipinisuno pm pn pop popiet popodne popoldne popołdnju popołedniu posmidí
ptg ptm pēcp pēcpusd pēcpusdiena pēcpusdienā sanje shwane sn soir sorémalem soň srmlm tadggwat
tarde teipa thapama tk tŋ uhrnommendaachs uk ulloqeqqatakingorna wb wengi wótp wótpołdnja yamma
yh ym zaarikayb zmw ös ĩyawĩoo ŋkambɔ́tnji ũg ǃuias ɔ̀sán ɛndámâ ɣetrɔ ʊshilèkʊsasʊ μμ апд
апоўдні обедтэмейле п пм попл поподне послијеподне пп слоб тк түштөнкийинки эк үх ӕмбисбоныфӕстӕ
հ אחהצ נאָכמיטאָג بظ بعدازظهر تك دن شاممنجهند غو ك م مساء مساءً منجهندشام پیایم چك چۈشتىنكېيىن ܒ
ܒܛ ߥ अपराह्न दपेहरासंजा दपैहरबाद दुपहरपतॖ पीएम बे बेलासे शामजा सञ सांजे सांझ सांम পিএম ਬਾਦੁ ਸ਼ ଅ
ଅପରାହ୍ନ ପି ପିଏମ పి పిఎమ్ సా ප පව หลังเที่ยง ຫຼັງທ່ຽງ ཕྱིཆ ཕྱིདྲོ ညနေ ሓቆስርምዕል ምሴት ቃማ ከ ከሰዓት ድቀ
ፋዱስደምቢ Ꮢ ᏒᎯᏱᎢ ᏒᎯᏱᎢᏗᏢ ᐲᒼ ᠦᠬᠣ ᱧᱤᱫᱟᱹ ḍeffiraza ọ̀sán ⵜⴰⴷⴳⴳⵡⴰⵜ 下午 午後 ꁯꋒ 오후 𐐹𐑋 𐑐𐑥 𞤩 𞤩𞤰
"""
AFTERNOON = frozenset(_AFTERNOON_WORDS.split())


def parse_time(text: str, *, allows_day: bool = False) -> PhotoFacts | None:
    """Read a time, or with `allows_day` a day, at midnight. None: it is no time, or can mean several."""
    text = _in_ascii(text)
    match = _TIME.match(text)
    if match is None:
        day = _WRITTEN_DAY.fullmatch(text.strip()) if allows_day else None
        return _at(day, 0, 0, 0, None) if day else None
    hour, minute, second = (
        int(match[name] or match[f"{name}2"] or 0)
        for name in ("hour", "minute", "second")
    )
    if hour > 24 or minute > 59 or second > 60:
        return None
    behind = _BEHIND_TIME.match(text, match.end())
    word = behind["word"].strip(" .,") if behind else ""
    half = half_day_word(match["half_before"] or word)
    if half in AFTERNOON:
        if hour == 0:
            return None
        hour = hour if hour > 12 else hour % 12 + 12
    elif half in MORNING:
        if hour > 12:
            return None
        hour %= 12
    elif half and hour <= 12 and word not in _ZONE_NAMES:
        return None  # it may be the other half of the day
    return _at(
        match,
        hour % 24,
        minute,
        second,
        parse_offset(behind["zone"] if behind else ""),
    )


def parse_offset(text: str) -> int | None:
    """The seconds of an offset like `+05:30`, or `Z`; None if no time zone has it."""
    stripped = _in_ascii(text).strip(" \0")
    if stripped in ("Z", "UTC", "GMT"):
        return 0
    match = _OFFSET.fullmatch(stripped)
    if match is None:
        return None
    sign, hours, minutes = match[1], int(match[2]), int(match[3] or 0)
    offset_s = (hours * 60 + minutes) * (-60 if sign == "-" else 60)
    is_zone = (
        LEAST_OFFSET_S <= offset_s <= LARGEST_OFFSET_S
        and offset_s % _OFFSET_STEP_S == 0
    )
    return offset_s if is_zone and minutes < 60 else None


def _in_ascii(text: str) -> str:
    return with_ascii_digits(text).replace("\N{MINUS SIGN}", "-")


def is_blank(text: str) -> bool:
    """Whether a text is blanks and zeros in the place of a time, as of cameras without a clock."""
    return not re.search("[1-9]", with_ascii_digits(text))


_DIGITS = r"[ \d]?\d"
_NUMBERS = (
    rf"(?P<year>\d{{4}})(?:[:/.-](?P<month>{_DIGITS})[:/.-]"
    rf"(?P<day>{_DIGITS})|(?P<month2>\d\d)(?P<day2>\d\d))"
)
_WRITTEN_DAY = re.compile(_NUMBERS, re.ASCII)
_TIME = re.compile(
    rf"\s*{_NUMBERS}[ T:,_-]*(?P<half_before>[^\W\d_TZ][^\W\d_]*\.?)?\s*"
    rf"(?:(?P<hour>{_DIGITS})(?P<mark>[:.-])(?P<minute>{_DIGITS})(?:(?P=mark)(?P<second>{_DIGITS})(?::\d{{3}})?)?|"
    r"(?P<hour2>\d\d)(?P<minute2>\d\d)(?P<second2>\d\d))(?:[.,]\d+)?(?![:.]?\d)",
)
# Behind a time: a word, which may have blanks and full stops, and a time zone.
_BEHIND_TIME = re.compile(
    r"(?P<word>(?:(?!(?:Z|UTC|GMT)\b)[^\d+\-\0])*?)\s*"
    r"(?P<zone>Z\b|(?:UTC|GMT)?[+-]\d\d?(?::?\d\d)?\b|UTC\b|GMT\b|(?=[\d+\-\0]|$))",
    re.ASCII,
)
# Names of time zones behind times of 24 hours. They are not read: some have several meanings.
_ZONES = """
ACDT ACST ADT AEDT AEST AKDT AKST ART AST AWST BRT BST CDT CEST CET CST EAT EDT EEST EET EST HKT HST
IDT IST JST KST MDT MESZ MEZ MSK MST NDT NST NZDT NZST PDT PHT PKT PST SAST SGT WAT WEST WET WIB
"""
_ZONE_NAMES = frozenset(_ZONES.split())
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d?)(?::?(\d\d))?", re.ASCII)
_OFFSET_STEP_S = 15 * 60
# Phones in Thailand write years since the death of the Buddha; months and days are as elsewhere.
_BUDDHIST_ERA = 543
_BUDDHIST_YEARS = range(1950 + _BUDDHIST_ERA, 2100 + _BUDDHIST_ERA)
# Phones in Iran write years of the Persian calendar, with its months. Later years may be Islamic ones (1440
# is 2018), of which no rule tells the day: they are not read.
_PERSIAN_YEARS = range(1340, 1410)
_PERSIAN_START = date(1961, 3, 21)
_ISLAMIC_YEARS = range(1410, 1500)


def _at(
    match: re.Match[str],
    hour: int,
    minute: int,
    second: int,
    utc_offset_s: int | None,
) -> PhotoFacts | None:
    year = int(match["year"])
    if year in _BUDDHIST_YEARS:
        year -= _BUDDHIST_ERA
    if year in _ISLAMIC_YEARS:
        return None
    month, day = (int(match[name] or match[f"{name}2"]) for name in ("month", "day"))
    try:
        at = (
            _persian_day(year, month, day)
            if year in _PERSIAN_YEARS
            else date(year, month, day)
        )
        minutes = datetime(at.year, at.month, at.day, hour, minute)  # noqa: DTZ001 - local time
        return PhotoFacts(
            taken_at=minutes + timedelta(seconds=second), utc_offset_s=utc_offset_s
        )
    except (
        ValueError,
        OverflowError,
    ):  # no such day, or the last second of the year 9999
        return None


def _persian_day(year: int, month: int, day: int) -> date:
    # Raises ValueError: the calendar has no such day.
    lengths = [31] * 6 + [30] * 5 + [30 if _is_persian_leap(year) else 29]
    if not (1 <= month <= 12 and 1 <= day <= lengths[month - 1]):
        raise ValueError("there is no such day")
    years = range(_PERSIAN_YEARS.start, year)
    days = (
        365 * len(years) + sum(map(_is_persian_leap, years)) + sum(lengths[: month - 1])
    )
    return _PERSIAN_START + timedelta(days=days + day - 1)


def _is_persian_leap(year: int) -> bool:
    # As astronomers have it from 1244 to 1472.
    return year % 33 in (1, 5, 9, 13, 17, 22, 26, 30)


@dataclass(frozen=True, kw_only=True)
class StatedFacts(PhotoFacts):
    """What one file states. `is_broken`: it cannot be read. `is_sidecar`: its time is local.

    `orientation`: 1 to 8, as in EXIF.

    `may_correct`: those of `FIRST_FACTS` that a person may have set, so that they count instead of others
    in the photo's own file.
    """

    is_broken: bool = False
    is_sidecar: bool = False
    orientation: int | None = None
    may_correct: frozenset[str] = frozenset()


def stated_time(*texts: str) -> PhotoFacts:
    written = [text for text in texts if not is_blank(text)]
    for text in written:
        if (time := parse_time(text, allows_day=True)) is not None:
            return time
    return PhotoFacts(is_date_unread=bool(written))


def _position(
    latitude: float | None, longitude: float | None, error_m: float | None = None
) -> dict[str, Any]:
    # A position; empty if a coordinate is missing or invalid, or both are 0, as programs write for none.
    if (
        latitude is None
        or longitude is None
        or not is_on_earth(latitude, longitude)
        or (latitude == 0 and longitude == 0)
    ):
        return {}
    is_error = error_m is not None and 0 <= error_m <= LARGEST_ERROR_M
    return {
        "latitude": latitude,
        "longitude": longitude,
        "gps_error_m": error_m if is_error else None,
    }


# Formats round positions by this much: seconds of arc are 31 metres.
_SAME_PLACE_KM = 0.02


def is_same_place(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    ends = (each[name] for each in (one, other) for name in ("latitude", "longitude"))
    return distance_km(*ends) <= _SAME_PLACE_KM


_YEAR_OF_FIRST_CAMERAS = 1990
# People date their scans.
_YEAR_OF_FIRST_PHOTO = 1826
# What any name with a day has. Scans ask for many names, and most have none.
_LIKE_DAY = re.compile(r"\d{4}[-_. 年년]? ?\d\d?[-_. 月월]? ?\d|\d\.\d\d?\.\d{4}|@\d")
_DAY = re.compile(
    # Letters before it are a word, as in IMG20150822; in 3fa20150822 they are digits of another number.
    r"(?:^|[\W_])[^\W\d_]*"
    r"(?:(?P<year>\d{4})(?P<mark>[-_. ])(?P<month>\d\d?)(?P=mark)(?P<day>\d\d?)(?!\d)"
    r"|(?P<cjk_year>\d{4}) ?[年년] ?(?P<cjk_month>\d\d?) ?[月월] ?(?P<cjk_day>\d\d?) ?[日일]"
    r"|(?P<first_day>\d\d?)\.(?P<second_month>\d\d?)\.(?P<last_year>\d{4})(?!\d)"
    r"|(?P<milliseconds>1\d{12})(?![^\W_])"
    # A time may follow, with milliseconds, or as Nintendo's Switch has it, with a number of two digits.
    r"|(?P<digits>\d{8})(?:(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?:\d{2,3})?)?(?![^\W_]|T(?!\d))"
    r"|(?P<iso>\d{8})(?=T\d))"
    # Telegram's exports.
    r"|@(?P<telegram_day>\d\d)-(?P<telegram_month>\d\d)-(?P<telegram_year>\d{4})_",
    re.ASCII,
)
# The groups of a written day: year, month, day.
_WRITTEN = (
    ("year", "month", "day"),
    ("cjk_year", "cjk_month", "cjk_day"),
    ("last_year", "second_month", "first_day"),
    ("telegram_year", "telegram_month", "telegram_day"),
)
# Names of copies that programs could not synchronise go on with the day of the copy:
# `a.sync-conflict-20230101-…`, `a (in Konflikt stehende Kopie 2021-05-06)`.
_CONFLICT = re.compile(r"[ck]onfli[ckt]", re.IGNORECASE)
_ONLY_MILLISECONDS = re.compile(r"1\d{12}(?:\(\d+\))?\.\w+", re.ASCII)


def day_in_name(path: str) -> datetime | None:
    """The day in a file's name, at midnight, as phones and messengers write it; None for none, or several.

    Only the day: some programs name files by the time in UTC, or by milliseconds since 1970, which count
    where no day is written, and not alone. Days come before months only with dots and in Telegram's names,
    and digits are left out only between dots or hyphens. A number that is no day between the first cameras
    and tomorrow is none.
    """
    name = with_ascii_digits(path.rpartition("/")[2])
    if conflict := _CONFLICT.search(name):
        name = name[: conflict.start()]
    if not _LIKE_DAY.search(name) or _ONLY_MILLISECONDS.fullmatch(name):
        return None
    matches = list(_DAY.finditer(name))
    written = [match for match in matches if not match["milliseconds"]]
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    days = {day for match in written if (day := _day(match)) is not None}
    if not days:
        since = (int(match["milliseconds"] or 0) for match in matches)
        days = {(_EPOCH + timedelta(milliseconds=ms)).date() for ms in since if ms}
    days = {day for day in days if day <= tomorrow}
    if len(days) != 1:
        return None
    day = days.pop()
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - local time


def _day(match: re.Match[str]) -> date | None:
    digits = match["digits"] or match["iso"]
    if digits:
        parts = digits[:4], digits[4:6], digits[6:]
    else:
        (names,) = (names for names in _WRITTEN if match[names[0]])
        parts = match[names[0]], match[names[1]], match[names[2]]
    if match["mark"] in ("_", " ") and len("".join(parts)) < len("20150822"):
        return None  # a number of a series
    year, month, day = map(int, parts)
    if year < (_YEAR_OF_FIRST_CAMERAS if digits else _YEAR_OF_FIRST_PHOTO):
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


# Larger files are not read: real ones have a kilobyte, those with many comments some ten.
TAKEOUT_MAX_BYTES = 2**20


def stated_in_takeout(data: bytes) -> StatedFacts:
    """The facts of a JSON file of Google Takeout or exiftool; empty if it is of something else. Never raises.

    The time is UTC: `photoTakenTime`, or in ente's files `creationTime`, which in others is that of an
    upload. `geoData` is what a person set, or what Google has from the photo; `geoDataExif` is what the
    camera stated. 0 stands for no value in all of them.
    """
    try:
        document = json.loads(decoded_text(data), parse_constant=_refuse)
    # Neither text nor JSON, too deep, or a number of thousands of digits.
    except (
        ValueError,
        RecursionError,
    ):
        return StatedFacts(is_broken=True)
    if isinstance(document, list):
        return _stated_by_exiftool(document)
    if not isinstance(document, dict):
        return StatedFacts()
    taken = "photoTakenTime" if "photoTakenTime" in document else "creationTime"
    if taken not in document:
        return StatedFacts()
    position = _takeout_position(document.get("geoData"))
    of_camera = _takeout_position(document.get("geoDataExif"))
    time = _takeout_time(document[taken])
    may_correct = set() if time.taken_at is None else {"taken_at"}
    if position and not (of_camera and is_same_place(position, of_camera)):
        may_correct.add("latitude")
    return StatedFacts(
        **vars(time) | (position or of_camera),
        may_correct=frozenset(may_correct),
    )


def _stated_by_exiftool(documents: Sequence[Any]) -> StatedFacts:
    # The facts of a list with one document, as `exiftool -json` writes it, and osxphotos beside photos.
    if len(documents) != 1 or not isinstance(documents[0], dict):
        return StatedFacts()
    # Names may have a group: `EXIF:GPSLatitude`. The first of a name counts.
    values: dict[str, str] = {}
    for name, value in documents[0].items():
        if isinstance(value, str | int | float):
            values.setdefault(name.rpartition(":")[2], str(value))
    time = stated_time(*(values[name] for name in _EXIFTOOL_TIMES if name in values))
    if time.taken_at is not None and time.utc_offset_s is None:
        offset = values.get("OffsetTimeOriginal") or values.get("OffsetTime") or ""
        time = replace(time, utc_offset_s=parse_offset(offset))
    latitude, longitude = (
        degrees_of(
            # As XMP has it: `33 deg 42' 54.22" N` is `33,42,54.22N`.
            re.sub(" deg |' ", ",", values.get(f"GPS{name}", "")).replace('"', ""),
            values.get(f"GPS{name}Ref", ""),
        )
        for name in ("Latitude", "Longitude")
    )
    return StatedFacts(
        **vars(time) | _position(latitude, longitude),
        is_sidecar=True,
        may_correct=frozenset(
            {"latitude", "taken_at"} if "DateTimeOriginal" in values else {"latitude"}
        ),
    )


_EXIFTOOL_TIMES = ("DateTimeOriginal", "CreateDate", "DateTimeCreated")


def stated_in_details(data: bytes) -> Mapping[str, StatedFacts]:
    """The time of each photo in iCloud's `Photo Details.csv`, in UTC, by its folded name. Never raises.

    `Saturday June 4,2022 12:11 PM GMT`, in most rows with quotes. Rows of several photos with one name that
    have several times count for none.
    """
    times: dict[str, set[PhotoFacts]] = {}
    try:
        rows = csv.reader(decoded_text(data).splitlines())
        header = [name.strip().casefold() for name in next(rows, [])]
        name_at, time_at = map(header.index, ("imgname", "originalcreationdate"))
        for row in rows:
            if len(row) > max(name_at, time_at):
                text = ",".join(row[time_at : time_at + 2])
                times.setdefault(folded_name(row[name_at]), set()).add(
                    _details_time(text)
                )
    except (ValueError, csv.Error):  # no text, no such column, or a field without end
        return {}
    return {
        name: StatedFacts(
            **vars(times_of_name.pop()),
            may_correct=frozenset({"taken_at"}),
        )
        for name, times_of_name in times.items()
        if len(times_of_name) == 1
    }


_DETAILS_TIME = re.compile(
    r"([A-Z][a-z]{2})[a-z]* (\d\d?), ?(\d{4}) (\d\d?:\d\d [AP]M) GMT"
)
_MONTHS = [
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
]


def _details_time(text: str) -> PhotoFacts:
    match = _DETAILS_TIME.search(text)
    if match is None or match[1] not in _MONTHS:
        return PhotoFacts(is_date_unread=bool(text.strip(", ")))
    month = _MONTHS.index(match[1]) + 1
    return stated_time(f"{match[3]}:{month:02}:{int(match[2]):02} {match[4]}")


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC
# Times so near to 1970 come from zeros, in some time zone.
_NO_TIME = timedelta(days=1)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _takeout_time(value: object) -> PhotoFacts:
    # The time, in UTC.
    timestamp = value.get("timestamp") if isinstance(value, Mapping) else None
    if timestamp in (None, ""):
        return PhotoFacts()
    try:
        since = timedelta(seconds=int(plain_number(str(timestamp))))
        taken_at = _EPOCH + since
    except (ValueError, OverflowError):
        return PhotoFacts(is_date_unread=True)
    if abs(since) < _NO_TIME:
        return PhotoFacts()
    latest = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
    if taken_at.year < _YEAR_OF_FIRST_PHOTO or taken_at > latest:
        return PhotoFacts(is_date_unread=True)
    return PhotoFacts(taken_at=taken_at)


def _takeout_position(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    degrees = [value.get(name) for name in ("latitude", "longitude")]
    if not all(type(degree) in (int, float) for degree in degrees):
        return {}
    try:
        return _position(*map(float, degrees))  # type: ignore[arg-type]
    except OverflowError:
        return {}


def stated_in_xmp(
    packet: bytes,
    lacking: Iterable[str] = FIRST_FACTS.values(),
    *,
    is_sidecar: bool = False,
) -> StatedFacts:
    """The facts of a packet that states any that are `lacking`, or a sidecar's orientation; never raises.

    Positions that this program wrote are not read. Viewers ignore the orientation in the XMP of a photo.
    """
    packet = utf8_packet(packet)
    names = [name for fact in lacking for name in _PROPERTIES[fact]]
    if is_sidecar:
        names.append("tiff:Orientation")
    # Parsing takes a hundred times as long.
    if not any(name.partition(":")[2].encode() in packet for name in names):
        return StatedFacts()
    try:
        fields = properties(packet)
    except WriteRefused:
        return StatedFacts(is_broken=True)
    times = [_text(fields, name) for name in _PROPERTIES["taken_at"]]
    captured = stated_time(*times[: len(_CAPTURED)])
    time = stated_time(*times)
    if time.taken_at is not None and time.utc_offset_s is None:
        time = replace(
            time, utc_offset_s=parse_offset(_text(fields, "exifEX:OffsetTimeOriginal"))
        )
    stated = _text(fields, "tiff:Orientation") if is_sidecar else ""
    orientation = int(stated) if re.fullmatch("[1-8]", stated) else None
    # Programs also write when a scan was made, or a file, which corrects nothing.
    may_correct = (
        {"latitude"} if captured.taken_at is None else {"latitude", "taken_at"}
    )
    return StatedFacts(
        **vars(time) | _xmp_position(fields),
        is_sidecar=is_sidecar,
        orientation=orientation,
        may_correct=frozenset(may_correct),
    )


# What states a fact. The times of capture come before those of digitisation.
_CAPTURED = ("exif:DateTimeOriginal", "photoshop:DateCreated")
_PROPERTIES = {
    "taken_at": (*_CAPTURED, "exif:DateTimeDigitized", "xmp:CreateDate"),
    "latitude": (LATITUDE, "drone-dji:GpsLatitude"),
}
# DJI's drones state the position once more, in older ones with this slip of the pen.
_DJI_LONGITUDES = ("gpslongitude", "gpslongtitude")


def _xmp_position(fields: Mapping[str, Value]) -> dict[str, Any]:
    latitude, longitude = _text(fields, LATITUDE), _text(fields, LONGITUDE)
    ours = dict(added_in_properties(dict(fields)))
    is_ours = LATITUDE in ours and same_coordinate(ours[LATITUDE], latitude)
    if is_ours or OUR_METHOD in _text(fields, GPS_METHOD):
        return {}
    north, east = _text(fields, f"{LATITUDE}Ref"), _text(fields, f"{LONGITUDE}Ref")
    position = _position(
        degrees_of(latitude, north),
        degrees_of(longitude, east),
        _rational(_text(fields, GPS_ERROR)),
    )
    if position:
        return position
    of_dji = {
        name.lower().removeprefix("drone-dji:"): _text(fields, name)
        for name in fields
        if name.startswith("drone-dji:")
    }
    longitudes = [of_dji[name] for name in _DJI_LONGITUDES if name in of_dji]
    if not longitudes:
        return {}
    return _position(
        degrees_of(of_dji.get("gpslatitude", "")),
        degrees_of(longitudes[0]),
    )


def _text(fields: Mapping[str, Value], name: str) -> str:
    return next(iter(texts(fields.get(name))), "").strip()


def _rational(text: str) -> float | None:
    numerator, slash, denominator = text.partition("/")
    try:
        return float(plain_number(numerator)) / float(
            plain_number(denominator) if slash else 1
        )
    except (ValueError, ZeroDivisionError):
        return None


# Side files, the one that counts first, with what they state.
SideFacts = Sequence[tuple[SideFile, StatedFacts]]


def read_side_facts(
    source: PhotoSource, photo: str, files: Sequence[SideFile]
) -> SideFacts:
    """What a photo's side files state. One that is gone states nothing; an unreadable one is broken."""
    return [(file, _read(source, photo, file)) for file in files]


def _read(source: PhotoSource, photo: str, file: SideFile) -> StatedFacts:
    folder, _, name = photo.rpartition("/")
    path = posixpath.normpath(posixpath.join(folder, file.name))
    try:
        if file.is_of_folder:
            return _read_details(source.location, path, file).get(
                folded_name(name), StatedFacts()
            )
        if file.is_sidecar:
            data = source.read(path, max_bytes=SIDECAR_MAX_BYTES).data
            return stated_in_xmp(data, is_sidecar=True)
        return stated_in_takeout(source.read(path, max_bytes=TAKEOUT_MAX_BYTES).data)
    except PhotoFailed as failed:
        return StatedFacts(is_broken=failed.failure.kind is not FailureKind.GONE)


# For all photos of a folder. `_file`: another version is read again.
@lru_cache(maxsize=16)
def _read_details(
    location: str,
    path: str,
    _file: SideFile,
) -> Mapping[str, StatedFacts]:
    data = open_source(location).read(path, max_bytes=SIDECAR_MAX_BYTES).data
    return stated_in_details(data)


def orientation_beside(photo: str, side_facts: SideFacts) -> int | None:
    """The orientation that this file's first sidecar states. That of a RAW file is not about its JPEG."""
    name = photo.rpartition("/")[2].casefold()
    own = (f"{name}.xmp", f"{name.rpartition('.')[0]}.xmp")
    for file, facts in side_facts:
        if file.name.casefold() in own and facts.orientation is not None:
            return facts.orientation
    return None
