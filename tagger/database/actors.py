"""Who makes changes: the user, token or machine, which the audit log records."""

import getpass
import os
import socket
from dataclasses import dataclass

from sqlalchemy import Connection

from tagger.texts.text_format import gettext


@dataclass(frozen=True)
class Actor:
    """Who makes a change. `name`: the door and the user, token or machine, like `cli ada@laptop`.

    `address`: the address of the page's client.
    """

    name: str
    address: str | None = None


def actor_of(connection: Connection) -> Actor:
    """Who makes the changes of the transaction."""
    actor: Actor = connection.get_execution_options()["tagger_actor"]
    return actor


def author_text(author: str | None) -> str:
    """The author as people read it: `ada` for `web ada`. Empty for an unknown one."""
    door, _, name = (author or "").partition(" ")
    if not name:
        return ""
    if door == "web":
        return name
    return gettext("%(name)s (command)", name=name) if door == "cli" else f"{door} {name}"


def login_name() -> str | None:
    """Who gives a verdict, unless another name is given; None if the user has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def command_line_actor() -> Actor:
    """The user who runs this process, and its machine."""
    return Actor(f"cli {_system_user()}@{socket.gethostname()}")


def _system_user() -> str:
    """The name in the system's accounts. The environment, which getpass reads, could contain any."""
    try:
        import pwd
    except ImportError:  # Windows
        return getpass.getuser()
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have no name
        return str(os.getuid())
