"""Commands say why no worker starts work."""

from pathlib import Path

import pytest
from rig.servers import RedisServer
from support.commands import Terminal, draw

from tagger.database.enums import Note, NoteCode
from tagger.ledger.workers import record_heartbeat


@pytest.fixture
def terminal(tmp_path: Path, redis_server: RedisServer) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


def test_commands_say_that_no_worker_starts_work_now(terminal: Terminal) -> None:
    draw(terminal.folder / "photos" / "a.jpg")
    reason = NoteCode.REDIS_REFUSES.text
    with terminal.database() as database:
        record_heartbeat(database, "tagger-7@rack", "cpu", Note(NoteCode.REDIS_REFUSES))
    enqueued = terminal.run("enqueue", "photos")
    assert "no worker starts work now (tagger-7@rack" in enqueued.stderr
    assert reason in enqueued.stderr
    assert [each["waits_for"] for each in terminal.json("status")["workers"]] == [reason]
    assert f"(cpu, idle, waits: {reason})" in terminal.run("status").stdout
    checks = terminal.json("doctor")["checks"]
    ((found, remedy),) = [(each["found"], each["remedy"]) for each in checks if each["name"] == "workers"]
    assert remedy == "let Redis accept messages: see `redis` above"
    assert found.startswith("photos wait: no worker starts work now (tagger-7@rack")
