"""Webhooks: events recorded with what they tell, signed, delivered to a real server, tried again, given up."""

import logging
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from sqlalchemy import insert, select, text, update
from support.ledgers import LedgerBuilder
from support.query_plans import query_plans
from support.waiting import wait_until
from support.webhook_receiver import OTHER_SECRET, SECRET, Behaviour, WebhookReceiver, is_signed

from tagger import webhooks
from tagger.database.connection import Database, open_configured
from tagger.database.enums import Outcome
from tagger.database.events import (
    PAUSES_S,
    MessageCounts,
    claim_due,
    count_messages,
    record_event,
    remove_old_messages,
    retry_messages,
    store_delivery,
    undelivered_messages,
)
from tagger.database.statements import db_now
from tagger.database.tables import webhook_messages
from tagger.extensions import Event
from tagger.ledger.job_control import cancel
from tagger.settings import Settings
from tagger.system.http_exchange import NoAnswer
from tagger.webhooks import Receiver, deliver, send_due, send_due_to_all
from worker.sweeper import Sweeper


@contextmanager
def subscribed(database_url: str, **events: set[Event]) -> Iterator[Database]:
    """The database, open for a process whose settings name these receivers and their events."""
    receivers = {
        name: {"url": "https://hooks.example", "secret": SECRET, "events": sorted(types)}
        for name, types in events.items()
    }
    settings = Settings(database_url=database_url, webhooks=receivers)
    with closing(open_configured(settings)) as opened:
        yield opened


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with subscribed(database_url, default=set(Event)) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def target(receiver: WebhookReceiver, name: str = "default", secret: str = SECRET) -> Receiver:
    return Receiver(name, receiver.url, secret, "https://photos.example")


def counts_of(database: Database, name: str = "default") -> MessageCounts:
    return count_messages(database).get(name, MessageCounts())


def record(database: Database, *subjects: object) -> None:
    with database.write() as connection:
        for subject in subjects:
            record_event(connection, Event.JOB_FINISHED, subject, {"job": subject, "failed": 0, "total": 1})


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
    finish(ledger, job, failed=0)
    assert send_due(database, target(receiver)) == 1
    assert send_due(database, target(receiver)) == 0
    (request,) = receiver.received
    assert is_signed(request)
    assert not is_signed(request, SECRET.replace("A", "B"))
    assert request.path == "/hook?team=7"
    assert request.document["id"] == request.headers["webhook-id"]
    assert request.document["type"] == "job.finished"
    facts = {name: request.document["data"][name] for name in ("job", "state", "total", "tagged", "failed")}
    assert facts == {"job": job, "state": "finished", "total": 4, "tagged": 4, "failed": 0}
    assert request.document["links"] == {"job": f"https://photos.example/jobs/{job}"}
    assert counts_of(database).pending == 0


def test_many_failures_are_an_event_of_their_own(database: Database) -> None:
    with database.write() as connection:
        for job, failed in ((1, 10), (2, 11)):
            document = {"job": job, "failed": failed, "total": 100}
            record_event(connection, Event.JOB_FINISHED, job, document)
    assert recorded(database) == ["job.finished/1", "job.finished/2", "job.failures/2"]


def test_a_cancelled_job_is_reported(database: Database, receiver: WebhookReceiver) -> None:
    ledger = LedgerBuilder(database)
    job = ledger.job(4)
    cancel(database, job)
    send_due(database, target(receiver))
    assert [each.document["data"]["state"] for each in receiver.received] == ["cancelled"]


def test_each_receiver_gets_its_events_signed_with_its_secret(database_url: str) -> None:
    failures = {Event.JOB_FAILURES}
    with (
        WebhookReceiver() as chat,
        WebhookReceiver() as monitoring,
        subscribed(database_url, chat=failures, monitoring=set(Event)) as database,
    ):
        ledger = LedgerBuilder(database)
        fine, bad = ledger.job(4), ledger.job(4)
        finish(ledger, fine, failed=0)
        finish(ledger, bad, failed=4)
        send_due_to_all(
            database, [target(chat, "chat"), target(monitoring, "monitoring", secret=OTHER_SECRET)]
        )
        assert [each.document["type"] for each in chat.received] == ["job.failures"]
        assert [(each.document["type"], each.document["data"]["job"]) for each in monitoring.received] == [
            ("job.finished", fine),
            ("job.finished", bad),
            ("job.failures", bad),
        ]
        assert [is_signed(each) for each in chat.received] == [True]
        assert all(is_signed(each, OTHER_SECRET) for each in monitoring.received)
        ids = [each.document["id"] for each in (*chat.received, *monitoring.received)]
        assert len(set(ids)) == 4, "the id of a message is of one delivery"
        assert count_messages(database) == {}


