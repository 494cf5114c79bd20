"""`tagger retry` and `tagger failures --kind`: what fails now, again."""

from pathlib import Path

import pytest
from artifacts import tiny_artifact
from commands import Terminal, draw, draw_many
from said import Typed
from servers import RedisServer
from sqlalchemy import func, select

from tagger.database import Database
from tagger.tables import jobs, models

BROKEN = b"\xff\xd8\xff broken"


def test_photos_that_were_mended_lose_their_failure_and_the_others_keep_counting(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})
    folder = terminal.folder / "photos"
    draw_many(folder, 5)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(BROKEN)
    with terminal.workers(1):
        terminal.run("enqueue", "--wait", "photos", code=3)
        draw(folder / "a.jpg", 0)
        done = terminal.run("retry", "1", "--wait", code=3)
        assert done.stdout == "2\n"
        assert "job 2 finished: 2 photos: 1 tagged, 0 unknown, 0 skipped, 1 failed" in done.stderr
        (left,) = terminal.json("failures")
        assert (Path(left["path"]).name, left["attempts"], left["job"]) == ("b.jpg", 2, 2)
        (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
        done = terminal.run("retry", "--priority", "interactive", "--wait")
        assert terminal.json("failures") == []
        assert "nothing to retry" in terminal.run("retry").stderr
    job = terminal.json("status", "2")
    assert (job["kind"], job["parent"], job["priority"], job["total"]) == ("retry", 1, "bulk", 2)
    assert "a retry of job 1" in terminal.run("status", "2").stdout
    job = terminal.json("status", "3")
    assert (job["parent"], job["priority"], job["tagged"]) == (None, "interactive", 1)


def test_a_retry_without_redis_is_recorded_and_warns(
    person: Typed, redis_server: RedisServer, tmp_path: Path
) -> None:
    _with_failures(person, tmp_path)
    redis_server.stop()
    said = person("retry", "1")
    assert (said.code, said.text) == (0, "2\n")
    assert "does not answer" in said.err
    assert "Job 2 is recorded" in said.err
    assert "no worker is running" in said.err
    again = person("retry", "--json")
    assert (again.json["job"], again.json["kind"], again.json["total"], again.json["queued"]) == (
        3,
        "retry",
        3,
        3,
    )


def test_a_retry_of_a_job_keeps_how_it_looked(
    person: Typed, tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_failures(person, tmp_path, "--top-k", "2", "--threshold", "0.3")
    tiny_artifact(tmp_path / "other.pt", seed=1, name="other")
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "other.pt"))
    person("retry", "1")
    person("retry")
    with sqlite_database.read() as connection:
        made = connection.execute(
            select(jobs.c.model_id, jobs.c.top_k, jobs.c.threshold).order_by(jobs.c.id)
        ).all()
    assert made[1] == made[0] == (1, 2, 0.3)
    assert made[2] == (2, 5, 0.5)


def test_kinds_narrow_failures_and_retries(person: Typed, tmp_path: Path) -> None:
    _with_failures(person, tmp_path)
    assert len(person("failures", "--kind", "empty", "--json").json) == 1
    assert len(person("failures", "--kind", "empty", "--kind", "truncated", "1", "--json").json) <= 3
    assert person("retry", "--kind", "empty", "--json").json["total"] == 1
    assert person("retry", "--kind", "gone").code == 0
    for command in ("retry", "failures"):
        said = person(command, "--kind", "broken")
        assert said.code == 2
        assert "there is no broken" in said.err
        assert "unreadable" in said.err


def test_a_dry_run_says_what_fails_by_kind_and_writes_nothing(
    person: Typed, tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_failures(person, tmp_path)
    tiny_artifact(tmp_path / "other.pt", seed=1, name="other")
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "other.pt"))
    said = person("retry", "--dry-run")
    assert "empty: 1\n" in said.text
    assert "3 photos would be looked at again" in said.err
    document = person("retry", "--dry-run", "--json").json
    assert (document["job"], document["total"], sum(document["kinds"].values())) == (None, 3, 3)
    with sqlite_database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(jobs)) == 1
        assert connection.scalar(select(func.count()).select_from(models)) == 1


def test_where_nothing_fails_no_job_is_made(person: Typed) -> None:
    said = person("retry")
    assert (said.code, said.out) == (0, b"")
    assert "nothing to retry" in said.err
    assert person("retry", "--json").json == {"job": None, "total": 0, "kinds": {}, "dry_run": False}
    assert person("status", "--json").json["jobs"] == []
    assert "There is no job 7" in person("retry", "7").err


def _with_failures(person: Typed, folder: Path, *options: str) -> None:
    """Job 1: one photo that is fine, three that fail, one of them empty."""
    draw(folder / "photos" / "fine.jpg", 0)
    for name in ("a.jpg", "b.jpg"):
        (folder / "photos" / name).write_bytes(BROKEN)
    (folder / "photos" / "empty.jpg").touch()
    assert person("tag", "photos", *options).code == 3
