"""Webhooks: events recorded with what they tell, signed, delivered to a real server, tried again, given up."""

import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from sqlalchemy import select, update
from support.ledgers import LedgerBuilder
from support.webhook_receiver import SECRET, Behaviour, WebhookReceiver, is_signed

from tagger.database.connection import Database, open_database
from tagger.database.enums import Outcome
from tagger.database.statements import db_now
from tagger.database.tables import webhook_messages
from tagger.ledger.job_control import cancel
from tagger.webhooks import delivery
from tagger.webhooks.delivery import NotDelivered, Receiver, deliver
from tagger.webhooks.events import Event, record_event
from tagger.webhooks.messages import (
    PAUSES_S,
    claim_due,
    count_messages,
    retry_messages,
    store_delivery,
    undelivered_messages,
)
from tagger.webhooks.sending import send_due


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url, failure_threshold=0.5)
    yield opened
    opened.close()


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def target(receiver: WebhookReceiver) -> Receiver:
    return Receiver(receiver.url, SECRET, "https://photos.example")


def record(database: Database, *subjects: object) -> None:
    with database.write() as connection:
        for subject in subjects:
            record_event(connection, Event.JOB_FINISHED, subject, {"job": subject})


def finish(ledger: LedgerBuilder, job: int, *, failed: int) -> None:
    """Store the outcomes of a job of four photos."""
    claim = ledger.claim(job)
    ledger.store(claim, Outcome.FAILED, 0, failed)
    if failed < 4:
        ledger.store(claim, Outcome.TAGGED, failed)


def make_due(database: Database) -> None:
    with database.write() as connection:
        pending = webhook_messages.c.next_attempt_at.is_not(None)
        connection.execute(update(webhook_messages).where(pending).values(next_attempt_at=db_now() - 1))


def recorded(database: Database) -> list[str]:
    with database.read() as connection:
        query = select(webhook_messages.c.subject).order_by(webhook_messages.c.id)
        return list(connection.scalars(query))


def test_a_finished_job_is_delivered_once_and_signed(database: Database, receiver: WebhookReceiver) -> None:
    ledger = LedgerBuilder(database)
    job = ledger.job(4)
    finish(ledger, job, failed=1)
    assert send_due(database, target(receiver)) == 1
    assert send_due(database, target(receiver)) == 0
    (request,) = receiver.received
    assert is_signed(request)
    assert not is_signed(request, SECRET.replace("A", "B"))
    assert request.path == "/hook?team=7"
    assert request.document["id"] == request.headers["webhook-id"]
    assert request.document["type"] == "job.finished"
    facts = {name: request.document["data"][name] for name in ("job", "state", "total", "tagged", "failed")}
    assert facts == {"job": job, "state": "finished", "total": 4, "tagged": 3, "failed": 1}
    assert request.document["links"] == {"job": f"https://photos.example/jobs/{job}"}
    assert count_messages(database).pending == 0


def test_many_failures_are_an_event_of_their_own(database: Database) -> None:
    ledger = LedgerBuilder(database)
    half, more = ledger.job(4), ledger.job(4)
    finish(ledger, half, failed=2)
    finish(ledger, more, failed=3)
    assert recorded(database) == [
        f"job.finished/{half}",
        f"job.finished/{more}",
        f"job.failures/{more}",
    ]


def test_a_cancelled_job_is_reported(database: Database, receiver: WebhookReceiver) -> None:
    ledger = LedgerBuilder(database)
    job = ledger.job(4)
    cancel(database, job)
    send_due(database, target(receiver))
    assert [each.document["data"]["state"] for each in receiver.received] == ["cancelled"]


def test_nothing_is_recorded_without_a_receiver(database_url: str) -> None:
    opened = open_database(database_url)
    ledger = LedgerBuilder(opened)
    finish(ledger, ledger.job(4), failed=4)
    assert recorded(opened) == []
    opened.close()


def test_an_event_of_a_transaction_that_is_rolled_back_is_not_sent(
    database: Database, receiver: WebhookReceiver
) -> None:
    with database.write(dry_run=True) as connection:
        record_event(connection, Event.JOB_FINISHED, 1, {"job": 1})
    assert send_due(database, target(receiver)) == 0
    record(database, 1, 1)
    assert recorded(database) == ["job.finished/1"]