def test_an_event_that_nobody_receives_is_not_recorded(database_url: str) -> None:
    with subscribed(database_url, chat={Event.LANDMARK_FOUND}) as database:
        ledger = LedgerBuilder(database)
        finish(ledger, ledger.job(4), failed=4)
        assert recorded(database) == []


def test_a_receiver_that_hangs_delays_no_other(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 120.0)
    with (
        WebhookReceiver() as away,
        WebhookReceiver() as fine,
        subscribed(database_url, away=set(Event), fine=set(Event)) as database,
        ThreadPoolExecutor(1) as pool,
    ):
        record(database, 1, 2, 3)
        hanging = threading.Event()
        away.behaviour = Behaviour(hangs=hanging)
        round_ = pool.submit(send_due_to_all, database, [target(away, "away"), target(fine, "fine")])
        try:
            wait_until(lambda: len(fine.received) == 3)
            assert not round_.done(), "the other one has not answered yet"
        finally:
            hanging.set()
        round_.result(60)
        assert counts_of(database, "fine") == MessageCounts()
        assert (counts_of(database, "away").pending, len(away.received)) == (3, 1)
        assert {message.receiver for message in undelivered_messages(database)} == {"away"}


def test_messages_are_given_up_and_retried_for_each_receiver(database_url: str) -> None:
    with (
        WebhookReceiver() as gone,
        WebhookReceiver() as away,
        subscribed(database_url, gone=set(Event), away=set(Event)) as database,
    ):
        record(database, 1)
        gone.behaviour, away.behaviour = Behaviour(status=410), Behaviour(status=503)
        receivers = [target(gone, "gone"), target(away, "away")]
        send_due_to_all(database, receivers)
        counts = count_messages(database)
        assert counts["gone"] == MessageCounts(given_up=1, problem="it answered with 410")
        assert counts["away"] == MessageCounts(pending=1, problem="it answered with 503")
        gone.behaviour = away.behaviour = Behaviour()
        assert retry_messages(database, ["gone"]) == 1
        send_due_to_all(database, receivers)
        assert count_messages(database) == {"away": counts["away"]}, "its pause is not over"


def test_an_event_of_a_transaction_that_is_rolled_back_is_not_sent(
    database: Database, receiver: WebhookReceiver
) -> None:
    with database.write(dry_run=True) as connection:
        record_event(connection, Event.JOB_FINISHED, 1, {"job": 1, "failed": 0, "total": 1})
    assert send_due(database, target(receiver)) == 0
    record(database, 1, 1)
    assert recorded(database) == ["job.finished/1"]


