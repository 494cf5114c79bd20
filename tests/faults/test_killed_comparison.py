"""A worker is killed while it compares photos with what was taught: nothing is lost, and nothing is compared for ever."""

import signal
from pathlib import Path

import pytest
from rig.ledger_invariants import job_violations
from rig.servers import RedisServer
from sqlalchemy import func, select
from support.commands import Terminal
from support.teaching import draw_place, teachable_artifact

from tagger.database.tables import taught_tags
from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark
from tagger.library.verdicts import VerdictKind, give_verdict

CHURCH = 0
SHOWN, OTHERS = 12, 100
"""Photos of the church and of other places: three chunks."""


@pytest.fixture
def terminal(tmp_path: Path, redis_server: RedisServer) -> Terminal:
    """A library that is tagged, and four verdicts that nobody has learned from."""
    folder = tmp_path / "terminal"
    folder.mkdir()
    teachable_artifact(folder / "teachable.pt")
    settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_MODEL": str(folder / "teachable.pt")}
    terminal = Terminal(folder, settings)
    examples = [draw_place(folder / f"photos/church-{seed}.jpg", CHURCH, seed=seed) for seed in range(SHOWN)]
    for place in range(1, OTHERS + 1):
        draw_place(folder / f"photos/place-{place:03}.jpg", place)
    terminal.run("tag", folder / "photos")
    with terminal.database() as database:
        with database.write() as connection:
            church = add_landmark(connection, NewLandmark("Our church"))
        for example in examples[:4]:
            give_verdict(database, example, church.slug, VerdictKind.CONFIRMED, "tester", {})
    return terminal


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_compares_loses_nothing(terminal: Terminal) -> None:
    job = int(terminal.run("backfill", "taught", "--no-local").stdout)
    assert terminal.progress(job).total == SHOWN + OTHERS
    terminal.inject(kill_at="before the acknowledgement", once=terminal.folder / "killed")
    with terminal.workers(1) as (worker,):
        assert worker.wait(timeout=90) == -signal.SIGKILL
    assert 0 < terminal.progress(job).done < SHOWN + OTHERS
    with terminal.workers(1):
        terminal.wait_until(lambda: terminal.progress(job).is_over)
    progress = terminal.progress(job)
    assert (progress.tagged, progress.unknown) == (SHOWN, OTHERS)
    assert "0 photos would be compared" in terminal.run("backfill", "taught", "--dry-run").stderr
    with terminal.database() as database, database.read() as connection:
        assert job_violations(database, job) == []
        assert connection.scalar(select(func.count()).where(taught_tags.c.accepted)) == SHOWN
