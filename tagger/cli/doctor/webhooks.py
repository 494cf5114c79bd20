"""Checks of webhooks: whether the receiver accepts the events, and who can read them on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tagger.addresses import is_loopback
from tagger.cli.doctor.findings import note, ok
from tagger.cli.output.job_text import count_of
from tagger.webhooks.messages import count_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings


def check_webhooks(database: Database, settings: Settings) -> Iterator[Finding]:
    """No finding where nobody receives webhooks and none is left."""
    counts = count_messages(database)
    reason = f": {counts.problem}" if counts.problem else ""
    if counts.given_up:
        found = f"{count_of(counts.given_up, 'event')} given up{reason}"
        yield note("webhooks", found, "tagger webhook test; when it succeeds, tagger webhook retry")
    elif counts.pending:
        sender = "" if settings.webhook_url else ", and TAGGER_WEBHOOK_URL is not set here"
        found = f"{count_of(counts.pending, 'event')} not delivered yet{sender}{reason}"
        yield note("webhooks", found, "tagger webhook list")
    elif settings.webhook_url is not None:
        yield ok("webhooks", "all events are delivered")
    if settings.webhook_url is not None:
        address = urlsplit(settings.webhook_url)
        if address.scheme == "http" and not is_loopback(str(address.hostname)):
            yield note("webhooks", "events are sent unencrypted", "use https in TAGGER_WEBHOOK_URL")
