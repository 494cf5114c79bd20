"""`tagger token …`: who may use the page."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli.options import Json, parse_time
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, write_json, write_table
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_session

if TYPE_CHECKING:
    from tagger.people.tokens import AccessToken

token_app = typer.Typer(
    help="Give access to the page by named tokens, and revoke them.",
    no_args_is_help=True,
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the token, such as the device that uses it.")
]


@token_app.command("add")
def add(
    name: Name,
    read_only: Annotated[
        bool,
        typer.Option("--read-only", help="Allow to search photos and to classify uploads, and no changes."),
    ] = False,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", metavar="TIME", help="When it becomes invalid: 90d, 12h or a date. (default: never)"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Add a token for the page and print it. It cannot be printed again.

    The page asks for tokens if TAGGER_WEB_TOKEN is set, or if other machines can connect to it.

    Example: tagger token add phone --read-only --expires 90d
    """
    from tagger.people.tokens import add_token

    expires_at = parse_time(expires, "--expires", direction=1)
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise typer.BadParameter("this time is in the past", param_hint="--expires")
    token, secret = add_token(open_session().database, name, read_only=read_only, expires_at=expires_at)
    if json:
        write_json({"token": secret} | _document(token))
        return
    typer.echo(secret)
    console.info(
        f"this is the token {name}, which is not shown again; to end it, run: tagger token revoke {name}"
    )


@token_app.command("list")
def list_(json: Json = False) -> None:
    """List the tokens, and when each was used last.

    Example: tagger token list
    """
    from tagger.people.tokens import list_tokens

    tokens = list_tokens(open_session().database)
    if json:
        write_json([_document(token) for token in tokens])
        return
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
    write_table(("Name", "Access", "Created", "Expires", "Last used"), rows)
    if not tokens:
        console.info("there is no token; add one with: tagger token add NAME")


@token_app.command("revoke")
def revoke(name: Name, json: Json = False) -> None:
    """Revoke a token. Browsers that signed in with it are signed out at once.

    Example: tagger token revoke phone
    """
    from tagger.people.tokens import revoke_token

    sessions = revoke_token(open_session().database, name)
    if json:
        write_json({"name": name, "sessions": sessions})
    else:
        console.info(f"{name} is revoked, {count_of(sessions, 'session')} ended")


def _document(token: AccessToken) -> dict[str, Any]:
    document = asdict(token) | {"recorded_name": token.recorded_name}
    del document["id"], document["name_number"]
    return document | {"expired": token.is_expired(datetime.now(UTC))}


def _expiry(token: AccessToken) -> str:
    if token.expires_at is None:
        return "never"
    return "expired" if token.is_expired(datetime.now(UTC)) else local_time(token.expires_at)
