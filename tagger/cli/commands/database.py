"""`tagger db …`: maintain the database, and move it to another server.

An import leaves some rows inactive, and says which commands activate them.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.help import argument, option
from tagger.cli.options import DryRun, Json, parse_time
from tagger.cli.output import console
from tagger.cli.output.console import ProgressLine
from tagger.cli.output.files import STREAM, Force, display_name, open_output, open_stream
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import load_settings, open_for_reading, open_session
from tagger.database.connection import upgrade_database
from tagger.database.diagnostics import database_stats
from tagger.database.schema import SCHEMA_REVISION, read_revision
from tagger.ledger.job_control import count_old_items, remove_old_items
from tagger.transfer.exporter import export_database, row_counts_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.transfer.importer import ImportReport, Inactive

db_app = typer.Typer(
    help="Upgrade, check, count, prune, export and import the database.", no_args_is_help=True
)

DatabaseFile = Annotated[
    Path, argument("[FILE|-]", "A file (.gz compresses it), or - for a pipe.", show_default="-")
]


@db_app.command("upgrade")
def upgrade(dry_run: DryRun = False, json: Json = False) -> None:
    """Upgrade the database schema to this version of tagger, or create it in an empty database.

    Every command upgrades an SQLite file by itself; only this command upgrades a database server. Back up a server first. The changelog says whether workers may run meanwhile; restart them with the new version afterwards.

    Example: tagger db upgrade
    """
    url = load_settings().effective_database_url
    if dry_run:
        before = read_revision(url)
    else:
        with console.ProgressLine("upgrading") as progress:
            before = upgrade_database(url, progress.show)
    verb = "would be" if dry_run else "was"
    change = (
        f"upgraded from {before} to {SCHEMA_REVISION}" if before else f"created (schema {SCHEMA_REVISION})"
    )
    text = f"the database {verb} {change}"
    if before == SCHEMA_REVISION:
        text = f"the database is up to date (schema {before})"
    document = {"before": before or None, "after": SCHEMA_REVISION, "dry_run": dry_run}
    console.write_result(document, text, json=json)


@db_app.command("check")
def check(json: Json = False) -> None:
    """Check the integrity of the database: the file, the values of every row, references, and the counts of every job.

    The exit code is 1 if there is a problem.

    Example: tagger db check
    """
    from tagger.transfer.integrity import check_database

    problems = list(check_database(open_for_reading().database))
    text = "\n".join(map(printable, problems)) or "the database is consistent"
    console.write_result({"ok": not problems, "problems": problems}, text, json=json)
    if problems:
        console.warning("restore a backup, or report these problems")
        raise typer.Exit(console.NOT_DONE)


@db_app.command("stats")
def stats(json: Json = False) -> None:
    """Print the number of rows of each kind in the database.

    Example: tagger db stats
    """
    counts = vars(database_stats(open_for_reading().database))
    width = max(map(len, counts)) + 2
    lines = (f"{name.replace('_', ' ') + ':':<{width}}{count}" for name, count in counts.items())
    console.write_result(counts, "\n".join(lines), json=json)


@db_app.command("prune")
def prune(
    older_than: Annotated[
        str,
        option("--older-than", "TIME", "Of jobs that ended before this time: 90d, 12h or a date."),
    ],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove what old jobs did to each photo. The jobs and their counts stay.

    Tags, verdicts, failures, and what undoes written metadata stay too. Afterwards, `query --job`, `job failures` of metadata jobs and the history of photos lack these jobs.

    Example: tagger db prune --older-than 90d --dry-run
    """
    before = parse_time(older_than, "--older-than", direction=-1)
    assert before is not None  # noqa: S101 - the option is required
    database = open_session(settle_jobs=True).database
    jobs, items = count_old_items(database, before)
    removed = 0
    with ProgressLine("removing") as line:
        while not dry_run and (count := remove_old_items(database, before)):
            removed += count
            line.show(removed, items)
    count, verb = (items, "would be removed") if dry_run else (removed, "removed")
    text = f"{count_of(count, 'item')} of {count_of(jobs, 'job')} {verb}"
    console.write_result({"jobs": jobs, "items": count, "dry_run": dry_run}, text, json=json)


