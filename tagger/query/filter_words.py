"""The active filters of photos in words, as the chips of the page have them.

Options are those of an address: each has a text, or several.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from math import inf
from pathlib import PurePath
from typing import Any

from tagger.errors import QueryOptionInvalid
from tagger.query.options import QUERY_OPTIONS, Alternatives, PhotoQuery
from tagger.query.photo_conditions import box_text, near_text
from tagger.texts.text_format import (
    N_,
    country_name,
    day_of_any_year_text,
    day_text,
    gettext,
    list_text,
    month_text,
    percent,
    period_text,
)

Options = Mapping[str, str | tuple[str, ...]]

# Choices of the form beside photos with a landmark, by query option.
WHICH = {
    "any_rank": N_("All photos"),
    "unknown": N_("Unknown"),
    "untagged": N_("Not processed"),
    "failed": N_("Failed"),
    "dismissed": N_("Not a landmark"),
    "favourite": N_("Favourites"),
}
# The choice of the form without any of these options.
WITH_LANDMARK = N_("With a landmark")
WITH_LANDMARK_CHIP = N_("with a landmark")

# Options that mean accepted tags: with one of them, the form adds no photos with a mere candidate.
_OF_ACCEPTED_TAGS = ("landmark", "country")
# Options that tags without acceptance match too, with `any_rank`.
_OF_TAGS = (*_OF_ACCEPTED_TAGS, "min_score")

# Where positions come from, as words of the search.
POSITIONS = {
    "camera": "GPS",
    "sidecar": N_("Sidecar"),
    "takeout": "Google Takeout",
    "landmark": N_("From a landmark"),
    "track": N_("GPS track"),
    "neighbour": N_("Estimated"),
    "trip": N_("From the trip"),
    "any": N_("With a position"),
    "none": N_("Without a position"),
    "no-gps": N_("Without GPS"),
}

_POSITION_CHIPS = {
    "camera": N_("position: GPS"),
    "sidecar": N_("position: sidecar"),
    "takeout": N_("position: Google Takeout"),
    "landmark": N_("position: from a landmark"),
    "track": N_("position: GPS track"),
    "neighbour": N_("position: estimated"),
    "trip": N_("position: from the trip"),
    "any": N_("with a position"),
    "none": N_("without a position"),
    "no-gps": N_("without GPS"),
}

# Verdicts, as words of the search.
VERDICTS = {
    "confirmed": N_("Confirmed"),
    "rejected": N_("Rejected"),
    "corrected": N_("Corrected"),
    "any": N_("With a verdict"),
    "none": N_("Without a verdict"),
}

_VERDICT_CHIPS = {
    "confirmed": N_("confirmed"),
    "rejected": N_("rejected"),
    "corrected": N_("corrected"),
    "any": N_("with a verdict"),
    "none": N_("without a verdict"),
}

# Photos whose day is not known, as words of the search.
UNDATED = N_("Without a date")
# The photos that were added last first, as words of the search.
RECENTLY_ADDED = N_("Recently added")
_DATES = ("taken_after", "taken_before")
# Options of which more values than this are one filter, as a word can mean many; and what it is
# called.
_TOGETHER = {
    "under": (2, N_("in %(count)s folders: %(names)s")),
    "landmark": (5, N_("%(count)s landmarks: %(names)s")),
}
_NAMED = 2


def is_of_accepted_tags(options: Collection[str]) -> bool:
    return any(option in options for option in _OF_ACCEPTED_TAGS)


def selects_all_photos(options: Collection[str]) -> bool:
    """Whether they select photos without a landmark, too, if no outcome, landmark or country is chosen."""
    return any(
        option in options
        for option in (
            "thing",
            "sight",
            "near",
            "box",
            "position",
            "verdict",
            "trip",
            "job",
        )
    )


def selects_with_landmark(options: Collection[str]) -> bool:
    """Whether these options select only photos with a landmark, although none of them says so."""
    return not (
        selects_all_photos(options)
        or is_of_accepted_tags(options)
        or WHICH.keys() & set(options)
    )


def description(options: Options, query: PhotoQuery, names: Mapping[str, str]) -> str:
    """All filters in words: those of `active_filters`, and `any_rank`."""
    words = [text for text, _ in active_filters(options, query, names)]
    if "any_rank" in options and any(option in options for option in _OF_TAGS):
        words.append(gettext("guesses too"))
    elif "any_rank" in options:
        words.insert(0, gettext("all photos"))
    return ", ".join(words)


def conditions_text(query: PhotoQuery, names: Mapping[str, str] | None = None) -> str:
    """The conditions of a query in words, but that photos have a landmark. `names`: see `active_filters`."""
    options = query.texts | {"any_rank": "1"}
    return ", ".join(text for text, _ in active_filters(options, query, names or {}))


def active_filters(
    options: Options,
    query: PhotoQuery,
    names: Mapping[str, str],
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield each active filter in words, and the options that remove it; `any_rank` is none.

    `names`: of landmarks by slug, trips by id, boxes by their texts, and positions, also with a radius.
    Without an outcome, landmark or country, the first filter of most queries is that photos have a landmark.
    """
    period = _period(query)
    if selects_with_landmark(options):
        yield gettext(WITH_LANDMARK_CHIP), {"any_rank": "1"}
    for option, values in options.items():
        declared = QUERY_OPTIONS.get(option)
        most, text = _TOGETHER.get(option, (inf, ""))
        if len(values) > most and not isinstance(values, str):
            known = dict.fromkeys(
                _value_text(query, option, value, names) for value in values
            )
            shown = ", ".join(list(known)[:_NAMED])
            yield gettext(text, count=len(values), names=shown), {option: None}
        elif option == "calendar_day" and (days := _days_in_a_row(values)):
            yield days, {option: None}
        elif (option, values) == ("sort", "added"):
            yield gettext("recently added"), {option: None}
        elif declared and declared.chip and not (period and option in _DATES):
            for value, removed in _without_each(option, values):
                text = _value_text(query, option, value, names)
                yield gettext(declared.chip).format(text), removed
    if period:
        yield period, dict.fromkeys(_DATES)


