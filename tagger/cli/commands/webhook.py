"""`tagger people webhook …`: try the receivers of webhooks, list what is not delivered, and send it again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli.help import argument
from tagger.cli.options import Json
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import load_settings, open_session
from tagger.database.events import Message, new_message_id, retry_messages, undelivered_messages
from tagger.errors import NameNotFound, NotConfigured
from tagger.system.http_exchange import NoAnswer
from tagger.webhooks import TEST, deliver, receivers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.settings import Settings
    from tagger.webhooks import Receiver

webhook_app = typer.Typer(
    help="Try the receivers of TAGGER_WEBHOOKS, and list and retry what they have not accepted.",
    no_args_is_help=True,
)

Name = Annotated[str | None, argument("RECEIVER", "Name of a receiver in TAGGER_WEBHOOKS. (default: all)")]


@webhook_app.command("test")
def send_test(receiver: Name = None, json: Json = False) -> None:
    """Send an event of type test, and print the answers. Exits with 1 if a receiver does not accept it.

    Example: tagger people webhook test
    """
    documents = []
    for each in _receivers(load_settings(), receiver):
        document = _try(each)
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
def list_(json: Json = False) -> None:
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
def retry(receiver: Name = None, json: Json = False) -> None:
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


def _try(receiver: Receiver) -> dict[str, Any]:
    """Send an event of type test; returns the answer, or why there is none."""
    document = {"receiver": receiver.name, "address": receiver.address}
    try:
        answer = deliver(receiver, Message(new_message_id(), TEST, datetime.now(UTC), {}))
    except NoAnswer as error:
        return document | {"accepted": False, "status": None, "text": None, "problem": str(error)}
    problem = None if answer.is_accepted else answer.problem
    return document | {"accepted": problem is None, **vars(answer), "problem": problem}
