"""The filter form of photos and the chips of its active filters."""

import inspect
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import wraps

from fastapi import Request

from tagger.catalog.landmarks import Landmark
from tagger.errors import QueryInvalid
from tagger.query import PhotoQuery
from tagger.web.http.number_format import percent
from tagger.web.http.query_params import QueryParams, query_params
from tagger.web.http.time_format import day_text
from tagger.web.pages.tiles import Link

WHICH = {
    "any_rank": "All classified",
    "unknown": "Unknown",
    "untagged": "Not classified",
    "failed": "Failed",
    "dismissed": "Not a landmark",
}
"""Choices of the form beside photos with a landmark, by query option."""

POSITIONS = {
    "camera": "GPS",
    "landmark": "Landmark",
    "track": "GPS track",
    "neighbour": "Estimated",
    "any": "Known",
    "none": "Unknown",
}
"""Choices of the form for where positions come from."""

VERDICTS = {
    "confirmed": "Confirmed",
    "rejected": "Rejected",
    "corrected": "Corrected",
    "any": "With a verdict",
    "none": "Without a verdict",
}
"""Choices of the form for verdicts."""

_CHIP_TEXTS = {
    "landmark": "{}",
    "country": "{}",
    "near": "near {}",
    "box": "Area on the map",
    "position": "position: {}",
    "verdict": "{}",
    "camera": "{}",
    "trip": "trip {}",
    "job": "job {}",
    "min_score": "score from {}",
    "under": "in {}",
    "year": "{}",
    "taken_after": "from {}",
    "taken_before": "before {}",
    "model": "classified by {}",
    "unknown": "unknown",
    "untagged": "not classified yet",
    "failed": "failed",
    "dismissed": "not a landmark",
}
_SCORES = ("0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.99")
_OPTIONS = tuple(inspect.signature(query_params).parameters)
_REPEATED = ("landmark", "country", "year", "camera", "under")
_DATES = ("taken_after", "taken_before")
_PAGE_OPTIONS = ("after", "which")


@wraps(query_params)
def params_or_error(**options: str | float | bool | None) -> QueryParams | QueryInvalid:
    """Return the query of a request, or its error for the form to show; a FastAPI dependency."""
    try:
        return query_params(**options)  # type: ignore[arg-type]
    except QueryInvalid as error:
        return error


def raw_params(request: Request) -> QueryParams:
    """Return the options as typed, for the form; the query is empty."""
    values = {
        name: [value for value in request.query_params.getlist(name) if value.strip()] for name in _OPTIONS
    }
    options = {
        name: tuple(texts) if name in _REPEATED else texts[-1] for name, texts in values.items() if texts
    }
    return QueryParams(options, PhotoQuery())


def check_options(request: Request, *more: str) -> None:
    """Raises:
    QueryInvalid: the address has an option that no query has, nor the page: `more`.
    """
    for name in request.query_params:
        if name not in (*_OPTIONS, *_PAGE_OPTIONS, *more):
            raise QueryInvalid(reason=f"unknown option {name}; valid options: {', '.join(_OPTIONS)}")


def score_choices(score: str | None) -> list[str]:
    """Return the least scores to choose from, including the current one."""
    return sorted({*_SCORES, *([score] if score else ())}, key=float)


def filter_chips(params: QueryParams, landmarks: Sequence[Landmark], trip_name: str | None) -> list[Link]:
    """Return the active filters, each linked to the query without it; `any_rank` is none. `trip_name`: of the query's trip, if there is one."""
    names = {landmark.slug: landmark.display_name for landmark in landmarks}
    year = whole_year(params)

    def text(option: str, value: str) -> str:
        if option == "near" and "radius_km" in params.options:
            return f"{value}, within {params.options['radius_km']} km"
        if option == "min_score":
            return percent(float(value))
        if option == "trip":
            return trip_name or value
        if option in _DATES:
            return _date_text(value)
        texts = {"position": POSITIONS, "verdict": VERDICTS, "landmark": names}
        return texts.get(option, {}).get(value, value)

    return [
        Link(_CHIP_TEXTS[option].format(text(option, value)), params.address("/photos", **rest))
        for option, values in params.options.items()
        if option in _CHIP_TEXTS
        for value, rest in _without_each(option, values)
        if not (year and option in _DATES)
    ] + ([Link(year, params.address("/photos", **dict.fromkeys(_DATES)))] if year else [])


def _date_text(value: str) -> str:
    """The day in words; a time of day, and what is no date, as typed."""
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        return value
    return day_text(date) if date == datetime(date.year, date.month, date.day) else value  # noqa: DTZ001 - local time


def whole_year(params: QueryParams) -> str | None:
    """Return the year that the dates of a query stand for, as text."""
    first, end = params.query.taken_after, params.query.taken_before
    if first is None or end is None or end.year != first.year + 1:
        return None
    is_whole = all(date == datetime(date.year, 1, 1) for date in (first, end))  # noqa: DTZ001 - local time
    return str(first.year) if is_whole else None


def _without_each(option: str, values: str | tuple[str, ...]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each value, and the options that remove it."""
    if isinstance(values, tuple):
        for value in values:
            yield value, {option: tuple(other for other in values if other != value) or None}
    else:
        yield values, dict.fromkeys(("near", "radius_km") if option == "near" else (option,))
