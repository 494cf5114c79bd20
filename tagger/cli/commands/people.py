"""`tagger people …`: who may use the page, with tokens or by name, and who did what."""

from __future__ import annotations

import json as json_module
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli.commands.serve import revoked_shares
from tagger.cli.commands.share import share_app
from tagger.cli.help import argument, flag, option
from tagger.cli.options import Json, parse_time
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, write_json, write_table
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_for_reading, open_session
from tagger.database.audit_log import AuditAction, AuditFilter, list_entries
from tagger.database.enums import Role
from tagger.people.passwords import generate_password
from tagger.people.tokens import EndedAccess, add_token, list_tokens, revoke_token
from tagger.people.users import add_user, has_users, list_users, remove_user, set_password, set_role

if TYPE_CHECKING:
    from tagger.database.audit_log import AuditEntry
    from tagger.people.tokens import AccessToken
    from tagger.people.users import User


people_app = typer.Typer(
    help="Manage users, access tokens and shared links, and list who did what.",
    no_args_is_help=True,
)
user_app = typer.Typer(
    help="Let people sign in to the page by name and password, each with a role.",
    no_args_is_help=True,
)

Person = Annotated[str, argument("NAME", "Name of the person, in any case.")]
RoleOfUser = Annotated[
    Role, option("--role", "ROLE", f"{', '.join(f'{role} {role.rights}' for role in Role)}.")
]
Generate = Annotated[bool, flag("--generate", "Generate a password and print it, once, on standard output.")]
KeepShares = Annotated[
    bool, flag("--keep-shares", "Leave the links that the person or token shared as they are.")
]


@user_app.command("add")
def add_person(
    name: Person,
    role: RoleOfUser = Role.VIEWER,
    generate: Generate = False,
    no_password: Annotated[
        bool,
        flag("--no-password", "Without a password: the person signs in at a reverse proxy."),
    ] = False,
    json: Json = False,
) -> None:
    """Add a person. The password is asked for twice, or read from standard input.

    With the first person, the page asks everybody to sign in, also on this machine. Tokens remain valid.

    Example: tagger people user add ada --role editor
    """
    if generate and no_password:
        raise typer.BadParameter("use one of --generate and --no-password", param_hint="--generate")
    database = open_session().database
    is_first = not has_users(database)
    password = None if no_password else _new_password(generate=generate)
    user = add_user(database, name, role, password)
    _write(user.name, password if generate else None, {"role": user.role}, json=json)
    if not json:
        console.info(f"{user.name} is added as {user.role}")
        if is_first:
            console.info("from now on, the page asks for a name and password")


@user_app.command("list")
def list_people(json: Json = False) -> None:
    """List the people, their roles, and when each used the page last.

    Example: tagger people user list
    """
    users = list_users(open_for_reading().database)
    rows = (
        [
            user.name,
            user.role,
            "yes" if user.has_password else "no",
            local_time(user.created_at),
            "never" if user.last_used_at is None else local_time(user.last_used_at),
        ]
        for user in users
    )
    console.write_list(
        [_user_document(user) for user in users],
        ("Name", "Role", "Password", "Added", "Last used"),
        rows,
        "there is no user; add one with: tagger people user add NAME",
        json=json,
    )


@user_app.command("remove")
def remove(name: Person, keep_shares: KeepShares = False, json: Json = False) -> None:
    """Remove a person, sign them out, and revoke their shares. Verdicts and the audit log keep the name.

    Example: tagger people user remove ada
    """
    ended = remove_user(open_session().database, name, keep_shares=keep_shares)
    report_ended(name, "is removed", ended, json=json)


@user_app.command("password")
def password(name: Person, generate: Generate = False, json: Json = False) -> None:
    """Give a person a new password, asked for twice or read from standard input. Ends the person's sessions.

    Limits after wrong passwords end, too.

    Example: tagger people user password ada
    """
    database = open_session().database
    new = _new_password(generate=generate)
    sessions = set_password(database, name, new)
    _write(name, new if generate else None, {"sessions": sessions}, json=json)
    if not json:
        console.info(f"{name} has a new password, {count_of(sessions, 'session')} ended")


@user_app.command("role")
def role(
    name: Person,
    role: Annotated[Role, argument("ROLE", "viewer, editor or admin.")],
    keep_shares: KeepShares = False,
    json: Json = False,
) -> None:
    """Give a person another role. Ends the person's sessions, and revokes the shares of a new viewer.

    Example: tagger people user role ada admin
    """
    ended = set_role(open_session().database, name, role, keep_shares=keep_shares)
    report_ended(name, f"is {role} now", ended, json=json)


def _new_password(*, generate: bool) -> str:
    if generate:
        return generate_password()
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def _write(name: str, generated: str | None, values: dict[str, Any], *, json: bool) -> None:
    if json:
        write_json({"name": name} | values | ({} if generated is None else {"password": generated}))
    elif generated is not None:
        typer.echo(generated)


def report_ended(name: str, what: str, ended: EndedAccess, *, json: bool) -> None:
    """Write which access of a person or token has ended."""
    if json:
        write_json({"name": name, "sessions": ended.sessions, "shares_revoked": ended.shares})
    else:
        revoked = f", {revoked_shares(ended.shares)}" if ended.shares else ""
        console.info(f"{name} {what}, {count_of(ended.sessions, 'session')} ended{revoked}")


def _user_document(user: User) -> dict[str, Any]:
    document = asdict(user)
    del document["id"]
    return document


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
        f"this is the token {name}, which is not shown again; "
        f"to end it, run: tagger people token revoke {name}"
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

    Of verdicts, only imported and withdrawn ones are listed. An unknown --action names all actions. Entries
    are kept for 400 days, and at most a million of them.

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


people_app.add_typer(user_app, name="user")
people_app.add_typer(token_app, name="token")
people_app.add_typer(share_app, name="share")
people_app.command("audit")(audit)
