"""`tagger db prune` and workers with TAGGER_KEEP_JOBS_DAYS: what old jobs did is removed, and what they led to stays."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from support.commands import Terminal, draw

from tagger.database.tables import job_items, jobs


def make_old(terminal: Terminal) -> None:
    with terminal.database() as database, database.write() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=100)
        connection.execute(update(jobs).where(jobs.c.finished_at.is_not(None)).values(finished_at=long_ago))


def items(terminal: Terminal) -> int:
    with terminal.database() as database, database.read() as connection:
        return connection.scalar(select(func.count()).select_from(job_items)) or 0


def test_pruned_jobs_keep_their_counts_and_their_writes_can_be_undone(terminal: Terminal) -> None:
    photo = terminal.folder / "photos" / "a.jpg"
    draw(photo)
    (terminal.folder / "photos" / "broken.jpg").write_bytes(b"no photo")
    before = photo.read_bytes()
    terminal.run("tag", "photos", "--write", "embed", code=3)
    assert photo.read_bytes() != before
    recent = terminal.run("db", "prune", "--older-than", "90d")
    assert recent.stdout == "0 items of 0 jobs removed\n"
    make_old(terminal)
    shown = terminal.json("status")["jobs"]
    writes = next(each["job"] for each in shown if each["kind"] == "write")
    planned = terminal.json("db", "prune", "--older-than", "90d", "--dry-run")
    count = items(terminal)
    assert planned == {"jobs": 2, "items": count, "dry_run": True}
    assert terminal.run("db", "prune", "--older-than", "90d").stdout == f"{count} items of 2 jobs removed\n"
    assert items(terminal) == 0
    assert terminal.json("status")["jobs"] == [each | {"items_removed": each["total"]} for each in shown]
    assert terminal.run("db", "check").stdout == "the database is consistent\n"
    assert [each["kind"] for each in terminal.json("job", "failures")] == ["not-an-image"]
    assert terminal.run("show", "photos/a.jpg").returncode == 0
    terminal.run("metadata", "undo", "--job", str(writes))
    assert photo.read_bytes() == before


@pytest.mark.slow
def test_workers_prune_if_their_settings_say_so(bare_terminal: Terminal) -> None:
    terminal = bare_terminal
    draw(terminal.folder / "photos" / "a.jpg")
    terminal.run("tag", "photos")
    make_old(terminal)
    terminal.environment["TAGGER_KEEP_JOBS_DAYS"] = "101"
    with terminal.workers(1):
        assert items(terminal) == 1
    terminal.environment["TAGGER_KEEP_JOBS_DAYS"] = "99"
    with terminal.workers(1):
        terminal.wait_until(lambda: items(terminal) == 0)