@db_app.command("export")
def export(file: DatabaseFile = STREAM, force: Force = False, json: Json = False) -> None:
    """Export the whole database as lines of JSON: one consistent snapshot, while workers continue.

    `tagger db import` reads the file into SQLite or PostgreSQL. It contains neither model files nor photos.

    For example:

    tagger db export library.ndjson.gz

    tagger db export - | ssh server tagger db import -
    """
    if file == STREAM and (json or sys.stdout.isatty()):
        raise typer.BadParameter("name a file", param_hint="--json" if json else "FILE")
    database = open_for_reading().database
    with open_output(file, force=force, private=True) as out, ProgressLine("exporting") as line:
        rows = export_database(database, out, version("landmark-tagger"), line.show)
    if json:
        write_json({"file": str(file.absolute()), "rows": rows, "total": sum(rows.values())})
    else:
        console.info(f"{sum(rows.values())} rows exported: {row_counts_text(rows)}")


@db_app.command("import")
def import_(
    file: DatabaseFile = STREAM,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Import a file of `tagger db export` into an empty database: all of it, or nothing.

    Every row keeps its number. Open jobs and schedules are paused, and no model is in use; the command lists the commands that activate them.

    Example: TAGGER_DATABASE_URL=postgresql://tagger@db.example/tagger tagger db import library.ndjson.gz
    """
    from tagger.transfer.importer import import_database

    if file == STREAM and sys.stdin.isatty():
        raise typer.BadParameter("name a file", param_hint="FILE")
    database = open_session().database
    with open_stream(file) as source, ProgressLine("importing") as line:
        report = import_database(database, source, display_name(file), dry_run=dry_run, progress=line.show)
    if json:
        document = {"rows": report.rows, "total": report.total, "ledger": report.ledger, "dry_run": dry_run}
        write_json(document | {"inactive": asdict(report.inactive)})
    else:
        _print_import(report, dry_run=dry_run)


def _print_import(report: ImportReport, *, dry_run: bool) -> None:

    verb = "would be imported" if dry_run else "imported"
    typer.echo(f"{report.total} rows {verb}: {row_counts_text(report.rows)}")
    for inactive in _inactive_lines(report.inactive):
        console.info(printable(inactive))
    if not dry_run:
        console.info(
            "this database has an identity of its own: the old one may stay in use; "
            "`tagger doctor` checks what is still missing"
        )


def _inactive_lines(inactive: Inactive) -> Iterator[str]:
    """What is inactive, a line each, and how to activate it. The path of a model in an export may be anybody's."""
    for model in inactive.models:
        use = f", then: tagger model use {shlex.quote(model.name)}" if model.was_in_use else ""
        yield (
            f"model {model.name} (digest {model.digest[:12]}) was {model.file}; if you trust that file, name it with: "
            f"tagger model add FILE{use}"
        )
    for name in inactive.schedules:
        yield f"schedule {name} is paused; resume it with: tagger schedule resume {shlex.quote(name)}"
    for job in inactive.paused_jobs:
        writes = f", which writes metadata ({job.writes})" if job.writes else ""
        writes = ", which undoes metadata writes" if job.kind == "undo" else writes
        what = f"job {job.job} ({job.kind}, {count_of(job.photos, 'photo')}){writes}"
        yield f"{what}, is paused; resume it with: tagger job resume {job.job}"
    for number in inactive.cancelled_jobs:
        yield f"job {number} is cancelled, because it ran in a command; run the same command again"
    for root in inactive.roots:
        yield f"photos of root {root.name} are expected in {root.folder}"
