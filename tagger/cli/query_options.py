"""The options that select photos: the same for `query`, `confirm`, `reject` and `metadata write`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from tagger.cli.options import (
    ClassifiedBy,
    Country,
    LandmarkName,
    MinScore,
    NearPosition,
    RadiusKm,
    TakenAfter,
    TakenBefore,
    Under,
    query_usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tagger.query import PhotoQuery


@dataclass(frozen=True)
class QueryOptions:
    """The options as typed. Each field is an option of the commands that have `with_query_options`."""

    landmark: LandmarkName = None
    country: Country = None
    near: NearPosition = None
    radius_km: RadiusKm = None
    min_score: MinScore = None
    under: Under = None
    taken_after: TakenAfter = None
    taken_before: TakenBefore = None
    model: ClassifiedBy = None

    def parse(self, **others: Any) -> PhotoQuery:
        """Return the query of these options and `others`, which are further arguments of `parse_query`.

        Raises:
            typer.BadParameter: an option has an invalid value, or contradicts another one.
        """
        from tagger.query import parse_query

        with query_usage():
            return parse_query(**vars(self) | {"under": self.under or ()} | others)


def with_query_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the fields of `QueryOptions` as options, in the place of its parameter `query_options`."""
    fields = inspect.signature(QueryOptions, eval_str=True).parameters

    @wraps(command)
    def run(**values: Any) -> None:
        query_options = QueryOptions(**{name: values.pop(name) for name in fields})
        command(query_options=query_options, **values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        parameters += fields.values() if name == "query_options" else [parameter]
    keyword_only = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]  # Typer reads it
    run.__annotations__ = {}
    return run