def test_a_failed_delivery_is_repeated_after_growing_pauses_and_given_up(
    database: Database, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.behaviour = Behaviour(status=500)
    address = receiver.url.partition("/hook")[0]
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
    assert counts_of(database).given_up == 1
    (message,) = undelivered_messages(database)
    assert (message.next_attempt_at, message.problem) == (None, "it answered with 500")
    assert f"The receiver default at {address} did not take job.finished: it answered with 500" in caplog.text
    receiver.behaviour = Behaviour(status=204, body=b"")
    assert retry_messages(database, ["default"]) == 1
    assert send_due(database, target(receiver)) == 1
    assert list(undelivered_messages(database)) == []


def test_a_redirect_is_not_followed(database: Database, receiver: WebhookReceiver) -> None:
    with WebhookReceiver() as elsewhere:
        receiver.behaviour = Behaviour(status=307, headers={"location": elsewhere.url})
        record(database, 1)
        send_due(database, target(receiver))
        assert (len(receiver.received), elsewhere.received) == (1, [])
    (message,) = undelivered_messages(database)
    assert message.problem == "it answered with 307, and redirects are not followed"


@pytest.mark.parametrize("way", ["drips", pytest.param("hangs", marks=pytest.mark.slow)])
def test_a_receiver_that_never_ends_its_answer_is_left(
    way: str, receiver: WebhookReceiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.5)
    receiver.behaviour = Behaviour(**{way: threading.Event()})
    record(database, 1, 2)
    send_due(database, target(receiver))
    assert len(receiver.received) == 1, "the others would fail as well"
    first, _second = undelivered_messages(database)
    assert "no answer" in str(first.problem)


@pytest.mark.parametrize("way", ["cut", "silent"])
def test_a_message_whose_answer_is_lost_is_delivered_again_with_its_id(
    way: str, receiver: WebhookReceiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.5)
    record(database, 1)
    ended = threading.Event()
    receiver.behaviour = Behaviour(loses_answer=way == "cut", hangs=ended if way == "silent" else None)
    assert send_due(database, target(receiver)) == 0
    ended.set()
    receiver.behaviour = Behaviour()
    make_due(database)
    assert send_due(database, target(receiver)) == 1
    first, again = receiver.received
    assert (again.body, again.headers["webhook-id"]) == (first.body, first.headers["webhook-id"])
    assert all(map(is_signed, receiver.received))
    assert counts_of(database) == MessageCounts()


def test_a_worker_that_waits_for_a_receiver_stops_at_once_and_its_message_is_sent_again(
    receiver: WebhookReceiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "CHECK_S", 0.01)
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 120.0)
    monkeypatch.setattr(webhooks, "STOP_S", 0.1)
    monkeypatch.setattr(webhooks, "receivers_of", lambda _settings: [target(receiver)])
    record(database, 1)
    hanging = threading.Event()
    receiver.behaviour = Behaviour(hangs=hanging)
    senders = webhooks.SenderThreads(database, Settings())
    senders.start()
    wait_until(lambda: len(receiver.received) == 1)
    began = time.monotonic()
    senders.close()
    assert time.monotonic() - began < 10, "a worker that stops waits for its receivers"
    assert counts_of(database).pending == 1
    receiver.behaviour = Behaviour()
    make_due(database)  # as after the claim of the worker that stopped has ended
    assert send_due(database, target(receiver)) == 1
    hanging.set()
    wait_until(lambda: "webhooks default" not in {thread.name for thread in threading.enumerate()})
    assert len({each.headers["webhook-id"] for each in receiver.received}) == 1
    assert counts_of(database) == MessageCounts(), "the late result changes nothing"


def test_a_resolver_that_hangs_takes_no_more_time_than_an_attempt(
    receiver: WebhookReceiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.5)
    record(database, 1)
    answers = threading.Event()
    resolve = socket.getaddrinfo

    def resolve_late(*host: Any, **kind: Any) -> Any:
        answers.wait(30)
        return resolve(*host, **kind)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_late)
    assert send_due(database, target(receiver)) == 0
    (message,) = undelivered_messages(database)
    assert message.attempts == 1
    assert message.problem == "no connection within 0 s"
    answers.set()
    make_due(database)
    assert send_due(database, target(receiver)) == 1


