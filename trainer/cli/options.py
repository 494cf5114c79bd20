"""Options and output shared by several commands."""

import json
from collections.abc import Collection
from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SOME_FAILED = 3
"""The exit code of commands that did the rest: some backbones, archives or photos failed."""
DeviceName = Literal["auto", "cuda", "mps", "cpu"]


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


def print_results(document: dict[str, object], columns: Collection[str] = (), *, as_json: bool) -> None:
    """Print `document` as JSON, or as one tab-separated line per entry, or per entry of `columns`."""
    if as_json:
        typer.echo(json.dumps(document, indent=1, ensure_ascii=False))
        return
    for name in columns or document:
        value = document[name]
        typer.echo(f"{name}\t{value:.4g}" if isinstance(value, float) else f"{name}\t{value}")
