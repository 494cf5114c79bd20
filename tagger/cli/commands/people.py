"""`tagger people …`: who may use the page, with tokens or by name, who did what, and what other programs are told."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli.commands.share import share_app
from tagger.cli.commands.user import KeepShares, report_ended, user_app
from tagger.cli.help import argument, flag, option
from tagger.cli.options import Json, parse_time
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, printable, write_json, write_table
from tagger.cli.output.job_text import count_of
from tagger.cli.session import load_settings, open_for_reading, open_session
from tagger.database.audit_log import AuditAction, AuditFilter, list_entries
from tagger.database.events import Message, new_message_id, retry_messages, undelivered_messages
from tagger.errors import NameNotFound, NotConfigured
from tagger.people.tokens import add_token, list_tokens, revoke_token
from tagger.system.http_exchange import NoAnswer
from tagger.webhooks import TEST, deliver, receivers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.database.audit_log import AuditAction, AuditEntry
    from tagger.people.tokens import AccessToken
    from tagger.settings import Settings
    from tagger.webhooks import Receiver


people_app = typer.Typer(
    help="Manage users, access tokens, shared links and webhooks, and list who did what.",
    no_args_is_help=True,
)
token_app = typer.Typer(
    help="Give access to the page by named tokens, and revoke them.",
    no_args_is_help=True,
)

Name = Annotated[str, argument("NAME", "Name of the token, such as the device that uses it.")]


@token_app.command("add")
def add(
    name: Name,
    read_only: Annotated[
        bool, flag("--read-only", "Allow to search photos and to classify uploads, and no changes.")
    ] = False,
    expires: Annotated[
        str | None,
        option("--expires", "TIME", "When it becomes invalid: 90d, 12h or a date. (default: never)"),
    ] = None,
    json: Json = False,
) -> None:
    """Add a token for the page and print it. It cannot be printed again.

    The page asks for tokens if TAGGER_WEB_TOKEN is set, or if other machines can connect to it.

    Example: tagger people token add phone --read-only --expires 90d
    """
    expires_at = parse_time(expires, "--expires", direction=1)
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise typer.BadParameter("this time is in the past", param_hint="--expires")
    token, secret = add_token(open_session().database, name, read_only=read_only, expires_at=expires_at)
    if json:
        write_json({"token": secret} | _document(token))
        return
    typer.echo(secret)
    console.info(
        f"this is the token {name}, which is not shown again; to end it, run: tagger people token revoke {name}"
    )


@token_app.command("list")
def list_(json: Json = False) -> None:
    """List the tokens, and when each was used last.

    Example: tagger people token list
    """
    tokens = list_tokens(open_for_reading().database)
    rows = (
        [
            token.name,
            "read-only" if token.read_only else "full",
            local_time(token.created_at),
            _expiry(token),
            "never" if token.last_used_at is None else local_time(token.last_used_at),
        ]
        for token in tokens
    )
    console.write_list(
        [_document(token) for token in tokens],
        ("Name", "Access", "Created", "Expires", "Last used"),
        rows,
        "there is no token; add one with: tagger people token add NAME",
        json=json,
    )


@token_app.command("revoke")
def revoke(name: Name, keep_shares: KeepShares = False, json: Json = False) -> None:
    """Revoke a token and its shares. Browsers that signed in with it are signed out at once.

    Example: tagger people token revoke phone
    """
    ended = revoke_token(open_session().database, name, keep_shares=keep_shares)
    report_ended(name, "is revoked", ended, json=json)


def _document(token: AccessToken) -> dict[str, Any]:
    document = asdict(token)
    del document["id"]
    return document | {"expired": token.is_expired(datetime.now(UTC))}


def _expiry(token: AccessToken) -> str:
    if token.expires_at is None:
        return "never"
    return "expired" if token.is_expired(datetime.now(UTC)) else local_time(token.expires_at)


Since = Annotated[str | None, option("--since", "TIME", "Only entries from this time on: 7d, 12h or a date.")]
Actions = Annotated[
    list[str] | None, option("--action", "ACTION", "Only this action, like sign-in-refused. Repeatable.")
]
By = Annotated[
    str | None,
    option(
        "--by",
        "NAME",
        "Only what this person or token did on the page, or somebody as the column Who has it.",
    ),
]
MostEntries = Annotated[int, option("--limit", "N", "Maximum number of entries.", min=1, max=10_000)]
Before = Annotated[
    int | None, option("--before", "ENTRY", "The next page: entries with a lower number.", min=1)
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

    Example: tagger people audit --since 7d --action sign-in --action sign-in-refused
    """
    entry_filter = AuditFilter(_parse_actions(action), parse_time(since, "--since", direction=-1), by)
    entries = list_entries(open_for_reading().database, entry_filter, limit + 1, before)
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

    for name in names or ():
        if name not in set(AuditAction):
            raise typer.BadParameter(f"use one of: {', '.join(AuditAction)}", param_hint="--action")
    return tuple(AuditAction(name) for name in names or ())


