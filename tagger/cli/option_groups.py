"""Groups of options that several commands have: each is declared once, in the library or here."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli.help import ADVANCED, FILTER
from tagger.cli.options import (
    Description,
    Exclude,
    Gps,
    GpsEstimated,
    Include,
    MaxErrorKm,
    ModelName,
    Threshold,
    TopK,
    WithThings,
    WriteTo,
    query_option,
    query_usage,
)
from tagger.cli.session import load_settings, open_for_reading, prepare_paths
from tagger.database.enums import Target
from tagger.errors import SearchTextInvalid
from tagger.query.options import QUERY_OPTIONS, PhotoQuery, QueryOption, options_used_by

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from tagger.jobs.enqueue.job_options import MetadataOptions
    from tagger.jobs.enqueue.scan import Selection
    from tagger.settings import Settings


def _signature(options: Mapping[str, QueryOption], advanced: Collection[str] = ()) -> inspect.Signature:
    """The parameters of a command for these options. `--help-all` alone lists those that are `advanced`."""
    parameters = [
        _parameter(*each, panel=ADVANCED if each[0] in advanced else FILTER) for each in options.items()
    ]
    return inspect.Signature(parameters)


def _parameter(name: str, option: QueryOption, *, panel: str) -> inspect.Parameter:
    kind: Any = bool
    if option.kind is not bool:
        kind = (GenericAlias(list, option.kind) if option.several else option.kind) | None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if option.kind is bool else None,
        annotation=Annotated[kind, query_option(name, option, panel)],
    )


class _DeclaredOptions:
    """Options that the library declares; each value is an attribute, and None or false without the option."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def parse(self, **others: Any) -> PhotoQuery:
        """Return the query of these options and `others`.

        Raises:
            typer.BadParameter: an option has an invalid value, or contradicts another one.
        """
        values = vars(self) | others
        if any(map(str.isalpha, values.get("near") or "")):
            values |= _place_options(values["near"], values.get("radius_km"))
        with query_usage():
            return PhotoQuery(**values)


def _place_options(name: str, radius_km: float | None) -> dict[str, Any]:
    """The position and radius of --near for the name of a place."""
    from tagger.search.grammar import MAX_LETTERS
    from tagger.search.text_query import place_near

    if len(name) > MAX_LETTERS:
        raise typer.BadParameter(f"a place has at most {MAX_LETTERS} letters", param_hint="--near")
    settings, database = open_for_reading()
    try:
        place, hint = place_near(database, name, settings.roots), ""
    except SearchTextInvalid as error:
        place, hint = None, f" {error.values['hint']}".rstrip()
    if place is None:
        text = (
            f"no city or landmark of your photos is called {name!r}.{hint} Write its position, like 48.8,2.2"
        )
        raise typer.BadParameter(text, param_hint="--near")
    return {
        "near": f"{place.latitude},{place.longitude}",
        "radius_km": place.radius_km if radius_km is None else radius_km,
    }


# Options of queries that `--help-all` alone lists.
_RARE = ("calendar_month", "calendar_day", "undated", "any_of", "without")
_OF_PHOTOS = options_used_by("all")
# The options of queries of all commands; only these take the name of a place.
_OF_PHOTOS["near"] = replace(
    _OF_PHOTOS["near"],
    value_name="PLACE",
    help="Photos near this city, landmark or position (LAT,LON).",
)
# The options of queries that select verdicts, with their help where it differs.
_OF_VERDICTS = {
    **dict.fromkeys(("landmark", "radius_km", "under", "year", "taken_after", "taken_before"), ""),
    "country": "Landmarks in this country, in any case.",
    "near": "Landmarks near this position, in degrees.",
    "box": "Landmarks between these parallels and meridians, in degrees.",
}


class QueryOptions(_DeclaredOptions):
    """The options that select photos, of all commands that take a query."""

    __signature__ = _signature(_OF_PHOTOS, advanced=_RARE)


class BackfillOptions(_DeclaredOptions):
    """The options of backfills that select photos; their --model is that of the job."""

    __signature__ = _signature(
        {name: option for name, option in _OF_PHOTOS.items() if name != "model"},
        advanced=("near", "radius_km", "box", "position", "job", "min_score", "verdict", *_RARE),
    )


class OutcomeOptions(_DeclaredOptions):
    """The options of commands that find photos: by what became of them."""

    __signature__ = _signature(options_used_by("searches"))


class VerdictOptions(_DeclaredOptions):
    """The options that select verdicts, by areas of their landmarks: a verdict often moves the photo."""

    __signature__ = _signature(
        {
            name: replace(each, help=_OF_VERDICTS[name] or each.help)
            for name, each in QUERY_OPTIONS.items()
            if name in _OF_VERDICTS
        }
    )


@dataclass(frozen=True)
class TagCommandOptions:
    """The options of `tag`, `watch` and `enqueue`: what to tag with and which files of the folders."""

    top_k: TopK = None
    threshold: Threshold = None
    model: ModelName = None
    include: Include = None
    exclude: Exclude = None

    def settings(self, **others: Any) -> Settings:
        """Return the settings with these options and `others`, where they are set."""
        return load_settings(
            top_k=self.top_k,
            threshold=self.threshold,
            model=self.model,
            **others,
        )

    def selection(self, paths: Sequence[Path], settings: Settings) -> Selection:
        """Return the photos and folders among `paths`, with the patterns.

        Raises:
            PathNotFound: a path does not exist.
        """
        from tagger.jobs.enqueue.scan import select_paths

        prepare_paths(paths, settings)
        return select_paths(paths, self.include or (), self.exclude or ())


@dataclass(frozen=True)
class WriteOptions:
    """The options of commands whose jobs may write metadata afterwards."""

    write: WriteTo = "none"
    gps: Gps = False
    gps_estimated: GpsEstimated = False
    max_error_km: MaxErrorKm = None
    description: Description = False
    things: WithThings = False

    def metadata(self) -> MetadataOptions | None:
        """Return what to write; None for nothing.

        Raises:
            typer.BadParameter: the options are invalid, or contradict each other.
        """
        if self.write != "none":
            return self.written()
        for option in ("gps", "gps_estimated", "max_error_km", "description", "things"):
            if getattr(self, option):
                hint = "--" + option.replace("_", "-")
                raise typer.BadParameter("it needs --write sidecar or --write embed", param_hint=hint)
        return None

    def written(self) -> MetadataOptions:
        """Return what to write to metadata.

        Raises:
            typer.BadParameter: the options contradict each other.
        """
        from tagger.jobs.enqueue.job_options import MAX_ERROR_M, MetadataOptions

        max_error_m = None
        if self.gps_estimated:
            max_error_m = MAX_ERROR_M if self.max_error_km is None else round(self.max_error_km * 1000)
        elif self.max_error_km is not None:
            raise typer.BadParameter("it needs --gps-estimated", param_hint="--max-error-km")
        language = load_settings().language
        optional = self.gps, self.description, language, max_error_m, self.things
        return MetadataOptions(Target(self.write), *optional)

    def arguments(self) -> list[str]:
        """The options as a command line has them."""
        flags = {
            "--gps": self.gps,
            "--gps-estimated": self.gps_estimated,
            "--description": self.description,
            "--things": self.things,
        }
        limit = [] if self.max_error_km is None else ["--max-error-km", str(self.max_error_km)]
        return ["--write", self.write, *(flag for flag, is_set in flags.items() if is_set), *limit]
