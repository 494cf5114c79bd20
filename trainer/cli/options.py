"""Options and output shared by several commands."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from tagger.cli.output.formats import write_json

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ModelName = Annotated[
    str | None, typer.Option(help="The model's name in `tagger model list`. Defaults to the file name.")
]
ModelFile = Annotated[Path, typer.Option(help="The model file to write, MODEL.pt.")]


def print_results(document: dict[str, object], columns: Collection[str] = (), *, as_json: bool) -> None:
    """Print `document` as JSON, or as one tab-separated line per entry, or per entry of `columns`."""
    if as_json:
        write_json(document)
        return
    for name in columns or document:
        value = document[name]
        typer.echo(f"{name}\t{value:.4g}" if isinstance(value, float) else f"{name}\t{value}")
