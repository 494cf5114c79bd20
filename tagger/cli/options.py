"""Options that several commands have, each said once."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tagger.cli.output import Format
from tagger.errors import FailureKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.tables import Priority
    from tagger.writing.asked import WriteAsked

Paths = Annotated[
    list[Path], typer.Argument(help="Photos and folders; folders with all that is in them.", metavar="PATH")
]
TopK = Annotated[
    int | None,
    typer.Option("--top-k", min=1, max=100, help="Best landmarks per photo. [TAGGER_TOP_K; default 5]"),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        min=0.0,
        max=1.0,
        help="Least score at which a landmark is accepted. [TAGGER_THRESHOLD; default: the model's own]",
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="A registered name or a file. [TAGGER_MODEL; default: the one in use]"),
]
DeviceName = Annotated[str | None, typer.Option("--device", help="auto, cuda, mps or cpu. [TAGGER_DEVICE]")]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Images per forward pass. [TAGGER_BATCH_SIZE]")
]
Again = Annotated[bool, typer.Option("--again", help="Also photos that this model has looked at before.")]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", help="Only photos whose name or path fits, like '*.jpg' or '2019/*'."),
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", help="Leave out what fits, like 'Screenshots/*'.")
]
JobNumber = Annotated[int | None, typer.Argument(help="A job's number; without it, all jobs.", metavar="JOB")]
FailureKinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind", help="Only photos that fail so; may be given again. One of: " + ", ".join(FailureKind) + "."
    ),
]
PriorityName = Annotated[
    str, typer.Option("--priority", help="interactive goes first, bulk when there is time.")
]
Under = Annotated[
    list[Path] | None, typer.Option("--under", help="Photos in this folder; may be given again.")
]
TakenAfter = Annotated[
    str | None, typer.Option("--taken-after", metavar="DATE", help="Taken then or later, camera's time.")
]
TakenBefore = Annotated[str | None, typer.Option("--taken-before", metavar="DATE", help="Taken before then.")]
WriteTo = Annotated[
    str,
    typer.Option(
        "--write",
        metavar="none|sidecar|embed",
        help="Also write the tags into metadata: sidecar: a .xmp file beside the photo; embed: the photo itself.",
    ),
]
Gps = Annotated[
    bool,
    typer.Option(
        "--gps",
        help="With it, also the landmark's position, marked as derived, where a photo says none.",
    ),
]
Description = Annotated[
    bool, typer.Option("--description", help="With it, also a description in words, where a photo has none.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Formatted = Annotated[
    Format | None,
    typer.Option("--format", help="How the answer is written.", show_default="table", case_sensitive=False),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Print0 = Annotated[bool, typer.Option("-0", "--print0", help="Paths ended by a zero byte, for xargs -0.")]


def chosen_format(given: Format | None, *, json: bool, print0: bool = False) -> Format:
    """The format that --format, --json and --print0 mean together; a contradiction is wrong usage."""
    if json and given not in {None, Format.JSON}:
        raise typer.BadParameter(f"it contradicts --format {given}", param_hint="--json")
    if print0 and (json or given not in {None, Format.PATHS}):
        raise typer.BadParameter("it goes with --format paths only", param_hint="--print0")
    if json:
        return Format.JSON
    return given or (Format.PATHS if print0 else Format.TABLE)


def chosen_priority(given: str) -> Priority:
    """The priority that --priority names; another word is wrong usage."""
    from tagger.tables import Priority

    if given not in set(Priority):
        raise typer.BadParameter("it is interactive or bulk", param_hint="--priority")
    return Priority(given)


def chosen_write(to: str, *, gps: bool, description: bool, option: str = "--write") -> WriteAsked | None:
    """What --write, --gps and --description mean together; None: nothing is to be written."""
    from tagger.tables import Target
    from tagger.writing.asked import WriteAsked

    if to not in {"none", *Target}:
        raise typer.BadParameter("it is none, sidecar or embed", param_hint=option)
    if to == "none" and (gps or description):
        hint = "--gps" if gps else "--description"
        raise typer.BadParameter("it needs --write sidecar or --write embed", param_hint=hint)
    return None if to == "none" else WriteAsked(Target(to), gps=gps, description=description)


def chosen_kinds(given: Sequence[str] | None) -> tuple[FailureKind, ...]:
    """The kinds of failure that --kind names; an unknown one is wrong usage."""
    unknown = [kind for kind in given or () if kind not in set(FailureKind)]
    if unknown:
        raise typer.BadParameter(
            f"there is no {unknown[0]}; the kinds are {', '.join(FailureKind)}", param_hint="--kind"
        )
    return tuple(FailureKind(kind) for kind in given or ())


def chosen_refusals(given: Sequence[str] | None) -> tuple[str, ...]:
    """The same of a job that writes metadata."""
    from tagger.metadata.refusals import RefusalKind
    from tagger.metadata.trouble import TroubleKind

    kinds = (*RefusalKind, *get_args(TroubleKind))
    unknown = [kind for kind in given or () if kind not in kinds]
    if unknown:
        raise typer.BadParameter(
            f"there is no {unknown[0]}; of jobs that write, the kinds are {', '.join(kinds)}",
            param_hint="--kind",
        )
    return tuple(given or ())


def chosen_date(given: str | None, option: str) -> datetime | None:
    """The date that an option gives; what is none is wrong usage."""
    if given is None:
        return None
    try:
        date = datetime.fromisoformat(given)
    except ValueError:
        text = f"{given!r} is no date; write it like 2024-06-01 or 2024-06-01T18:30"
        raise typer.BadParameter(text, param_hint=option) from None
    if date.tzinfo is not None:
        raise typer.BadParameter("cameras know no time zone; leave it out", param_hint=option)
    return date