def test_a_huge_answer_is_read_in_part(receiver: WebhookReceiver, database: Database) -> None:
    receiver.behaviour = Behaviour(body=b"x" * 50_000_000)
    record(database, 1)
    message = claim_due(database, "default")
    assert message is not None
    answer = deliver(target(receiver), message)
    assert (answer.status, len(answer.text)) == (200, webhooks.MAX_ANSWER_BYTES)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param((OK, b"x" * 2**20), id="endless header"),
        pytest.param((OK, b"x: y\r\n" * 5000), id="endless headers"),
        pytest.param((b"HTTP/1.1 100 Continue\r\n\r\n" * 100,), id="endless beginnings"),
        pytest.param((b"x" * 2**20,), id="no HTTP, endless"),
        pytest.param((b"\0" * 100,), id="NUL"),
        pytest.param((b"HTTP/1.1 9999999999 OK\r\n\r\n", b""), id="status"),
        pytest.param((b"HTTP/1.1 -200 OK\r\n\r\n", b""), id="negative status"),
        pytest.param((OK + b"content-length: -5\r\n\r\n", b"x" * 2**20), id="negative length"),
        pytest.param((OK + b"content-length: 99999999999999999999\r\n\r\n", b"x" * 2**20), id="huge length"),
        pytest.param((OK + b"content-length: five\r\n\r\n", b"x" * 2**20), id="no length"),
        pytest.param(
            (OK + b"content-length: 1\r\ncontent-length: 9\r\n\r\n", b"x" * 2**20), id="two lengths"
        ),
        pytest.param((OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), id="endless small chunks"),
        pytest.param(
            (OK + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffffff\r\n", b"x" * 2**20),
            id="huge chunk",
        ),
        pytest.param((OK + b"transfer-encoding: chunked\r\n\r\n-5\r\n", b"x" * 2**20), id="negative chunk"),
        pytest.param((OK + b"transfer-encoding: chunked\r\n\r\n", b"f" * 2**20), id="endless chunk size"),
        pytest.param(
            (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n", b"x" * 2**20),
            id="private address",
        ),
        pytest.param(
            (b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\n\r\n", b"x" * 2**20), id="file"
        ),
    ],
)
def test_a_hostile_answer_costs_little_time_and_memory(
    raw: tuple[bytes, ...], receiver: WebhookReceiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 1.0)
    receiver.behaviour = Behaviour(raw=raw)
    record(database, 1)
    tracemalloc.start()
    began = time.monotonic()
    send_due(database, target(receiver))
    assert time.monotonic() - began < 4
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()
    assert len(receiver.received) == 1
    assert all(str(message.problem).isprintable() for message in undelivered_messages(database))


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
    send_due(database, Receiver("default", f"http://ada:geheim@localhost:{port}/token-geheim", SECRET, ""))
    assert f"default at http://localhost:{port} did not take" in caplog.text
    (message,) = undelivered_messages(database)
    assert str(message.problem).startswith("no connection: ")
    assert "geheim" not in caplog.text + str(message.problem)


def test_what_is_no_http_is_a_problem(database: Database, receiver: WebhookReceiver) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    record(database, 1)
    message = claim_due(database, "default")
    assert message is not None
    with (
        WebhookReceiver(context) as encrypted,
        pytest.raises(NoAnswer, match=r"no answer|not HTTP|no connection"),
    ):
        deliver(Receiver("default", encrypted.url.replace("https", "http"), SECRET, ""), message)
    with pytest.raises(NoAnswer, match="TLS failed"):
        deliver(Receiver("default", receiver.url.replace("http", "https"), SECRET, ""), message)


def test_user_and_password_of_the_address_are_sent_as_basic_authentication(
    database: Database, receiver: WebhookReceiver
) -> None:
    record(database, 1)
    send_due(database, Receiver("default", receiver.url.replace("//", "//ada:p%40ss@"), SECRET, ""))
    assert receiver.received[0].headers["authorization"] == "Basic YWRhOnBAc3M="
    assert receiver.received[0].document["links"] == {"job": "/jobs/1"}


@pytest.mark.postgresql
def test_several_senders_deliver_each_message_once(database: Database, receiver: WebhookReceiver) -> None:
    record(database, *range(1, 41))
    with ThreadPoolExecutor(4) as pool:
        rounds = [pool.submit(send_due, database, target(receiver)) for _ in range(4)]
        assert sum(each.result() for each in rounds) == 40
    assert sorted(each.document["data"]["job"] for each in receiver.received) == list(range(1, 41))


@pytest.mark.postgresql
def test_a_sender_that_died_is_replaced_and_its_late_result_changes_nothing(
    database: Database, receiver: WebhookReceiver
) -> None:
    record(database, 1)
    lost = claim_due(database, "default")
    assert lost is not None
    assert claim_due(database, "default") is None, "it is claimed"
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
    send_due_to_all(database, [target(receiver)])
    assert len(receiver.received) == 1
    assert recorded(database) == ["job.finished/3"]


def test_a_sweep_removes_old_messages_of_receivers_that_nobody_names(
    database: Database, sweeper: Sweeper
) -> None:
    record(database, 1, 2)
    with database.write() as connection:
        is_first = webhook_messages.c.subject == "job.finished/1"
        long_ago = datetime.now(UTC) - timedelta(days=40)
        connection.execute(update(webhook_messages).where(is_first).values(created_at=long_ago))
    sweeper.sweep()
    assert recorded(database) == ["job.finished/2"]


@pytest.mark.postgresql
def test_what_waits_is_counted_and_what_is_old_found_along_indexes(database: Database) -> None:
    now = datetime.now(UTC)
    with database.write() as connection:
        rows = [
            {
                "message_id": f"msg_{number}",
                "subject": f"job.finished/{number}",
                "event": "job.finished",
                "data": {},
                "created_at": now,
                "delivered_at": now,
            }
            for number in range(2000)
        ]
        connection.execute(insert(webhook_messages), rows)
        connection.execute(text("ANALYZE webhook_messages"))
    with query_plans(database, "SELECT webhook_messages") as plans:
        assert count_messages(database) == {}
        remove_old_messages(database)
    waiting, old = plans
    assert "ix_webhook_messages_undelivered" in waiting
    assert "ix_webhook_messages_created_at" in old
    assert not any(words in plan for plan in plans for words in ("Seq Scan", "SCAN webhook_messages'"))
