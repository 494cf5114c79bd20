"""`tagger people share …`: links with which anybody can see some photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.commands.serve import HOST, PORT
from tagger.cli.help import argument, flag, option, with_option_groups
from tagger.cli.option_groups import OutcomeOptions, QueryOptions
from tagger.cli.options import Json, parse_time
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_for_reading, open_session
from tagger.database.actors import author_text
from tagger.photos.paths import parse_path
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import require_folders
from tagger.query.timeline import count_all
from tagger.shares import (
    NewShare,
    add_share,
    link_key,
    list_shares,
    revoke_share,
    share_documents,
)
from tagger.verdicts.store import photo_ids_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.cli.session import Session
    from tagger.shares import Share

share_app = typer.Typer(
    help="Share photos by links that need no sign-in, and revoke them.", no_args_is_help=True
)

LOCAL_URL = f"http://{HOST}:{PORT}"

Selection = Annotated[
    list[Path] | None,
    option("--selection", "PHOTO", "This photo, instead of a query: the share stays as it is. Repeatable."),
]
Expires = Annotated[str, option("--expires", "TIME", "When the link ends: 30d, 12h, a date, or never.")]
WithPositions = Annotated[
    bool,
    flag(
        "--with-positions",
        "Show visitors where each photo was taken: position, city and country. Without it, they see "
        "landmarks, dates and names of files.",
    ),
]
Title = Annotated[
    str | None,
    option(
        "--name",
        "NAME",
        "Title that visitors see. (default: the landmarks, years and dates of a trip, with positions also "
        "countries and the trip's place, or Photos)",
    ),
]


@share_app.command("add")
@with_option_groups
def add(
    query_options: QueryOptions,
    outcome_options: OutcomeOptions,
    selection: Selection = None,
    expires: Expires = "30d",
    with_positions: WithPositions = False,
    name: Title = None,
    json: Json = False,
) -> None:
    """Share photos: print a link with which anybody can see them, without signing in.

    The share of a query follows it: new photos appear, and photos whose tag is rejected disappear. Visitors
    see only the photos of the share, and can change nothing. The page shows the link again.

    For example:

    tagger people share add --landmark eiffel-tower --expires 7d

    tagger people share add --country France --year 2024

    tagger people share add --selection holiday/IMG_0042.jpg --selection holiday/IMG_0043.jpg --name "For Ada"
    """
    query = query_options.parse(**vars(outcome_options))
    expires_at = None if expires == "never" else parse_time(expires, "--expires", direction=1)
    session = open_session()
    require_folders(session.database, query.under, session.settings.roots)
    photos = _photos(session, query, selection or ())
    new = NewShare(photos, name, expires_at, with_positions)
    key = link_key(session.settings.data_folder)
    share, token = add_share(session.database, new, session.settings.roots, key)
    web_url = session.settings.web_url
    link = f"{(web_url or LOCAL_URL).rstrip('/')}/s/{token}"
    (document,) = share_documents(session.database, [share])
    number = count_all(session.database, share.query, session.settings.roots)
    document = replace(document, photos=number)
    if json:
        write_json({"link": link} | vars(document))
        return
    typer.echo(link)
    console.info(
        f"this is the link of share {share.id} with {count_of(number, 'photo')}; "
        f"to end it, run: tagger people share revoke {share.id}"
    )
    console.info(f"visitors read the title: {share.name}")
    if web_url is None:
        console.info("to serve the page, run: tagger serve; if it has another address, set TAGGER_WEB_URL")


@share_app.command("list")
def list_(json: Json = False) -> None:
    """List the shares, the newest first. Those that ended are listed for 90 days.

    Example: tagger people share list
    """
    database = open_for_reading().database
    shares = list_shares(database)
    documents = share_documents(database, shares)
    rows = (
        [
            str(share.id),
            printable(share.name),
            printable(document.description),
            "yes" if share.with_positions else "no",
            local_time(share.created_at),
            _end(share),
            printable(author_text(share.author)),
        ]
        for share, document in zip(shares, documents, strict=True)
    )
    console.write_list(
        documents,
        ("Share", "Name", "Photos", "Positions", "Created", "Expires", "By"),
        rows,
        "there is no share; add one with: tagger people share add --landmark NAME",
        json=json,
    )


@share_app.command("revoke")
def revoke(
    share_id: Annotated[int, argument("SHARE", "Number of the share, from `tagger people share list`.")],
    json: Json = False,
) -> None:
    """Revoke a share. Its link, and pages that are open already, show nothing from then on.

    Example: tagger people share revoke 3
    """
    database = open_session().database
    share = revoke_share(database, share_id)
    if json:
        write_json(share_documents(database, [share])[0])
    else:
        console.info(f"share {share.id} is revoked: {printable(share.name)}")


def _photos(session: Session, query: PhotoQuery, selection: Sequence[Path]) -> PhotoQuery | list[int]:
    has_query = query != PhotoQuery()
    if has_query == bool(selection):
        text = (
            "say which photos: with query options, like --landmark NAME, or with --selection PHOTO, not both"
        )
        raise typer.BadParameter(text, param_hint="--selection")
    if has_query:
        return query
    return photo_ids_at(session.database, map(parse_path, selection), session.settings.roots)


def _end(share: Share) -> str:
    if share.state != "active":
        return str(share.state)
    return "never" if share.expires_at is None else local_time(share.expires_at)
