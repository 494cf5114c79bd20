"""`tagger people share …`: the links of the page with which anybody can see some photos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.options import Json
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, printable, write_json, write_table
from tagger.cli.session import open_for_reading, open_session

if TYPE_CHECKING:
    from tagger.library.shares.links import Share

share_app = typer.Typer(
    help="List and revoke the links of the page, which need no sign-in.", no_args_is_help=True
)

_NARROW_SPACE = "\u202f"
"""Descriptions have it before `%`. In a table, it would be escaped."""


@share_app.command("list")
def list_(json: Json = False) -> None:
    """List the shares, the newest first. Those that ended are listed for 90 days.

    Example: tagger people share list
    """
    from tagger.database.actor import author_text
    from tagger.library.shares.links import list_shares, share_documents

    database = open_for_reading().database
    shares = list_shares(database)
    documents = share_documents(database, shares)
    if json:
        write_json(documents)
        return
    rows = (
        [
            str(share.id),
            printable(share.name),
            printable(document.description.replace(_NARROW_SPACE, " ")),
            "yes" if share.with_positions else "no",
            local_time(share.created_at),
            _end(share),
            printable(author_text(share.author)),
        ]
        for share, document in zip(shares, documents, strict=True)
    )
    write_table(("Share", "Name", "Photos", "Positions", "Created", "Expires", "By"), rows)
    if not shares:
        console.info("there is no share; the page makes them")


@share_app.command("revoke")
def revoke(
    share_id: Annotated[
        int, typer.Argument(metavar="SHARE", help="Number of the share, from `tagger people share list`.")
    ],
    json: Json = False,
) -> None:
    """Revoke a share. Its link, and pages that are open already, show nothing from then on.

    Example: tagger people share revoke 3
    """
    from tagger.library.shares.links import revoke_share, share_documents

    database = open_session().database
    share = revoke_share(database, share_id)
    if json:
        write_json(share_documents(database, [share])[0])
    else:
        console.info(f"share {share.id} is revoked: {printable(share.name)}")


def _end(share: Share) -> str:
    if share.state != "active":
        return str(share.state)
    return "never" if share.expires_at is None else local_time(share.expires_at)