def _days_in_a_row(values: Sequence[str]) -> str | None:
    # The first and last of several days of any year that follow each other.
    try:
        days = [date.fromisoformat(f"2000-{value}") for value in values]
    except ValueError:
        return None
    is_row = all(
        f"{day + timedelta(days=1):%m-%d}" == f"{after:%m-%d}"
        for day, after in pairwise(days)
    )
    if len(days) < 2 or not is_row:
        return None
    return " \N{EN DASH} ".join(map(day_of_any_year_text, (days[0], days[-1])))


def _value_text(
    query: PhotoQuery,
    option: str,
    value: str,
    names: Mapping[str, str],
) -> str:
    if option in ("any_of", "without"):
        return _alternatives_text(option, value, names)
    if option == "near" and query.circle:
        return (
            names.get(f"{value},{query.circle.radius_km:g}")
            or names.get(value)
            or near_text(query.circle)
        )
    if option == "box" and query.box:
        return names.get(value) or box_text(query.box)
    if option in _TEXTS:
        is_wrong_day = option in (
            "calendar_month",
            "calendar_day",
        ) and value not in map(str, getattr(query, option))
        is_invalid = (
            is_wrong_day or getattr(query, option) is QUERY_OPTIONS[option].unset
        )
        return value if is_invalid else _TEXTS[option](value)
    if option == "under":
        return PurePath(value).name or value
    return names.get(value, value) if option in ("landmark", "trip", "thing") else value


def _alternatives_text(option: str, value: str, names: Mapping[str, str]) -> str:
    try:
        queries = Alternatives.parse(value, option).queries
    except QueryOptionInvalid:
        return value
    return list_text([conditions_text(query, names) for query in queries], "or")


def _date_text(value: str) -> str:
    # The day in words; a time of day as typed.
    at = datetime.fromisoformat(value)
    midnight = datetime(at.year, at.month, at.day)  # noqa: DTZ001 - local time
    return day_text(at) if at == midnight else value


# The texts of values, by option.
_TEXTS: Mapping[str, Callable[[str], str]] = {
    "calendar_month": lambda value: month_text(int(value)),
    "calendar_day": lambda value: day_of_any_year_text(
        date.fromisoformat(f"2000-{value}")
    ),
    "country": country_name,
    "min_score": lambda value: percent(float(value)),
    "position": lambda value: gettext(_POSITION_CHIPS.get(value, value)),
    "verdict": lambda value: gettext(_VERDICT_CHIPS.get(value, value)),
    **dict.fromkeys(_DATES, _date_text),
}


def _period(query: PhotoQuery) -> str | None:
    # The days from the first to the last date of a query; None: it has a time of day, or not both dates.
    first, end = query.taken_after, query.taken_before
    if (
        first is None
        or end is None
        or first >= end
        or (first.time(), end.time()) != (time(), time())
    ):
        return None
    return period_text(first.date(), end.date())


def options_without(options: Options, removed: Mapping[str, Any]) -> Options:
    """They never select photos with a landmark instead."""
    rest = {
        name: value
        for name, value in {**options, **removed}.items()
        if value is not None
    }
    is_narrower = selects_with_landmark(rest) and not selects_with_landmark(options)
    return rest | {"any_rank": "1"} if is_narrower else rest


def whole_year(query: PhotoQuery) -> str | None:
    period = _period(query)
    return period if period and period.isdecimal() else None


def _without_each(
    option: str, values: str | tuple[str, ...]
) -> Iterator[tuple[str, dict[str, object]]]:
    # Yield each value, and the options that remove it.
    if isinstance(values, tuple):
        for value in values:
            yield (
                value,
                {option: tuple(other for other in values if other != value) or None},
            )
    else:
        yield (
            values,
            dict.fromkeys(("near", "radius_km") if option == "near" else (option,)),
        )