def test_a_failed_delivery_is_repeated_after_growing_pauses_and_given_up(
    database: Database, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.behaviour = Behaviour(status=500)
    record(database, 1)
    pauses: list[float] = []
    for _ in range(len(PAUSES_S) + 1):
        send_due(database, target(receiver))
        assert send_due(database, target(receiver)) == 0, "not before its pause is over"
        with database.read() as connection:
            pause = connection.scalar(select(webhook_messages.c.next_attempt_at - db_now()))
        pauses += [] if pause is None else [pause]
        make_due(database)
    assert pauses == pytest.approx(PAUSES_S, abs=4)
    assert len(receiver.received) == len(PAUSES_S) + 1
    assert len({each.headers["webhook-id"] for each in receiver.received}) == 1
    assert count_messages(database).given_up == 1
    (message,) = undelivered_messages(database)
    assert (message.next_attempt_at, message.problem) == (None, "it answered with 500")
    assert "did not take job.finished: it answered with 500" in caplog.text
    receiver.behaviour = Behaviour(status=204, body=b"")
    assert retry_messages(database) == 1
    assert send_due(database, target(receiver)) == 1
    assert list(undelivered_messages(database)) == []


def test_a_receiver_that_is_gone_gets_no_more(database: Database, receiver: WebhookReceiver) -> None:
    receiver.behaviour = Behaviour(status=410)
    record(database, 1)
    send_due(database, target(receiver))
    assert count_messages(database).given_up == 1


def test_a_redirect_is_not_followed(database: Database, receiver: WebhookReceiver) -> None:
    with WebhookReceiver() as elsewhere:
        receiver.behaviour = Behaviour(status=307, headers={"location": elsewhere.url})
        record(database, 1)
        send_due(database, target(receiver))
        assert (len(receiver.received), elsewhere.received) == (1, [])
    (message,) = undelivered_messages(database)
    assert message.problem == "it answered with 307, and redirects are not followed"


@pytest.mark.parametrize("way", ["hangs", "drips"])
def test_a_receiver_that_never_ends_its_answer_is_left(
    way: str, receiver: WebhookReceiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT_S", 1.0)
    receiver.behaviour = Behaviour(**{way: threading.Event()})
    record(database, 1, 2)
    send_due(database, target(receiver))
    assert len(receiver.received) == 1, "the others would fail as well"
    first, _second = undelivered_messages(database)
    assert first.problem == "no answer within 1 s"


def test_addresses_that_do_not_answer_leave_time_for_one_that_does(
    receiver: WebhookReceiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT_S", 6.0)
    record(database, 1)
    message = claim_due(database)
    assert message is not None
    resolve = socket.getaddrinfo
    with silent_address() as silent:
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *host, **kind: silent * 2 + resolve(*host, **kind)[:1]
        )
        assert deliver(target(receiver), message).is_accepted


def test_a_resolver_that_hangs_takes_no_more_time_than_an_attempt(
    receiver: WebhookReceiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT_S", 1.0)
    record(database, 1)
    answers = threading.Event()
    resolve = socket.getaddrinfo

    def resolve_late(*host: Any, **kind: Any) -> Any:
        answers.wait(30)
        return resolve(*host, **kind)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_late)
    assert send_due(database, target(receiver)) == 0
    (message,) = undelivered_messages(database)
    assert (message.attempts, message.problem) == (1, "its name was not resolved within 1 s")
    answers.set()
    make_due(database)
    assert send_due(database, target(receiver)) == 1


def test_a_name_that_no_host_can_have_is_a_problem(database: Database) -> None:
    record(database, 1)
    assert send_due(database, Receiver("http://hooks..example/", SECRET, "")) == 0
    (message,) = undelivered_messages(database)
    assert message.problem == "its name is not valid"


@contextmanager
def silent_address() -> Iterator[list[Any]]:
    """An address as `getaddrinfo` returns it, at which no connection is accepted or refused: its queue is full."""
    with socket.socket() as listening, socket.socket() as queued:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        queued.connect(listening.getsockname())
        yield [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", listening.getsockname())]


def test_a_huge_answer_is_read_in_part(receiver: WebhookReceiver, database: Database) -> None:
    receiver.behaviour = Behaviour(body=b"x" * 50_000_000)
    record(database, 1)
    message = claim_due(database)
    assert message is not None
    answer = deliver(target(receiver), message)
    assert (answer.status, len(answer.text)) == (200, delivery.MAX_ANSWER_BYTES)


def test_a_receiver_needs_a_valid_certificate(
    database: Database, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    record(database, 1)
    with WebhookReceiver(context) as receiver:
        send_due(database, target(receiver))
        assert receiver.received == []
        (message,) = undelivered_messages(database)
        assert str(message.problem).startswith("its certificate is not accepted: ")
        trusted = tmp_path_factory.mktemp("tls") / "authority.pem"
        authority.cert_pem.write_to_path(trusted)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        make_due(database)
        assert send_due(database, target(receiver)) == 1
        assert is_signed(receiver.received[0])


def test_an_unreachable_receiver_is_named_without_its_secrets(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with WebhookReceiver() as receiver:
        port = receiver.url.split(":")[2].partition("/")[0]
    record(database, 1)
    caplog.set_level(logging.DEBUG)
    send_due(database, Receiver(f"http://ada:geheim@localhost:{port}/token-geheim", SECRET, ""))
    assert f"http://localhost:{port} did not take" in caplog.text
    (message,) = undelivered_messages(database)
    assert str(message.problem).startswith("no connection: ")
    assert "geheim" not in caplog.text + str(message.problem)


def test_what_is_no_http_is_a_problem(database: Database, receiver: WebhookReceiver) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    record(database, 1)
    message = claim_due(database)
    assert message is not None
    with (
        WebhookReceiver(context) as encrypted,
        pytest.raises(NotDelivered, match=r"no answer|not HTTP|no connection"),
    ):
        deliver(Receiver(encrypted.url.replace("https", "http"), SECRET, ""), message)
    with pytest.raises(NotDelivered, match="TLS failed"):
        deliver(Receiver(receiver.url.replace("http", "https"), SECRET, ""), message)


def test_user_and_password_of_the_address_are_sent_as_basic_authentication(
    database: Database, receiver: WebhookReceiver
) -> None:
    record(database, 1)
    send_due(database, Receiver(receiver.url.replace("//", "//ada:p%40ss@"), SECRET, ""))
    assert receiver.received[0].headers["authorization"] == "Basic YWRhOnBAc3M="
    assert receiver.received[0].document["links"] == {"job": "/jobs/1"}


def test_several_senders_deliver_each_message_once(database: Database, receiver: WebhookReceiver) -> None:
    record(database, *range(1, 41))
    with ThreadPoolExecutor(4) as pool:
        rounds = [pool.submit(send_due, database, target(receiver)) for _ in range(4)]
        assert sum(each.result() for each in rounds) == 40
    assert sorted(each.document["data"]["job"] for each in receiver.received) == list(range(1, 41))


def test_a_sender_that_died_is_replaced_and_its_late_result_changes_nothing(
    database: Database, receiver: WebhookReceiver
) -> None:
    record(database, 1)
    lost = claim_due(database)
    assert lost is not None
    assert claim_due(database) is None, "it is claimed"
    make_due(database)  # as after its claim has ended
    receiver.behaviour = Behaviour(status=500)
    send_due(database, target(receiver))
    store_delivery(database, lost)
    (message,) = undelivered_messages(database)
    assert (message.attempts, message.id) == (2, lost.id)


def test_old_messages_are_removed_and_no_longer_sent(receiver: WebhookReceiver, database: Database) -> None:
    record(database, 1, 2, 3)
    with database.write() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=40)
        is_third = webhook_messages.c.subject == "job.finished/3"
        connection.execute(update(webhook_messages).where(~is_third).values(created_at=long_ago))
        is_first = webhook_messages.c.subject == "job.finished/1"
        connection.execute(update(webhook_messages).where(is_first).values(next_attempt_at=None))
    assert send_due(database, target(receiver)) == 1
    assert recorded(database) == ["job.finished/3"]
