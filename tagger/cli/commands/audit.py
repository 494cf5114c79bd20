"""`tagger audit`: who did what."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.options import Json, parse_time
from tagger.cli.output import console
from tagger.cli.output.formats import write_json, write_table
from tagger.cli.session import open_session

if TYPE_CHECKING:
    from tagger.database.audit_log import AuditAction, AuditEntry

Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only entries from this time on: 7d, 12h or a date."),
]
Actions = Annotated[
    list[str] | None, typer.Option("--action", help="Only this action, like sign-in-refused. Repeatable.")
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="NAME",
        help="Only what this person or token did on the page, or somebody as the column Who has it.",
    ),
]
MostEntries = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Maximum number of entries.")]
Before = Annotated[
    int | None,
    typer.Option("--before", min=1, metavar="ENTRY", help="The next page: entries with a lower number."),
]


def audit(
    since: Since = None,
    action: Actions = None,
    by: By = None,
    limit: MostEntries = 100,
    before: Before = None,
    json: Json = False,
) -> None:
    """List who signed in and who changed what, newest first.

    Of verdicts, only imported and withdrawn ones are listed. An unknown --action names all actions. Entries are kept for 400 days, and at most a million of them.

    Example: tagger audit --since 7d --action sign-in --action sign-in-refused
    """
    from tagger.database.audit_log import AuditFilter, list_entries

    entry_filter = AuditFilter(_parse_actions(action), parse_time(since, "--since", direction=-1), by)
    entries = list_entries(open_session().database, entry_filter, limit + 1, before)
    shown = entries[:limit]
    following = shown[-1].id if len(entries) > limit else None
    if json:
        write_json({"entries": [asdict(entry) for entry in shown], "next": following})
        return
    write_table(("Entry", "Time", "Who", "Action", "Of", "Details"), map(_row, shown))
    if following is not None:
        console.info(f"there are older entries; to see them, add: --before {following}")
    elif not shown:
        console.info("no entry matches")


def _row(entry: AuditEntry) -> list[object]:
    return [
        entry.id,
        f"{entry.at.astimezone():%Y-%m-%d %H:%M:%S}",
        entry.actor,
        entry.action,
        entry.subject,
        json_module.dumps(entry.details, ensure_ascii=False) if entry.details else "",
    ]


def _parse_actions(names: list[str] | None) -> tuple[AuditAction, ...]:
    from tagger.database.audit_log import AuditAction

    for name in names or ():
        if name not in set(AuditAction):
            raise typer.BadParameter(f"use one of: {', '.join(AuditAction)}", param_hint="--action")
    return tuple(AuditAction(name) for name in names or ())
