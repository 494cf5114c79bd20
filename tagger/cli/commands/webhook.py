"""`tagger webhook …`: try the receiver of events, and what it has not accepted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from tagger.cli.options import Json
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, printable, write_json, write_table
from tagger.cli.output.job_text import count_of
from tagger.cli.session import load_settings, open_session

if TYPE_CHECKING:
    from tagger.webhooks.delivery import Answer, Receiver
    from tagger.webhooks.messages import StoredMessage

webhook_app = typer.Typer(
    help="Try the receiver of TAGGER_WEBHOOK_URL, and list and retry what it has not accepted.",
    no_args_is_help=True,
)


@webhook_app.command("test")
def send_test(json: Json = False) -> None:
    """Send an event of type test, and print the answer. Exits with 1 if the receiver does not accept it.

    Example: tagger webhook test
    """
    from tagger.webhooks.delivery import NotDelivered

    receiver = _receiver()
    try:
        answer, problem = _send(receiver), None
    except NotDelivered as error:
        answer, problem = None, str(error)
    if answer is not None and not answer.is_accepted:
        problem = answer.problem
    if json:
        shown = {"status": answer and answer.status, "text": answer and answer.text}
        write_json({"receiver": receiver.name, "accepted": problem is None, **shown, "problem": problem})
    else:
        typer.echo(f"{receiver.name}: {problem or f'accepted with {answer and answer.status}'}")
        if answer is not None and answer.text:
            typer.echo(printable(answer.text))
    raise typer.Exit(console.DONE if problem is None else console.NOT_DONE)


@webhook_app.command("list")
def list_(json: Json = False) -> None:
    """List the events that are not delivered: when they are sent again, or that they were given up, and why.

    Example: tagger webhook list
    """
    from tagger.webhooks.messages import undelivered_messages

    messages = list(undelivered_messages(open_session().database))
    if json:
        write_json([_document(message) for message in messages])
        return
    rows = (
        [
            local_time(message.at),
            message.subject,
            message.attempts,
            "given up" if message.next_attempt_at is None else local_time(message.next_attempt_at),
            message.problem or "",
        ]
        for message in messages
    )
    write_table(("Time", "Event", "Attempts", "Next attempt", "Problem"), rows)
    if not messages:
        console.info("all events are delivered")


@webhook_app.command("retry")
def retry(json: Json = False) -> None:
    """Send the events that are not delivered again, also those that were given up. Workers send them within seconds.

    Example: tagger webhook retry
    """
    from tagger.webhooks.messages import retry_messages

    _receiver()
    count = retry_messages(open_session().database)
    if json:
        write_json({"events": count})
    else:
        console.info(f"{count_of(count, 'event')} will be sent by the workers")


def _receiver() -> Receiver:
    from tagger.errors import WebhookNotSet
    from tagger.webhooks.delivery import receiver_of

    receiver = receiver_of(load_settings())
    if receiver is None:
        raise WebhookNotSet
    return receiver


def _send(receiver: Receiver) -> Answer:
    from datetime import UTC, datetime

    from tagger.webhooks.delivery import deliver
    from tagger.webhooks.events import Event, new_message_id
    from tagger.webhooks.messages import Message

    return deliver(receiver, Message(new_message_id(), Event.TEST, datetime.now(UTC), {}))


def _document(message: StoredMessage) -> dict[str, Any]:
    next_at = message.next_attempt_at
    times = {"at": message.at.isoformat(), "next_attempt_at": next_at and next_at.isoformat()}
    return asdict(message) | times
