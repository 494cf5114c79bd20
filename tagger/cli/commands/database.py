"""`tagger db …`: maintain the database, and copy it to another server."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import console
from tagger.cli.console import ProgressLine, count_of, printable
from tagger.cli.help import argument, option
from tagger.cli.options import DryRun, Json
from tagger.cli.program import load_settings, open_for_reading, open_session
from tagger.database.diagnostics import database_stats
from tagger.database.schema import SCHEMA_REVISION, read_revision
from tagger.ledger.job_control import count_old_items, remove_old_items
from tagger.photos.paths import absolute_path

db_app = typer.Typer(
    help="Upgrade, check, count, prune and copy the database, and follow folders that moved.",
    no_args_is_help=True,
)


@db_app.command("upgrade")
def upgrade(dry_run: DryRun = False, json: Json = False) -> None:
    """Upgrade the database schema to this version of tagger, or create it in an empty database.

    Commands that change a library upgrade an SQLite file first. Only this command upgrades a database server:
    back it up first. The changelog says whether workers may run meanwhile; restart them with the new version
    afterwards.

    Example: tagger db upgrade
    """
    from tagger.transfer import is_upgraded, upgrade_database

    url = load_settings().effective_database_url
    if dry_run:
        before = read_revision(url)
    else:
        with console.ProgressLine("upgrading") as progress:
            before = upgrade_database(url, progress.show)
    verb = "would be" if dry_run else "was"
    change = (
        f"upgraded from {before} to {SCHEMA_REVISION}"
        if before
        else f"created (schema {SCHEMA_REVISION})"
    )
    text = f"the database {verb} {change}"
    if before == SCHEMA_REVISION:
        text = f"the database is up to date (schema {before})"
        if dry_run and not is_upgraded(url):
            text = f"the interrupted upgrade to schema {before} would be continued"
    document = {"before": before or None, "after": SCHEMA_REVISION, "dry_run": dry_run}
    console.write_result(document, text, json=json)


@db_app.command("check")
def check(json: Json = False) -> None:
    """Check the database: the file, whether every row can be read, references, and the counts of every job.

    The exit code is 1 if there is a problem. Numbers and trips that do not follow from the photos are
    computed again by the next job.

    Example: tagger db check
    """
    from tagger.kept.update import MENDED
    from tagger.transfer import check_database

    problems = list(check_database(open_for_reading().database))
    text = "\n".join(map(printable, problems)) or "the database is consistent"
    console.write_result({"ok": not problems, "problems": problems}, text, json=json)
    if problems:
        if not all(problem.endswith(MENDED) for problem in problems):
            console.warning("restore a backup, or report these problems")
        raise typer.Exit(console.NOT_DONE)


@db_app.command("stats")
def stats(json: Json = False) -> None:
    """Print the number of rows of each kind in the database.

    Example: tagger db stats
    """
    counts = database_stats(open_for_reading().database)
    width = max(map(len, counts)) + 2
    lines = (
        f"{name.replace('_', ' ') + ':':<{width}}{count}"
        for name, count in counts.items()
    )
    console.write_result(counts, "\n".join(lines), json=json)


@db_app.command("prune")
def prune(
    older_than: Annotated[
        str,
        option(
            "--older-than",
            "TIME",
            "Of jobs that ended before this time: 90d, 12h or a date.",
        ),
    ],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove what old jobs did to each photo. The jobs and their counts stay.

    Tags, verdicts, failures, and what undoes written metadata stay too. Afterwards, `query --job`, `job
    failures` of metadata jobs and the history of photos lack these jobs.

    Example: tagger db prune --older-than 90d --dry-run
    """
    before = _parse_time(older_than)
    database = open_session(settle_jobs=True).database
    jobs, items = count_old_items(database, before)
    removed = 0
    with ProgressLine("removing") as line:
        while not dry_run and (count := remove_old_items(database, before)):
            removed += count
            line.show(removed, items)
    count, verb = (items, "would be removed") if dry_run else (removed, "removed")
    text = f"{count_of(count, 'item')} of {count_of(jobs, 'job')} {verb}"
    console.write_result(
        {"jobs": jobs, "items": count, "dry_run": dry_run}, text, json=json
    )


def _parse_time(text: str) -> datetime:
    # The time of --older-than: a number of days or hours ago, or a date.
    if span := re.fullmatch(r"(\d{1,5})([dh])", text):
        hours = int(span[1]) * (24 if span[2] == "d" else 1)
        return datetime.now(UTC) - timedelta(hours=hours)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        problem = f"{text!r} is no time. Write it like 7d, 12h, 2026-06-01 or 2026-06-01T18:30"
        raise typer.BadParameter(problem, param_hint="--older-than") from None


@db_app.command("move")
def move(
    old: Annotated[
        Path,
        argument("OLD", "The folder of the database that does not exist any more."),
    ],
    new: Annotated[Path, argument("NEW", "The folder in which its photos are now.")],
    json: Json = False,
) -> None:
    """Tell the database that a folder of photos was moved. All that it knows of the photos stays.

    Files stay as they are. What was stored for NEW meanwhile is forgotten: tag it afterwards.

    Example: tagger db move ~/Pictures /mnt/nas/Pictures
    """
    from tagger.roots.availability import move_root

    settings, database = open_session(settle_jobs=True)
    old, new = absolute_path(old), absolute_path(new)
    count = move_root(database, old, new, settings.roots)
    text = f"{count_of(count, 'photo')} of {printable(str(old))} are in {printable(str(new))} now"
    console.write_result(
        {"photos": count, "old": str(old), "new": str(new)}, text, json=json
    )


@db_app.command("copy")
def copy(
    url: Annotated[
        str,
        argument(
            "URL",
            "Address of an empty database, in the form of TAGGER_DATABASE_URL. A file is created.",
        ),
    ],
    json: Json = False,
) -> None:
    """Copy the whole database into an empty one: from SQLite to PostgreSQL, or back. All rows, or nothing.

    Stop the page and the workers before: what they store meanwhile is not copied. This database stays.

    For example:

    tagger db copy postgresql://tagger@db.example/tagger

    TAGGER_DATABASE_URL=postgresql://tagger@db.example/tagger tagger db copy sqlite:////home/you/library.db
    """
    from tagger.transfer import copy_database, row_counts_text

    database = open_for_reading().database
    with ProgressLine("copying") as line:
        rows = copy_database(database, url, line.show)
    del rows["ledgers"]  # each database has this row
    total = sum(rows.values())
    text = f"{total} rows copied: {row_counts_text(rows) or 'the database is empty'}"
    console.write_result({"rows": rows, "total": total}, text, json=json)
    console.info(
        "to use the copy, set TAGGER_DATABASE_URL to its address; `tagger doctor` checks the rest"
    )
