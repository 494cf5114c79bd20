"""Workers without work: they exit where they should, and commands say why none starts any."""

from pathlib import Path

import pytest
from rig.servers import RedisServer
from support.commands import Terminal, draw, draw_many

from tagger.ledger.workers import record_heartbeat

PHOTOS = 40


@pytest.fixture
def terminal(tmp_path: Path, redis_server: RedisServer) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


@pytest.mark.slow
def test_a_worker_exits_after_its_last_job(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", PHOTOS)
    terminal.inject(values="worker.watchdog.CHECK_S=0.2")
    job = int(terminal.run("enqueue", "photos").stdout)
    with terminal.workers(1, "--idle-exit", "0.05") as (worker,):
        assert worker.wait(180) == 0
    assert (terminal.progress(job).done, terminal.progress(job).failed) == (PHOTOS, 0)
    assert terminal.active_workers() == []
    assert "it has had no work for as long as its settings say" in terminal.log.read_text()


def test_commands_say_that_no_worker_starts_work_now(terminal: Terminal) -> None:
    draw(terminal.folder / "photos" / "a.jpg")
    reason = "Redis accepts no messages"
    with terminal.database() as database:
        record_heartbeat(database, "tagger-7@rack", "cpu", reason)
    enqueued = terminal.run("enqueue", "photos")
    assert "no worker starts work now (tagger-7@rack" in enqueued.stderr
    assert reason in enqueued.stderr
    assert [each["waits_for"] for each in terminal.json("status")["workers"]] == [reason]
    assert f"(cpu, 0 chunks, waits: {reason})" in terminal.run("status").stdout
    checks = terminal.json("doctor")["checks"]
    (found,) = [each["found"] for each in checks if each["name"] == "workers"]
    assert found.startswith("1 chunk of photos wait: no worker starts work now (tagger-7@rack")
