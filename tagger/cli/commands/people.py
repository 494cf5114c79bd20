"""`tagger people …`: who may use the page, and what other programs are told."""

import typer

from tagger.cli.commands.share import share_app
from tagger.cli.commands.token import audit, token_app
from tagger.cli.commands.user import user_app
from tagger.composition import ROOMS, load

people_app = typer.Typer(
    help="Manage users, access tokens, shared links and webhooks, and list who did what.",
    no_args_is_help=True,
)
people_app.add_typer(user_app, name="user")
people_app.add_typer(token_app, name="token")
people_app.add_typer(share_app, name="share")
people_app.command("audit")(audit)
for _room in ROOMS:
    for _name, _place in _room.people_commands.items():
        people_app.add_typer(load(_place), name=_name)