webhook_app = typer.Typer(
    help="Try the receivers of TAGGER_WEBHOOKS, and list and retry what they have not accepted.",
    no_args_is_help=True,
)

ReceiverName = Annotated[
    str | None, argument("RECEIVER", "Name of a receiver in TAGGER_WEBHOOKS. (default: all)")
]


@webhook_app.command("test")
def send_test(receiver: ReceiverName = None, json: Json = False) -> None:
    """Send an event of type test, and print the answers. Exits with 1 if a receiver does not accept it.

    Example: tagger people webhook test
    """
    documents = []
    for each in _receivers(load_settings(), receiver):
        document = _send_test(each)
        documents.append(document)
        if not json:
            found = document["problem"] or f"accepted with {document['status']}"
            typer.echo(f"{each.name} ({each.address}): {found}")
            if document["text"]:
                typer.echo(printable(document["text"]))
    if json:
        write_json(documents)
    all_accepted = all(document["accepted"] for document in documents)
    raise typer.Exit(console.DONE if all_accepted else console.NOT_DONE)


@webhook_app.command("list")
def list_events(json: Json = False) -> None:
    """List the events that are not delivered: when they are sent again, or that they were given up, and why.

    Example: tagger people webhook list
    """
    messages = list(undelivered_messages(open_session().database))
    rows = (
        [
            local_time(message.at),
            message.receiver,
            message.subject,
            message.attempts,
            "given up" if message.next_attempt_at is None else local_time(message.next_attempt_at),
            message.problem or "",
        ]
        for message in messages
    )
    console.write_list(
        messages,
        ("Time", "Receiver", "Event", "Attempts", "Next attempt", "Problem"),
        rows,
        "all events are delivered",
        json=json,
    )


@webhook_app.command("retry")
def retry(receiver: ReceiverName = None, json: Json = False) -> None:
    """Send the events that are not delivered again, also those that were given up. Workers send them within seconds.

    Example: tagger people webhook retry
    """
    settings = load_settings()
    names = [each.name for each in _receivers(settings, receiver)]
    count = retry_messages(open_session(settings).database, names)
    if json:
        write_json({"events": count})
    else:
        console.info(f"{count_of(count, 'event')} will be sent by the workers")


def _receivers(settings: Settings, name: str | None) -> Sequence[Receiver]:
    """The receiver of this name, or all."""
    receivers = receivers_of(settings)
    if not receivers:
        raise NotConfigured(what="Nobody receives webhooks.", settings="TAGGER_WEBHOOKS")
    found = [each for each in receivers if name in {None, each.name}]
    if not found:
        known = f"TAGGER_WEBHOOKS names {', '.join(each.name for each in receivers)}"
        raise NameNotFound(kind="receiver", name=name, known=known)
    return found


def _send_test(receiver: Receiver) -> dict[str, Any]:
    """Send an event of type test; returns the answer, or why there is none."""
    document = {"receiver": receiver.name, "address": receiver.address}
    try:
        answer = deliver(receiver, Message(new_message_id(), TEST, datetime.now(UTC), {}))
    except NoAnswer as error:
        return document | {"accepted": False, "status": None, "text": None, "problem": str(error)}
    problem = None if answer.is_accepted else answer.problem
    return document | {"accepted": problem is None, **vars(answer), "problem": problem}


people_app.add_typer(user_app, name="user")
people_app.add_typer(token_app, name="token")
people_app.add_typer(share_app, name="share")
people_app.command("audit")(audit)
people_app.add_typer(webhook_app, name="webhook")
