"""Webhooks as a user sees them: events of workers and of `tagger tag`, and the commands about them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.servers import RedisServer
from support.command_line import CommandRunner
from support.commands import Terminal, draw, draw_many
from support.webhook_receiver import OTHER_SECRET, SECRET, Behaviour, WebhookReceiver, is_signed


def named(**receiver: str) -> str:
    """The setting with one receiver."""
    return json.dumps({"default": receiver})


@pytest.fixture
def terminal(tmp_path: Path, redis_server: RedisServer, receiver: WebhookReceiver) -> Terminal:
    settings = {
        "TAGGER_REDIS_URL": redis_server.url,
        "TAGGER_WEBHOOKS": named(url=receiver.url, secret=SECRET),
        "TAGGER_WEB_URL": "https://photos.example",
        "TAGGER_THRESHOLD": "0",
    }
    return Terminal(tmp_path / "terminal", settings)


def events(receiver: WebhookReceiver) -> list[str]:
    return sorted(each.document["type"] for each in receiver.received)


def test_a_job_and_its_new_landmarks_are_reported_by_a_command_and_known_to_the_next(
    terminal: Terminal, receiver: WebhookReceiver
) -> None:
    draw_many(terminal.folder / "photos", 6)
    (terminal.folder / "photos" / "broken.jpg").write_bytes(b"no photo")
    terminal.run("tag", "photos", code=3)
    names = {row["landmark"] for row in terminal.json("landmark", "list") if row["photos"]}
    assert events(receiver) == ["job.failures", "job.finished", *["landmark.found"] * len(names)]
    assert all(map(is_signed, receiver.received))
    found = [each.document for each in receiver.received if each.document["type"] == "landmark.found"]
    assert {document["data"]["landmark"] for document in found} == names
    slug = found[0]["data"]["landmark"]
    assert found[0]["links"] == {"landmark": f"https://photos.example/landmarks/{slug}"}
    assert not any(b"photos/" in each.body or b"broken" in each.body for each in receiver.received)
    receiver.received.clear()
    terminal.run("tag", "photos", "--again", code=3)
    assert events(receiver) == ["job.failures", "job.finished"]
    assert "webhooks" not in terminal.run("status").stdout


def test_events_that_a_receiver_refused_are_listed_and_sent_with_the_next_ones(
    terminal: Terminal, receiver: WebhookReceiver
) -> None:
    receiver.behaviour = Behaviour(status=503)
    draw(terminal.folder / "photos" / "a.jpg")
    terminal.run("tag", "photos")
    pending = terminal.json("status")["webhooks"]["pending"]
    assert pending > 1
    assert "events pending for default" in terminal.run("status").stdout
    listed = terminal.json("people", "webhook", "list")
    assert "it answered with 503" in {each["problem"] for each in listed}
    assert all(each["at"] <= each["next_attempt_at"] for each in listed)
    setting = terminal.environment.pop("TAGGER_WEBHOOKS")
    (check,) = [each for each in terminal.json("doctor")["checks"] if each["name"].startswith("webhook")]
    assert f"{pending} events not delivered, and the settings here name no such receiver" in check["found"]
    terminal.environment["TAGGER_WEBHOOKS"] = setting
    receiver.behaviour = Behaviour()
    receiver.received.clear()
    assert terminal.json("people", "webhook", "retry")["events"] == pending
    terminal.run("tag", "photos", "--again")
    assert events(receiver) == ["job.finished"] * 2 + ["landmark.found"] * (pending - 1)
    assert "all events are delivered" in terminal.run("people", "webhook", "list").stderr


def test_a_test_event_shows_the_answer(
    tagger: CommandRunner, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = tagger("people", "webhook", "test")
    assert (refused.code, "Set TAGGER_WEBHOOKS" in refused.err) == (1, True)
    url = receiver.url.replace("//", "//ada:geheim@")
    monkeypatch.setenv("TAGGER_WEBHOOKS", named(url=url, secret="whsec_short"))
    short = tagger("people", "webhook", "test")
    assert (short.code, "24 to 64 bytes" in short.err, "whsec_short" in short.err) == (1, True, False)
    monkeypatch.setenv("TAGGER_WEBHOOKS", named(url=url, secret=SECRET))
    output = tagger("people", "webhook", "test")
    name = receiver.url.partition("/hook")[0]
    assert (output.code, output.text) == (0, f"default ({name}): accepted with 200\nthanks\n")
    assert is_signed(receiver.received[0])
    receiver.behaviour = Behaviour(status=404, body=b"\x1b[2Jno such hook")
    output = tagger("people", "webhook", "test")
    assert (output.code, "it answered with 404" in output.text, "\x1b" in output.text) == (1, True, False)


@pytest.fixture
def two_receivers(terminal: Terminal) -> Iterator[tuple[WebhookReceiver, WebhookReceiver]]:
    """A chat that gets new landmarks alone, and a monitor that gets everything else."""
    with WebhookReceiver() as chat, WebhookReceiver() as monitor:
        receivers = {
            "chat": {"url": chat.url, "secret": SECRET, "events": ["landmark.found"]},
            "monitor": {
                "url": monitor.url.replace("//", "//ada:geheimnis@"),
                "secret": OTHER_SECRET,
                "events": ["job.finished", "job.failures"],
            },
        }
        terminal.environment["TAGGER_WEBHOOKS"] = json.dumps(receivers)
        yield chat, monitor


def test_commands_try_and_retry_one_receiver_or_all(
    terminal: Terminal, two_receivers: tuple[WebhookReceiver, WebhookReceiver]
) -> None:
    chat, monitor = two_receivers
    monitor.behaviour = Behaviour(status=410)
    answers = terminal.json("people", "webhook", "test", code=1)
    assert [(each["receiver"], each["accepted"]) for each in answers] == [("chat", True), ("monitor", False)]
    assert [each["receiver"] for each in terminal.json("people", "webhook", "test", "chat")] == ["chat"]
    assert (len(chat.received), len(monitor.received)) == (2, 1)
    draw(terminal.folder / "photos" / "a.jpg")
    terminal.run("tag", "photos")
    one_given_up = {"pending": 0, "given_up": 1}
    assert terminal.json("status")["webhooks"] == {**one_given_up, "receivers": {"monitor": one_given_up}}
    checks = {each["name"]: each for each in terminal.json("doctor")["checks"]}
    assert checks["webhook chat"]["state"] == "ok"
    assert "1 event given up: it answered with 410" in checks["webhook monitor"]["found"]
    assert "tagger people webhook retry monitor" in checks["webhook monitor"]["remedy"]
    assert "geheimnis" not in str(checks)
    assert terminal.json("people", "webhook", "retry", "chat")["events"] == 0
    assert terminal.json("people", "webhook", "retry", "monitor")["events"] == 1
    unknown = terminal.run("people", "webhook", "retry", "chta", code=1).stderr
    assert "There is no receiver chta. TAGGER_WEBHOOKS names chat, monitor" in unknown
