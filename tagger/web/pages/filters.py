"""What a query of photos asks, as its form and its chips say it."""

import inspect
from collections.abc import Sequence
from functools import wraps

from fastapi import Request

from tagger.errors import QueryInvalid
from tagger.landmarks import Landmark
from tagger.query import PhotoQuery
from tagger.web.asked import Asked, asked
from tagger.web.pages.figures import percent
from tagger.web.pages.tiles import Link

WHICH = {"any_rank": "All looked at, unlikely guesses too", "unknown": "Unknown", "untagged": "Not looked at"}
"""Photos beside those that show a landmark, by the option that asks for them."""

_OPTION_WORDS = {
    "landmark": "{}",
    "country": "{}",
    "near": "near {}",
    "radius_km": "within {} km",
    "min_score": "score from {}",
    "under": "in {}",
    "taken_after": "from {}",
    "taken_before": "before {}",
    "model": "looked at by {}",
    "unknown": "unknown",
    "untagged": "not looked at yet",
    "any_rank": "all that was looked at",
}
_SCORES = ("0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.99")
_OPTIONS = tuple(inspect.signature(asked).parameters)
_OF_THE_PAGE = ("after", "which")


@wraps(asked)
def asked_or_mistaken(**options: str | float | bool | None) -> Asked | QueryInvalid:
    """The query of a request, or what is wrong with it, so that the form can say so; for `Depends`."""
    try:
        return asked(**options)  # type: ignore[arg-type]
    except QueryInvalid as error:
        return error


def as_typed(request: Request) -> Asked:
    """The options as they stand in the address; they mean nothing."""
    given = request.query_params
    return Asked({name: given[name] for name in _OPTIONS if given.get(name, "").strip()}, PhotoQuery())


def check_options(request: Request) -> None:
    """Raises:
    QueryInvalid: the address has an option that there is not.
    """
    for name in request.query_params:
        if name not in (*_OPTIONS, *_OF_THE_PAGE):
            raise QueryInvalid(reason=f"there is no option {name}; there are: {', '.join(_OPTIONS)}")


def scores_with(asked: str | None) -> list[str]:
    """The least scores that can be chosen, as they stand in an address, with the one that is asked for."""
    return sorted({*_SCORES, *([asked] if asked else ())}, key=float)


def chosen(wanted: Asked, known: Sequence[Landmark]) -> list[Link]:
    """What the query asks, in words, each with the address of the query without it."""
    names = {each.slug: each.name for each in known}
    goes_with = {"near": ("near", "radius_km")}
    return [
        Link(
            _OPTION_WORDS[option].format(
                percent(float(value)) if option == "min_score" else names.get(value, value)
            ),
            wanted.address("/photos", **dict.fromkeys(goes_with.get(option, (option,)))),
        )
        for option, value in wanted.options.items()
    ]
