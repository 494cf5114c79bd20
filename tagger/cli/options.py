"""Arguments and options that several commands share, also in groups, and the parsing of their values.

Filters of photos are declared in the library; the others here.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import GenericAlias, SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tagger.cli.console import Format
from tagger.cli.help import (
    ADVANCED,
    FILTER,
    METADATA,
    OUTPUT,
    PHOTOS,
    argument,
    flag,
    option,
)
from tagger.cli.program import load_settings, open_for_reading, prepare_paths
from tagger.database import Priority, Target
from tagger.errors import QueryOptionInvalid, SearchTextInvalid
from tagger.query import parse_position
from tagger.query.options import QUERY_OPTIONS, PhotoQuery, QueryOption, options_used_by

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tagger.jobs.enqueue.selection import Selection
    from tagger.jobs.enqueue.submission import MetadataOptions
    from tagger.settings import Settings

Paths = Annotated[
    list[Path],
    argument(
        "PATH",
        "Photos, folders, and addresses in buckets: s3://BUCKET/PREFIX, gs://… or az://….",
        PHOTOS,
    ),
]
TopK = Annotated[
    int | None,
    option(
        "--top-k",
        "N",
        "Store this many predictions of each photo. (default: 5; TAGGER_TOP_K)",
        min=1,
        max=100,
    ),
]
Threshold = Annotated[
    float | None,
    option(
        "--threshold",
        "SCORE",
        "Lowest score of an accepted tag. (default: the model's; TAGGER_THRESHOLD)",
        min=0.0,
        max=1.0,
    ),
]
ModelName = Annotated[
    str | None,
    option(
        "--model",
        "MODEL",
        "Name or file of a model. It is a program: name only files that you trust. "
        "(default: the models in use; TAGGER_MODEL)",
    ),
]
DeviceName = Annotated[
    Literal["auto", "cuda", "mps", "cpu"] | None,
    option(
        "--device",
        "DEVICE",
        "auto, cuda, mps or cpu. (default: auto; TAGGER_DEVICE)",
        ADVANCED,
    ),
]
BatchSize = Annotated[
    int | None,
    option(
        "--batch-size",
        "N",
        "Images in one forward pass. (default: the fastest; TAGGER_BATCH_SIZE)",
        ADVANCED,
        min=1,
        max=4096,
    ),
]
Again = Annotated[
    bool, flag("--again", "Include photos that are classified already.", PHOTOS)
]
PriorityName = Annotated[
    Priority,
    option(
        "--priority",
        "PRIORITY",
        "interactive or bulk. Workers take interactive jobs first.",
        ADVANCED,
    ),
]
Gps = Annotated[
    bool,
    flag(
        "--gps",
        "Also write the landmark's position, marked as derived, to photos without one.",
        METADATA,
    ),
]
GpsEstimated = Annotated[
    bool,
    flag(
        "--gps-estimated",
        "Also write estimated positions, marked as estimated, to photos without one.",
        METADATA,
    ),
]
MaxErrorKm = Annotated[
    float | None,
    option(
        "--max-error-km",
        "KM",
        "With --gps-estimated: leave out positions with a larger error.",
        ADVANCED,
        min=0.001,
        max=20_000,
        show_default="5",
    ),
]
WithThings = Annotated[
    bool,
    flag("--things", "Also write keywords for the things that photos show.", METADATA),
]
Description = Annotated[
    bool,
    flag("--description", "Also write a description, to photos without one.", METADATA),
]
Local = Annotated[
    bool | None,
    flag(
        "--local/--no-local",
        "Run the job in this process, or leave it to workers.",
        show_default="--local on SQLite while no worker runs",
    ),
]
Wait = Annotated[
    bool, flag("--wait", "Wait until the job ends, and show its progress.", OUTPUT)
]
NoWait = Annotated[
    bool,
    flag(
        "--no-wait",
        "Exit with 1 if Redis, a folder or a bucket is unavailable at the start, instead of waiting for it.",
        ADVANCED,
    ),
]
DryRun = Annotated[
    bool,
    flag("--dry-run", "Show what the command would do, and change nothing.", OUTPUT),
]
Author = Annotated[
    str | None,
    option("--by", "NAME", "Author of the verdict.", show_default="your login name"),
]
FormatName = Annotated[
    Format | None,
    option(
        "--format",
        "FORMAT",
        "json, ndjson, csv, csv-bom (for Excel), paths, geojson or table.",
        OUTPUT,
        show_default="table",
        case_sensitive=False,
    ),
]
Json = Annotated[bool, flag("--json", "Print one JSON document.", OUTPUT)]
Print0 = Annotated[
    bool,
    typer.Option(
        "-0",
        "--print0",
        help="Print paths, each followed by a zero byte, for xargs -0.",
        rich_help_panel=OUTPUT,
    ),
]


def query_option(name: str, option: QueryOption, panel: str = FILTER) -> Any:
    """The option of a command that a declaration stands for, for `Annotated`."""
    flag = "--" + name.replace("_", "-")
    if option.kind is bool:
        return typer.Option(flag, help=option.help, rich_help_panel=panel)
    return typer.Option(
        flag,
        rich_help_panel=panel,
        metavar=option.value_name,
        min=option.minimum,
        max=option.maximum,
        help=option.help + (" Repeatable." if option.several else ""),
        show_default=option.default or True,
    )


Limit = Annotated[int | None, query_option("limit", QUERY_OPTIONS["limit"], OUTPUT)]


def parse_format(
    name: Format | None,
    *,
    json: bool,
    print0: bool = False,
    impossible: Collection[Format] = (),
    reason: str = "",
) -> Format:
    """Return the format that --format, --json and --print0 select.

    Raises:
        typer.BadParameter: the options contradict each other, or the format is `impossible`, for this reason.
    """
    if name in impossible:
        raise typer.BadParameter(reason, param_hint="--format")
    if json and name not in {None, Format.JSON}:
        raise typer.BadParameter(f"it contradicts --format {name}", param_hint="--json")
    if print0 and (json or name not in {None, Format.PATHS}):
        raise typer.BadParameter(
            "use it with --format paths only", param_hint="--print0"
        )
    if json:
        return Format.JSON
    return name or (Format.PATHS if print0 else Format.TABLE)


def parse_at(text: str | None) -> tuple[float, float] | None:
    with query_usage():
        return None if text is None else parse_position(text, "at")


@contextmanager
def query_usage() -> Iterator[None]:
    """Report an invalid query option as wrong usage of the command."""
    try:
        yield
    except QueryOptionInvalid as error:
        option = "--" + str(error.values["option"]).replace("_", "-")
        raise typer.BadParameter(
            str(error.values["reason"]), param_hint=option
        ) from error


def _signature(
    options: Mapping[str, QueryOption], advanced: Collection[str] = ()
) -> inspect.Signature:
    # The parameters of a command for these options. `--help-all` alone lists those that are `advanced`.
    parameters = []
    for name, each in options.items():
        panel = ADVANCED if name in advanced else FILTER
        kind: Any = GenericAlias(list, each.kind) if each.several else each.kind
        is_flag = each.kind is bool
        parameter = inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if is_flag else None,
            annotation=Annotated[
                kind if is_flag else kind | None, query_option(name, each, panel)
            ],
        )
        parameters.append(parameter)
    return inspect.Signature(parameters)


class _DeclaredOptions(SimpleNamespace):
    # Options that the library declares; each value is an attribute, and None or false without the option.

    def parse(self, **others: Any) -> PhotoQuery:
        # Return the query of these options and `others`.
        #
        # Raises:
        #     typer.BadParameter: an option has an invalid value, or contradicts another one.
        values = vars(self) | others
        if any(map(str.isalpha, values.get("near") or "")):
            values |= _place_options(values["near"], values.get("radius_km"))
        with query_usage():
            return PhotoQuery(**values)


def _place_options(name: str, radius_km: float | None) -> dict[str, Any]:
    from tagger.search import MAX_LETTERS
    from tagger.search.text_query import place_near

    if len(name) > MAX_LETTERS:
        raise typer.BadParameter(
            f"a place has at most {MAX_LETTERS} letters", param_hint="--near"
        )
    settings, database = open_for_reading()
    try:
        place, hint = place_near(database, name, settings.roots), ""
    except SearchTextInvalid as error:
        place, hint = None, f" {error.values['hint']}".rstrip()
    if place is None:
        text = (
            f"no city or landmark of your photos is called {name!r}.{hint} Write its "
            "position, like 48.8,2.2"
        )
        raise typer.BadParameter(text, param_hint="--near")
    return {
        "near": f"{place.latitude},{place.longitude}",
        "radius_km": place.radius_km if radius_km is None else radius_km,
    }


# Options of queries that `--help-all` alone lists.
_RARE = ("box", "calendar_month", "calendar_day", "undated", "any_of", "without")
_OF_PHOTOS = options_used_by("all")
# The options of queries of all commands; only these take the name of a place.
_OF_PHOTOS["near"] = replace(
    _OF_PHOTOS["near"],
    value_name="PLACE",
    help="Photos near this city, landmark or position (LAT,LON).",
)
# The options of queries that select verdicts, with their help where it differs.
_OF_VERDICTS = {
    **dict.fromkeys(
        ("landmark", "radius_km", "under", "year", "taken_after", "taken_before"), ""
    ),
    "country": "Landmarks in this country, in any case.",
    "near": "Landmarks near this position, in degrees.",
    "box": "Landmarks between these parallels and meridians, in degrees.",
}


class QueryOptions(_DeclaredOptions):
    __signature__ = _signature(_OF_PHOTOS, advanced=_RARE)


class BackfillOptions(_DeclaredOptions):
    """The options of backfills that select photos; their --model is that of the job."""

    __signature__ = _signature(
        {name: option for name, option in _OF_PHOTOS.items() if name != "model"},
        advanced=(
            "sight",
            "near",
            "radius_km",
            "position",
            "job",
            "min_score",
            "verdict",
            *_RARE,
        ),
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
    include: Annotated[
        list[str] | None,
        option(
            "--include",
            "PATTERN",
            "Only photos that match, like '*.jpg' or '2019/*'. Repeatable.",
            PHOTOS,
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        option(
            "--exclude",
            "PATTERN",
            "Skip photos and folders that match. Repeatable.",
            PHOTOS,
        ),
    ] = None

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
        from tagger.jobs.enqueue.selection import select_paths

        prepare_paths(paths, settings)
        return select_paths(paths, self.include or (), self.exclude or ())


@dataclass(frozen=True)
class WriteOptions:
    """The options of commands whose jobs may write metadata afterwards."""

    write: Annotated[
        Literal["none", "sidecar", "embed"],
        option(
            "--write",
            "WHERE",
            "Also write the tags to metadata. none; sidecar: an .xmp file beside it; "
            "embed: the photo itself.",
            METADATA,
        ),
    ] = "none"
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
        for name in ("gps", "gps_estimated", "max_error_km", "description", "things"):
            if getattr(self, name):
                hint = "--" + name.replace("_", "-")
                raise typer.BadParameter(
                    "it needs --write sidecar or --write embed", param_hint=hint
                )
        return None

    def written(self) -> MetadataOptions:
        """Return what to write to metadata.

        Raises:
            typer.BadParameter: the options contradict each other.
        """
        from tagger.jobs.enqueue.submission import MAX_ERROR_M, MetadataOptions

        max_error_m = None
        if self.gps_estimated:
            max_error_m = (
                MAX_ERROR_M
                if self.max_error_km is None
                else round(self.max_error_km * 1000)
            )
        elif self.max_error_km is not None:
            raise typer.BadParameter(
                "it needs --gps-estimated", param_hint="--max-error-km"
            )
        language = load_settings().language
        optional = self.gps, self.description, language, max_error_m, self.things
        return MetadataOptions(Target(self.write), *optional)

    def arguments(self) -> list[str]:
        flags = {
            "--gps": self.gps,
            "--gps-estimated": self.gps_estimated,
            "--description": self.description,
            "--things": self.things,
        }
        limit = (
            []
            if self.max_error_km is None
            else ["--max-error-km", str(self.max_error_km)]
        )
        return [
            "--write",
            self.write,
            *(flag for flag, is_set in flags.items() if is_set),
            *limit,
        ]
