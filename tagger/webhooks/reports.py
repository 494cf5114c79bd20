"""What people and monitoring read about webhooks: checks of `tagger doctor`, and the status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tagger.cli.doctor.findings import note, ok
from tagger.cli.output.job_text import count_of
from tagger.system.addresses import is_loopback
from tagger.webhooks.messages import KEPT_DAYS, MessageCounts, count_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings


def status_document(database: Database) -> dict[str, Any]:
    """How many events are not delivered to receivers, together and to each that has not accepted all."""
    numbers = {
        name: {"pending": each.pending, "given_up": each.given_up}
        for name, each in count_messages(database).items()
    }
    sums = {state: sum(each[state] for each in numbers.values()) for state in ("pending", "given_up")}
    return {**sums, "receivers": numbers}


def status_lines(database: Database) -> list[str]:
    """How many events each receiver has not accepted; no line for one that has all."""
    return [
        f"webhooks: {count_of(each.pending, 'event')} pending for {name}{_given_up(each)}"
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


def _given_up(counts: MessageCounts) -> str:
    return (
        f", {counts.given_up} given up; list them with: tagger people webhook list" if counts.given_up else ""
    )
