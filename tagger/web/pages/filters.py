"""The filter form of photos and the chips of its active filters."""

from collections.abc import Mapping, Sequence
from functools import wraps

from fastapi import Request

from tagger.errors import QueryInvalid
from tagger.library.catalog.landmarks import Landmark
from tagger.library.query.filter_words import (
    WHICH,
    active_filters,
    is_of_accepted_tags,
    selects_all_photos,
)
from tagger.library.query.options import PhotoQuery
from tagger.web.http.query_params import ADDRESS_OPTIONS, QueryParams, address_of, query_params
from tagger.web.pages.tiles import Link

_SCORES = ("0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.99")
_PAGE_OPTIONS = ("after", "which")


@wraps(query_params)
def params_or_error(**options: str | float | bool | None) -> QueryParams | QueryInvalid:
    """Return the query of a request, or its error for the form to show; a FastAPI dependency."""
    try:
        return query_params(**options)
    except QueryInvalid as error:
        return error


def raw_params(request: Request) -> QueryParams:
    """Return the options as typed, for the form; the query is empty."""
    values = {
        name: [value for value in request.query_params.getlist(name) if value.strip()]
        for name in ADDRESS_OPTIONS
    }
    options = {
        name: tuple(texts) if ADDRESS_OPTIONS[name].several else texts[-1]
        for name, texts in values.items()
        if texts
    }
    return QueryParams(options, PhotoQuery())


def check_options(request: Request, *more: str) -> None:
    """Raises:
    QueryInvalid: the address has an option that no query has, nor the page: `more`.
    """
    for name in request.query_params:
        if name not in (*ADDRESS_OPTIONS, *_PAGE_OPTIONS, *more):
            raise QueryInvalid(reason=f"unknown option {name}; valid options: {', '.join(ADDRESS_OPTIONS)}")


def score_choices(score: str | None) -> list[str]:
    """Return the least scores to choose from, including the current one."""
    return sorted({*_SCORES, *([score] if score else ())}, key=float)


def filter_chips(params: QueryParams, landmarks: Sequence[Landmark], trip_name: str | None) -> list[Link]:
    """Return the active filters, each linked to the query without it. `trip_name`: of the query's trip, if there is one."""
    names = {landmark.slug: landmark.display_name for landmark in landmarks}
    return [
        Link(text, _address_without(params, removed))
        for text, removed in active_filters(params.options, params.query, names, trip_name)
    ]


def _address_without(params: QueryParams, removed: Mapping[str, object]) -> str:
    """The address of the other filters; without the last landmark or country, of all classified photos."""
    rest = {name: value for name, value in {**params.options, **removed}.items() if value is not None}
    was_of_tags = is_of_accepted_tags(params.options) and not is_of_accepted_tags(rest)
    if was_of_tags and not selects_all_photos(rest) and not rest.keys() & WHICH.keys():
        rest |= {"any_rank": "1"}
    return address_of("/photos", rest)
