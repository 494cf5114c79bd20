"""What people and monitoring see of webhooks: `tagger people webhook …`, checks of `tagger doctor`, and the status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from tagger.cli.doctor.findings import note, ok
from tagger.cli.help import argument
from tagger.cli.options import Json
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import load_settings, open_session
from tagger.system.addresses import is_loopback
from tagger.system.documents import document_of
from tagger.webhooks.messages import KEPT_DAYS, MessageCounts, count_messages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.jobs.enqueue.documents import WebhooksDocument
    from tagger.settings import Settings
    from tagger.webhooks.delivery import Receiver

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
    from tagger.webhooks.messages import undelivered_messages

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
    from tagger.webhooks.messages import retry_messages

    settings = load_settings()
    names = [each.name for each in _receivers(settings, receiver)]
    count = retry_messages(open_session(settings).database, names)
    if json:
        write_json({"events": count})
    else:
        console.info(f"{count_of(count, 'event')} will be sent by the workers")


def _receivers(settings: Settings, name: str | None) -> Sequence[Receiver]:
    """The receiver of this name, or all."""
    from tagger.errors import ReceiverNotFound, WebhookNotSet
    from tagger.webhooks.delivery import receivers_of

    receivers = receivers_of(settings)
    if not receivers:
        raise WebhookNotSet
    found = [each for each in receivers if name in {None, each.name}]
    if not found:
        raise ReceiverNotFound(name=name, names=", ".join(each.name for each in receivers))
    return found


def _try(receiver: Receiver) -> dict[str, Any]:
    """Send an event of type test; returns the answer, or why there is none."""
    from datetime import UTC, datetime

    from tagger.system.http_exchange import NoAnswer
    from tagger.webhooks.delivery import TEST, deliver
    from tagger.webhooks.messages import Message, new_message_id

    document = {"receiver": receiver.name, "address": receiver.address}
    try:
        answer = deliver(receiver, Message(new_message_id(), TEST, datetime.now(UTC), {}))
    except NoAnswer as error:
        return document | {"accepted": False, "status": None, "text": None, "problem": str(error)}
    problem = None if answer.is_accepted else answer.problem
    return document | {"accepted": problem is None, **vars(answer), "problem": problem}


def status_document(database: Database) -> WebhooksDocument:
    """How many events are not delivered to receivers, together and to each that has not accepted all."""
    from tagger.jobs.enqueue.documents import UndeliveredEvents, WebhooksDocument

    counts = count_messages(database)
    pending, given_up = (
        sum(getattr(each, state) for each in counts.values()) for state in ("pending", "given_up")
    )
    receivers = {name: document_of(UndeliveredEvents, each) for name, each in counts.items()}
    return WebhooksDocument(pending, given_up, receivers)


def status_lines(database: Database) -> list[str]:
    """How many events each receiver has not accepted; no line for one that has all."""
    return [
        f"webhooks: {count_of(each.pending, 'event')} pending for {name}"
        + (f", {each.given_up} given up; list them with: tagger people webhook list" if each.given_up else "")
        for name, each in count_messages(database).items()
    ]


def check_webhooks(database: Database, settings: Settings) -> Iterator[Finding]:
    """No finding where nobody receives webhooks and none is left."""
    counts = count_messages(database)
    for name, receiver in settings.webhooks.items():
        yield _check_deliveries(name, counts.pop(name, MessageCounts()))
        address = urlsplit(receiver.url)
        if address.scheme == "http" and not is_loopback(str(address.hostname)):
            yield note(f"webhook {name}", "events are sent unencrypted", "use https in its URL")
    for name, left in counts.items():
        events = count_of(left.pending + left.given_up, "event")
        yield note(
            f"webhook {name}",
            f"{events} not delivered, and the settings here name no such receiver",
            f"name it in TAGGER_WEBHOOKS, or wait: events are removed after {KEPT_DAYS} days",
        )


def _check_deliveries(name: str, counts: MessageCounts) -> Finding:
    reason = f": {counts.problem}" if counts.problem else ""
    if counts.given_up:
        remedy = f"tagger people webhook test {name}; when it succeeds, tagger people webhook retry {name}"
        return note(f"webhook {name}", f"{count_of(counts.given_up, 'event')} given up{reason}", remedy)
    if counts.pending:
        found = f"{count_of(counts.pending, 'event')} not delivered yet{reason}"
        return note(f"webhook {name}", found, "tagger people webhook list")
    return ok(f"webhook {name}", "all events are delivered")
