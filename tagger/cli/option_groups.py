"""Groups of options that several commands have: each is declared once, as a dataclass."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, is_dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from tagger.cli.options import (
    ClassifiedBy,
    Country,
    Description,
    Exclude,
    Gps,
    Include,
    LandmarkName,
    MinScore,
    ModelName,
    NearPosition,
    PositionSource,
    RadiusKm,
    TakenAfter,
    TakenBefore,
    Threshold,
    TopK,
    TripId,
    Under,
    WriteTo,
    parse_metadata_options,
    query_usage,
)
from tagger.cli.session import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tagger.enqueue.metadata_options import MetadataOptions
    from tagger.enqueue.selection import Selection
    from tagger.query import PhotoQuery
    from tagger.settings import Settings


@dataclass(frozen=True)
class QueryOptions:
    """The options that select photos, of `query`, `confirm`, `reject` and `metadata write`."""

    landmark: LandmarkName = None
    country: Country = None
    near: NearPosition = None
    radius_km: RadiusKm = None
    position: PositionSource = None
    trip: TripId = None
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


@dataclass(frozen=True)
class TagCommandOptions:
    """The options of `tag`, `watch` and `enqueue`: what to tag with, which files of the folders, and what to write."""

    top_k: TopK = None
    threshold: Threshold = None
    model: ModelName = None
    write: WriteTo = "none"
    gps: Gps = False
    description: Description = False
    include: Include = None
    exclude: Exclude = None

    def metadata(self) -> MetadataOptions | None:
        """Return what to write to metadata afterwards; None for nothing.

        Raises:
            typer.BadParameter: the options are invalid, or contradict each other.
        """
        return parse_metadata_options(self.write, gps=self.gps, description=self.description)

    def settings(self, **others: Any) -> Settings:
        """Return the settings with these options and `others`, where they are set."""
        return load_settings(top_k=self.top_k, threshold=self.threshold, model=self.model, **others)

    def selection(self, paths: Sequence[Path]) -> Selection:
        """Return the photos and folders among `paths`, with the patterns.

        Raises:
            PathNotFound: a path does not exist.
        """
        from tagger.enqueue.selection import select_paths

        return select_paths(paths, self.include or (), self.exclude or ())


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter of a command that is a dataclass by the dataclass's fields, as options of the command."""
    parameters = inspect.signature(command, eval_str=True).parameters
    groups = {
        name: (parameter.annotation, inspect.signature(parameter.annotation, eval_str=True).parameters)
        for name, parameter in parameters.items()
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)
    }

    @wraps(command)
    def run(**values: Any) -> None:
        for name, (group, fields) in groups.items():
            values[name] = group(**{field: values.pop(field) for field in fields})
        command(**values)

    expanded: list[inspect.Parameter] = []
    for name, parameter in parameters.items():
        expanded += groups[name][1].values() if name in groups else [parameter]
    keyword_only = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in expanded]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]  # Typer reads it
    run.__annotations__ = {}
    return run
