"""`tagger export` and `tagger import`: the whole database as a file, to keep or to move to another server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.files import STREAM, Force, read_once, shown_name, written_file
from tagger.cli.options import DryRun, Json
from tagger.cli.output import write_json
from tagger.cli.progress import ProgressLine

if TYPE_CHECKING:
    from tagger.database import Database
    from tagger.transfer import Arrived, Left

DatabaseFile = Annotated[
    Path,
    typer.Argument(help="A file (.gz packs it), or - for a pipe.", metavar="[FILE|-]", show_default="-"),
]


def export(file: DatabaseFile = STREAM, force: Force = False, json: Json = False) -> None:
    """Write the whole database as lines of JSON, as it is at this moment; workers may go on.

    It is for `tagger import`, into SQLite or PostgreSQL alike. Model files are not in it, and photos neither.

    For example:

    tagger export library.ndjson.gz

    tagger export - | ssh server tagger import -
    """
    from importlib.metadata import version

    from tagger.transfer import export_database

    if file == STREAM and (json or sys.stdout.isatty()):
        raise typer.BadParameter("name a file", param_hint="--json" if json else "FILE")
    database = _open()
    with written_file(file, force=force) as out, ProgressLine("exporting") as line:
        left = export_database(
            database,
            out,
            version("landmark-tagger"),
            lambda done, total: line.show("exporting", done, total),
        )
    if json:
        write_json({"file": str(file.absolute()), "rows": left.rows, "total": left.total})
    else:
        console.say(_counts("written", left))


def import_(
    file: DatabaseFile = STREAM,
    new_ledger: Annotated[
        bool,
        typer.Option(
            "--new-ledger",
            help="Where the old database goes on being used too: workers must not mix the two up.",
        ),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Fill an empty database with what `tagger export` wrote: all of it, or nothing.

    Every row keeps its number. Jobs that were open go on here as soon as a worker runs.

    Example: TAGGER_DATABASE_URL=postgresql://tagger@db.example/tagger tagger import library.ndjson.gz
    """
    from tagger.transfer import import_database

    if file == STREAM and sys.stdin.isatty():
        raise typer.BadParameter("name a file", param_hint="FILE")
    database = _open()
    with read_once(file) as source, ProgressLine("importing") as line:
        arrived = import_database(
            database,
            source,
            shown_name(file),
            new_ledger=new_ledger,
            dry_run=dry_run,
            progress=lambda done, total: line.show("importing", done, total),
        )
    if json:
        write_json(
            {"rows": arrived.rows, "total": arrived.total, "ledger": arrived.ledger, "dry_run": dry_run}
        )
        return
    typer.echo(_counts("would be imported" if dry_run else "imported", arrived))
    if not dry_run:
        console.say(_next(new_ledger=new_ledger))


def _next(*, new_ledger: bool) -> str:
    models = "model files are not in it: `tagger doctor` says whether they are where they were"
    if new_ledger:
        return f"this database is a ledger of its own now; {models}"
    return f"this database is the same ledger as the old one: use one of them from now on, or import with --new-ledger; {models}"


def _counts(done: str, moved: Left | Arrived) -> str:
    rows = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in moved.rows.items() if count)
    return f"{moved.total} rows {done}: {rows}"


def _open() -> Database:
    from tagger.database import open_database
    from tagger.settings import load_settings

    return open_database(load_settings().effective_database_url)
