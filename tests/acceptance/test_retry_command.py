"""`tagger job retry` and `tagger job failures --kind`: what fails now, again."""

from pathlib import Path

import pytest
from rig.servers import RedisServer
from sqlalchemy import func, select
from support.artifacts import tiny_artifact
from support.command_line import CommandRunner
from support.commands import Terminal, draw, draw_many

from tagger.database.connection import Database
from tagger.database.tables import jobs, models

BROKEN = b"\xff\xd8\xff broken"


def test_photos_that_were_mended_lose_their_failure_and_the_others_keep_counting(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})
    folder = terminal.folder / "photos"
    draw_many(folder, 5)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(BROKEN)
    with terminal.processing_jobs():
        terminal.run("enqueue", "--wait", "photos", code=3)
        draw(folder / "a.jpg", 0)
        done = terminal.run("job", "retry", "1", "--wait", code=3)
        assert done.stdout == "2\n"
        assert "job 2 finished: 2 photos: 1 tagged, 0 unknown, 0 skipped, 1 failed" in done.stderr
        (left,) = terminal.json("job", "failures")
        assert (Path(left["path"]).name, left["attempts"], left["job"]) == ("b.jpg", 2, 2)
        (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
        done = terminal.run("job", "retry", "--priority", "interactive", "--wait")
        assert terminal.json("job", "failures") == []
        assert "no failed photos" in terminal.run("job", "failures").stderr
    job = terminal.json("job", "show", "2")
    assert (job["kind"], job["parent"], job["priority"], job["total"]) == ("retry", 1, "bulk", 2)
    assert "a retry of job 1" in terminal.run("job", "show", "2").stdout
    job = terminal.json("job", "show", "3")
    assert (job["parent"], job["priority"], job["tagged"]) == (None, "interactive", 1)


@pytest.mark.usefixtures("failing_photos")
def test_kinds_narrow_failures_and_retries(tagger_with_redis: CommandRunner) -> None:
    assert len(tagger_with_redis("job", "failures", "--kind", "empty", "--json").json) == 1
    retried = tagger_with_redis("job", "retry", "--kind", "empty")
    assert retried.code == 3
    assert "no worker runs, so this process does the work" in retried.err
    assert tagger_with_redis("job", "show", "2", "--json").json["total"] == 1
    nothing = tagger_with_redis("job", "retry", "--kind", "gone", "--json")
    assert nothing.json == {"job": None, "total": 0, "kinds": {}, "dry_run": False}
    assert "nothing to retry" in nothing.err
    assert "There is no job 7" in tagger_with_redis("job", "retry", "7").err
    for command in ("retry", "failures"):
        output = tagger_with_redis("job", command, "--kind", "broken")
        assert output.code == 2
        assert "there is no kind broken" in output.err


@pytest.mark.usefixtures("failing_photos")
def test_a_dry_run_counts_failures_by_kind_and_stores_nothing(
    tagger_with_redis: CommandRunner,
    tmp_path: Path,
    sqlite_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny_artifact(tmp_path / "other.pt", seed=1, name="other")
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "other.pt"))
    output = tagger_with_redis("job", "retry", "--dry-run")
    assert "empty: 1\n" in output.text
    assert "3 photos would be classified again" in output.err
    document = tagger_with_redis("job", "retry", "--dry-run", "--json").json
    assert (document["job"], document["total"], sum(document["kinds"].values())) == (None, 3, 3)
    with sqlite_database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(jobs)) == 1
        assert connection.scalar(select(func.count()).select_from(models)) == 1
