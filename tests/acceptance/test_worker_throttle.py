"""Workers that wait: they store and release what they have, stay alive, and go on."""

from pathlib import Path

import pytest
from rig.servers import RedisServer
from support.commands import Terminal, draw, draw_many

from tagger.database.enums import JobState
from tagger.ledger.workers import record_heartbeat

PHOTOS = 40


@pytest.fixture
def terminal(tmp_path: Path, redis_server: RedisServer) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


@pytest.mark.slow
def test_a_worker_waits_on_battery_goes_on_and_exits_after_its_last_job(
    terminal: Terminal, tmp_path: Path
) -> None:
    """Meanwhile it has released its chunks."""
    draw_many(terminal.folder / "photos", PHOTOS)
    draw(terminal.folder / "later" / "a.jpg")
    on_battery, slow = tmp_path / "on-battery", tmp_path / "slow"
    slow.touch()
    terminal.environment |= {"TAGGER_BATCH_SIZE": "1", "TAGGER_THREADS": "1"}
    terminal.inject(
        slow_pass_s="0.15",
        slow_while=slow,
        battery_while=on_battery,
        values="worker.throttle.CHECK_S=0.2 worker.watchdog.CHECK_S=0.2",
    )
    job = int(terminal.run("enqueue", "photos").stdout)
    options = ("--pause-on-battery", "--idle-exit", "0.05")
    with terminal.workers(1, *options) as (worker,):
        terminal.wait_until(lambda: terminal.progress(job).done > 0)
        on_battery.touch()
        terminal.wait_until(lambda: terminal.progress(job).running == 0)
        stored = terminal.progress(job).done
        assert 0 < stored < PHOTOS
        later = int(terminal.run("enqueue", "later", "--priority", "interactive").stdout)
        terminal.wait_until(lambda: terminal.json("status")["queues"]["interactive"] == 1)
        assert (terminal.progress(later).state, terminal.progress(job).done) == (JobState.QUEUED, stored)
        on_battery.unlink()
        slow.unlink()
        assert worker.wait(180) == 0
    assert (terminal.progress(job).done, terminal.progress(later).done) == (PHOTOS, 1)
    assert (terminal.progress(job).failed, terminal.active_workers()) == (0, [])
    log = terminal.log.read_text()
    assert log.index("This worker waits: on battery") < log.index("This worker goes on")
    assert "it has had no work for as long as its settings say" in log


def test_commands_say_that_no_worker_starts_work_now(terminal: Terminal) -> None:
    draw(terminal.folder / "photos" / "a.jpg")
    reason = "outside its window 22:00-06:00"
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
    refused = terminal.run("worker", "--window", "22:00-22:00", code=1)
    assert "its ends are equal; to work all day, leave the window out" in refused.stderr
