"""Arguments and options that several commands share, and the functions that parse their values."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

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
from tagger.cli.output.formats import Format
from tagger.database.enums import Priority
from tagger.errors import FailureKind, QueryOptionInvalid
from tagger.query.option_values import parse_date as parse_query_date
from tagger.query.option_values import parse_position
from tagger.query.options import QUERY_OPTIONS, QueryOption

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Paths = Annotated[
    list[Path],
    argument(
        "PATH", "Photos, folders, and addresses in buckets: s3://BUCKET/PREFIX, gs://… or az://….", PHOTOS
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
    option("--device", "DEVICE", "auto, cuda, mps or cpu. (default: auto; TAGGER_DEVICE)", ADVANCED),
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
Again = Annotated[bool, flag("--again", "Include photos that are classified already.", PHOTOS)]
Include = Annotated[
    list[str] | None,
    option("--include", "PATTERN", "Only photos that match, like '*.jpg' or '2019/*'. Repeatable.", PHOTOS),
]
Exclude = Annotated[
    list[str] | None,
    option("--exclude", "PATTERN", "Skip photos and folders that match. Repeatable.", PHOTOS),
]
JobNumber = Annotated[int | None, argument("JOB", "Job number. (default: all jobs)")]
FailureKinds = Annotated[
    list[str] | None,
    option(
        "--kind", "KIND", "Only failures of this kind. Repeatable. One of: " + ", ".join(FailureKind) + "."
    ),
]
PriorityName = Annotated[
    Priority,
    option("--priority", "PRIORITY", "interactive or bulk. Workers take interactive jobs first.", ADVANCED),
]
Country = Annotated[str | None, option("--country", "NAME", "Landmarks in this country, in any case.")]
WriteTo = Annotated[
    Literal["none", "sidecar", "embed"],
    option(
        "--write",
        "WHERE",
        "Also write the tags to metadata. none; sidecar: an .xmp file beside it; embed: the photo itself.",
        METADATA,
    ),
]
Gps = Annotated[
    bool,
    flag("--gps", "Also write the landmark's position, marked as derived, to photos without one.", METADATA),
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
    bool, flag("--things", "Also write keywords for the things that photos show.", METADATA)
]
Description = Annotated[
    bool, flag("--description", "Also write a description, to photos without one.", METADATA)
]
Local = Annotated[
    bool | None,
    flag(
        "--local/--no-local",
        "Run the job in this process, or leave it to workers.",
        show_default="--local on SQLite while no worker runs",
    ),
]
Wait = Annotated[bool, flag("--wait", "Wait until the job ends, and show its progress.", OUTPUT)]
NoWait = Annotated[
    bool,
    flag(
        "--no-wait",
        "Exit with 1 if Redis, a folder or a bucket is unavailable at the start, instead of waiting for it.",
        ADVANCED,
    ),
]
DryRun = Annotated[bool, flag("--dry-run", "Show what the command would do, and change nothing.", OUTPUT)]
Author = Annotated[
    str | None, option("--by", "NAME", "Author of the verdict.", show_default="your login name")
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


TakenAfter = Annotated[str | None, query_option("taken_after", QUERY_OPTIONS["taken_after"])]
TakenBefore = Annotated[str | None, query_option("taken_before", QUERY_OPTIONS["taken_before"])]
Limit = Annotated[int | None, query_option("limit", QUERY_OPTIONS["limit"], OUTPUT)]
Sort = Annotated[str | None, query_option("sort", QUERY_OPTIONS["sort"], OUTPUT)]


def parse_format(name: Format | None, *, json: bool, print0: bool = False) -> Format:
    """Return the format that --format, --json and --print0 select.

    Raises:
        typer.BadParameter: the options contradict each other.
    """
    if json and name not in {None, Format.JSON}:
        raise typer.BadParameter(f"it contradicts --format {name}", param_hint="--json")
    if print0 and (json or name not in {None, Format.PATHS}):
        raise typer.BadParameter("use it with --format paths only", param_hint="--print0")
    if json:
        return Format.JSON
    return name or (Format.PATHS if print0 else Format.TABLE)


def parse_failure_kinds(names: Sequence[str] | None) -> tuple[FailureKind, ...]:
    """Return the kinds of failure of photos that --kind names."""
    _check_kinds(names, tuple(FailureKind))
    return tuple(FailureKind(name) for name in names or ())


def parse_refusal_kinds(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the kinds of refusal and failure of a metadata job that --kind names."""
    from tagger.ledger.items import EDITED
    from tagger.metadata.errors import RefusalKind, WriteFailureKind

    _check_kinds(names, (*RefusalKind, *get_args(WriteFailureKind), EDITED))
    return tuple(names or ())


def _check_kinds(names: Sequence[str] | None, kinds: Sequence[str]) -> None:
    for name in names or ():
        if name not in kinds:
            text = f"there is no kind {name} here; the kinds are {', '.join(kinds)}"
            raise typer.BadParameter(text, param_hint="--kind")


def parse_date(text: str | None, option: str) -> datetime | None:
    """Return the date and time of an option's value; `option` is its name, like --taken-after."""
    with query_usage():
        return None if text is None else parse_query_date(text, option.removeprefix("--").replace("-", "_"))


def parse_time(text: str | None, option: str, *, direction: Literal[1, -1]) -> datetime | None:
    """Return the time of an option's value: a number of days or hours from now (1) or ago (-1), or a date."""
    if text is None:
        return None
    span = re.fullmatch(r"(\d{1,5})([dh])", text)
    if span is not None:
        hours = int(span[1]) * (24 if span[2] == "d" else 1)
        return datetime.now(UTC) + direction * timedelta(hours=hours)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        problem = f"{text!r} is no time. Write it like 7d, 12h, 2026-06-01 or 2026-06-01T18:30"
        raise typer.BadParameter(problem, param_hint=option) from None


def parse_at(text: str | None) -> tuple[float, float] | None:
    """Return the latitude and longitude that --at names."""
    with query_usage():
        return None if text is None else parse_position(text, "at")


@contextmanager
def query_usage() -> Iterator[None]:
    """Report an invalid query option as wrong usage of the command."""
    try:
        yield
    except QueryOptionInvalid as error:
        option = "--" + str(error.values["option"]).replace("_", "-")
        raise typer.BadParameter(str(error.values["reason"]), param_hint=option) from error
