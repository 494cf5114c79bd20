"""`tagger up` and its worker are killed while results are stored: nothing is lost or repeated."""

import os
import signal
from pathlib import Path

import pytest
from rig.ledger_invariants import job_violations, library_violations
from rig.servers import RedisServer
from sqlalchemy import func, select
from support.commands import Terminal, draw_many
from support.fault_scenario import FaultDurations

from tagger.database.tables import contents, photos

PHOTOS = 60
BEFORE_COMMIT = "before a batch is committed"
UP = ("up", "--once", "photos")


@pytest.fixture
def terminal(
    tmp_path: Path, redis_server: RedisServer, database_url: str, durations: FaultDurations
) -> Terminal:
    settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_DATABASE_URL": database_url}
    terminal = Terminal(tmp_path / "terminal", settings | {"TAGGER_BATCH_SIZE": "8"})
    draw_many(terminal.folder / "photos", PHOTOS)
    if durations.values:
        terminal.inject(values=durations.values)
    return terminal


@pytest.mark.parametrize(
    "killed",
    [
        pytest.param({"kill_parent_at": BEFORE_COMMIT, "kill_at": BEFORE_COMMIT}, id="up and its worker"),
        pytest.param({"kill_parent_at": BEFORE_COMMIT}, id="up alone", marks=pytest.mark.slow),
        pytest.param({"kill_at": BEFORE_COMMIT}, id="its worker alone", marks=pytest.mark.slow),
    ],
)
def test_each_photo_has_one_outcome_after_up_was_killed_while_results_are_stored(
    terminal: Terminal, killed: dict[str, str]
) -> None:
    once = terminal.folder / "killed"
    terminal.inject(once=once, **killed)
    up = terminal.start(*UP)
    end = up.wait(timeout=180)
    assert once.exists(), terminal.log.read_text()[-2000:]
    if "kill_parent_at" in killed:
        assert end == -signal.SIGKILL
        terminal.wait_until(lambda: not _services(terminal))
        assert terminal.start(*UP).wait(timeout=180) == 0, terminal.log.read_text()[-2000:]
        with terminal.workers():  # the killed worker's lease may have ended just before
            terminal.wait_until(lambda: all(job.is_over for job in terminal.jobs()))
    else:
        assert end == 0, terminal.log.read_text()[-2000:]
        assert all(job.is_over for job in terminal.jobs())
    assert {each["outcome"] for each in terminal.json("query", "--unknown")} == {"unknown"}
    assert len(terminal.json("query")) == PHOTOS * 4 // 5
    with terminal.database() as database:
        assert [each for job in terminal.jobs() for each in job_violations(database, job.job)] == []
        assert library_violations(database) == []
        with database.read() as connection:
            for table in (photos, contents):
                assert connection.scalar(select(func.count()).select_from(table)) == PHOTOS
    terminal.run("db", "check")


def _services(terminal: Terminal) -> list[int]:
    """The services that still run in the terminal's folder."""
    mine = str(terminal.data).encode()
    return [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdecimal()
        and b"tagger.cli.main" in _read(process / "cmdline")
        and mine in _read(process / "environ")
        and int(process.name) != os.getpid()
    ]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
