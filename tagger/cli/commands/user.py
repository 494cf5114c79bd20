"""`tagger people user …`: people who sign in to the page by name."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli.help import argument, flag, option
from tagger.cli.options import Json
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_for_reading, open_session
from tagger.database.enums import Role
from tagger.people.passwords import generate_password
from tagger.people.tokens import EndedAccess
from tagger.people.users import add_user, has_users, list_users, remove_user, set_password, set_role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.people.users import User

user_app = typer.Typer(
    help="Let people sign in to the page by name and password, each with a role.",
    no_args_is_help=True,
)

Name = Annotated[str, argument("NAME", "Name of the person, in any case.")]
RoleOfUser = Annotated[
    Role, option("--role", "ROLE", f"{', '.join(f'{role} {role.rights}' for role in Role)}.")
]
Generate = Annotated[bool, flag("--generate", "Generate a password and print it, once, on standard output.")]
KeepShares = Annotated[
    bool, flag("--keep-shares", "Leave the links that the person or token shared as they are.")
]


@user_app.command("add")
def add(
    name: Name,
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
            console.info(
                "restart a page that was started without TAGGER_WEB_TOKEN: it then asks for a name and password"
            )


@user_app.command("list")
def list_(json: Json = False) -> None:
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
        [_document(user) for user in users],
        ("Name", "Role", "Password", "Added", "Last used"),
        rows,
        "there is no user; add one with: tagger people user add NAME",
        json=json,
    )


@user_app.command("remove")
def remove(name: Name, keep_shares: KeepShares = False, json: Json = False) -> None:
    """Remove a person, who is signed out at once, and revoke their shares. Verdicts and the audit log keep the name.

    Example: tagger people user remove ada
    """
    ended = remove_user(open_session().database, name, keep_shares=keep_shares)
    report_ended(name, "is removed", ended, json=json)


@user_app.command("password")
def password(name: Name, generate: Generate = False, json: Json = False) -> None:
    """Give a person a new password, which is asked for twice or read from standard input. Ends the person's sessions.

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
    name: Name,
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


def revoked_shares(shares: Sequence[int]) -> str:
    """Like `2 shares revoked: 3, 4`."""
    return f"{count_of(len(shares), 'share')} revoked: {', '.join(map(str, shares))}"


def _document(user: User) -> dict[str, Any]:
    document = asdict(user)
    del document["id"]
    return document
