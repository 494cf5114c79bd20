"""What `tagger up --once` ends with: what was found, where it is, what to ask next."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from tagger.database import Database

SHOWN = 8


def print_summary(database: Database, job: int) -> None:
    from tagger.ledger.progress import list_jobs
    from tagger.query import landmark_counts

    counts = landmark_counts(database, job=job)
    if counts:
        typer.echo("landmarks in these photos:")
        for each in counts[:SHOWN]:
            place = f" ({each.country})" if each.country else ""
            typer.echo(f"  {each.photos:5}  {each.name}{place}")
        if len(counts) > SHOWN:
            typer.echo(f"         … and {len(counts) - SHOWN} more")
    else:
        typer.echo("no landmark was recognised in these photos")
    typer.echo(f"results: {database.shown_url}")
    typer.echo("ask next:")
    tagger = _program()
    if counts:
        typer.echo(f'  {tagger} query --landmark "{counts[0].name}"')
    typer.echo(f"  {tagger} landmarks")
    if list_jobs(database, job)[0].failed:
        typer.echo(f"  {tagger} failures {job}")


def _program() -> str:
    """The command as this person can type it: by its path, where it is not found by its name."""
    typed = Path(sys.argv[0])
    found = shutil.which("tagger")
    if typed.name != "tagger" or (found is not None and Path(found).resolve() == typed.resolve()):
        return "tagger"
    return str(typed.relative_to(Path.cwd()) if typed.is_relative_to(Path.cwd()) else typed)
