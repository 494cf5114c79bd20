"""Options and output shared by several commands."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import typer

from tagger.cli.output.formats import write_json
from trainer.evaluation.mixture import Mixture

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DeviceName = Literal["auto", "cuda", "mps", "cpu"]
Device = Annotated[DeviceName, typer.Option(envvar="TAGGER_DEVICE", help="The device that runs the network.")]
ModelName = Annotated[
    str | None, typer.Option(help="The model's name in `tagger model list`. Defaults to the file name.")
]
OrdinaryPhotos = Annotated[
    Path | None,
    typer.Option(help="A folder of ordinary photos, at any depth, that show none of the landmarks."),
]
ModelFile = Annotated[Path, typer.Option(help="The model file to write, MODEL.pt.")]


def _multiple_of_32(value: int) -> int:
    if value % 32:
        raise typer.BadParameter(f"{value} is not a multiple of 32")
    return value


ImageSize = Annotated[
    int,
    typer.Option(
        min=32,
        max=1024,
        callback=_multiple_of_32,
        help="Side of the model's input images, in pixels; a multiple of 32.",
    ),
]


def _mixture(value: object) -> Mixture:
    try:
        return Mixture.parse(str(value))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


LibraryMixture = Annotated[
    Mixture,
    typer.Option(
        parser=_mixture,
        metavar="KNOWN:OTHER:ORDINARY",
        help="What a library shows: so many photos of the model's landmarks, of other landmarks, "
        "and of anything else.",
    ),
]


def print_results(document: dict[str, object], columns: Collection[str] = (), *, as_json: bool) -> None:
    """Print `document` as JSON, or as one tab-separated line per entry, or per entry of `columns`."""
    if as_json:
        write_json(document)
        return
    for name in columns or document:
        value = document[name]
        typer.echo(f"{name}\t{value:.4g}" if isinstance(value, float) else f"{name}\t{value}")
