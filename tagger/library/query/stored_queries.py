"""Queries as JSON, for the options of schedules, jobs and shares."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tagger.errors import QueryOptionInvalid
from tagger.library.query.options import QUERY_OPTIONS, PhotoQuery, QueryOption, parse_query
from tagger.photos.paths import absolute_path, path_from_json, path_to_json

_NOT_STORED = ("share", "by_slug", "trip_moment", "any_outcome", "sort", "distinct", "limit")
"""Options about the order and the number of photos, and those of no command or address. An option that was left out by mistake would
select more than was meant."""


def stored_options(query: PhotoQuery) -> dict[str, Any]:
    """The options of the query that are set, as `query_of_options` takes them: one landmark as text, folders by their whole paths."""
    options = {name: value for name, value in vars(query).items() if name not in _NOT_STORED}
    for name in ("landmark", "country"):
        options[name] = options[name][0] if len(options[name]) == 1 else list(options[name])
    options |= {"year": list(query.year), "camera": list(query.camera)}
    if query.near is not None:
        options["near"] = f"{query.near.latitude},{query.near.longitude}"
        options["radius_km"] = query.near.radius_km
    options["box"] = query.box and str(query.box)
    options["under"] = [path_to_json(absolute_path(folder)) for folder in query.under]
    for name in ("taken_after", "taken_before"):
        options[name] = options[name] and options[name].isoformat()
    return {
        name: value for name, value in options.items() if not (value is None or value is False or value == [])
    }


def query_of_options(options: Mapping[str, Any]) -> PhotoQuery:
    """The query of which `stored_options` made the options.

    Raises:
        ValueError: it made no such options.
    """
    try:
        return parse_query(**{name: _value(name, value) for name, value in options.items()})
    except QueryOptionInvalid as error:
        raise ValueError(str(error)) from None


def _value(name: str, value: object) -> Any:
    option = QUERY_OPTIONS.get(name)
    if option is None or name in _NOT_STORED:
        raise ValueError(f"a query has no option {name!r}")
    if not option.several:
        return _one(name, option, value)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list):
        raise ValueError(f"{name} is not a list")  # noqa: TRY004 - as for other invalid values
    return tuple(_one(name, option, each) for each in values)


def _one(name: str, option: QueryOption, value: Any) -> Any:
    if option.kind is Path:
        return path_from_json(value)
    if type(value) not in ((int, float) if option.kind is float else (option.kind,)):
        raise ValueError(f"{name} is not of the type {option.kind.__name__}")
    is_too_small = option.minimum is not None and not value >= option.minimum
    if is_too_small or (option.maximum is not None and not value <= option.maximum):
        raise ValueError(f"{name} has no value {value}")
    return value
