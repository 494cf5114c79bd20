"""Commands that follow, end and repeat jobs, and whose numbers agree."""

import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings, strategies as st
from rig.servers import PostgresServer
from sqlalchemy import func, select, update
from support.artifacts import tiny_artifact
from support.camera_photos import draw_shot
from support.commands import Screen, Terminal, draw, draw_many

import tagger
from tagger.cli.job_text import job_report
from tagger.database import JobState, Runner
from tagger.database.connection import open_database
from tagger.database.tables import jobs, models
from tagger.ledger import PUT_BACK
from tagger.ledger.job_control import find_job
from tagger.query.details import photo_details
from tagger.query.options import PhotoQuery
from tagger.query.timeline import count_all


@pytest.fixture
def terminal(tmp_path, redis_server) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


def test_a_job_is_paused_and_resumed_until_it_is_cancelled(terminal):
    draw_many(terminal.folder / "photos", 2)
    job = terminal.run("enqueue", "photos").stdout.strip()
    assert [each["state"] for each in terminal.json("job", "pause", job)["jobs"]] == ["paused"]
    assert [each["state"] for each in terminal.json("job", "resume", job)["jobs"]] == ["queued"]
    assert f"job {job} cancelled: 2 photos" in terminal.run("job", "cancel", job).stdout
    refused = terminal.run("job", "resume", job, "99", code=1).stderr
    assert f"Job {job} is cancelled already" in refused
    assert "There is no job 99" in refused
    document = terminal.json("job", "cancel", job, code=1)
    assert (document["jobs"], document["errors"][0]["job"]) == ([], int(job))


def test_commands_that_read_leave_a_job_whose_process_ended_to_the_next_that_writes(terminal):
    draw_many(terminal.folder / "photos", 2)
    terminal.run("enqueue", "photos")
    with terminal.database() as database, database.write() as connection:
        ended = {"runner": Runner.LOCAL, "owner": "another-machine/1", "owner_lease_until": 0.0}
        connection.execute(update(jobs).values(ended))
    text = "its process does not answer; if it has ended, run the same command again to continue"
    (job,) = terminal.json("status")["jobs"]
    assert (job["state"], job["note"]) == ("queued", text)
    assert terminal.json("job", "list") == [job]
    for command in (("status",), ("job", "show", "1")):
        assert f"  {text}\n" in terminal.run(*command).stdout
    assert f"warning: job 1: {text}" in terminal.run("job", "show", "1", "--watch", code=1).stderr
    with terminal.database() as database, database.read() as connection:
        assert connection.execute(select(jobs.c.state, jobs.c.note)).one() == (JobState.QUEUED, None)
    terminal.run("tag", "photos")
    first = terminal.progress(1)
    assert (first.state, first.cancelled) == (JobState.CANCELLED, 2)
    assert first.note == f"its process ended; {PUT_BACK}"


def test_watching_draws_on_a_terminal_and_leaves_it_as_it_was(terminal):
    draw_many(terminal.folder / "photos", 40)
    terminal.run("enqueue", "photos")
    assert "it needs one job" in terminal.run("status", "--watch", "--json", code=2).stderr
    with closing(Screen(terminal, "status", "--watch")) as screen:
        screen.read_until(b"queued messages: interactive 0, bulk 2")
        screen.process.send_signal(signal.SIGINT)
        screen.read_until(b"\x1b[?1049l")
        assert screen.process.wait(30) == 0
    text = screen.written.decode()
    assert text.startswith("\x1b[?1049h")
    assert "workers: none" in text
    assert re.search("job 1 queued: 40 photos", text)
    assert "Traceback" not in text


def test_watching_off_a_terminal_prints_what_moves(terminal):
    draw_many(terminal.folder / "photos", 40)
    job = terminal.run("enqueue", "photos").stdout.strip()
    process = terminal.start("status", "--watch")
    terminal.wait_until(lambda: f"job {job} queued: 40 photos: 0 tagged" in terminal.log.read_text())
    terminal.run("job", "cancel", job)
    terminal.wait_until(lambda: f"job {job} cancelled: 40 photos" in terminal.log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert "Traceback" not in terminal.log.read_text()


@pytest.mark.slow
def test_watching_survives_outages_of_database_and_redis(tmp_path, redis_server):
    with PostgresServer() as server:
        url = server.url.replace("postgresql:", "postgresql+psycopg:")
        settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_DATABASE_URL": url}
        terminal = Terminal(tmp_path / "terminal", settings)
        terminal.run("db", "upgrade")
        draw_many(terminal.folder / "photos", 40)
        job = terminal.run("enqueue", "photos").stdout.strip()
        all_of_it = terminal.start("status", "--watch")
        one_job = terminal.start("job", "show", job, "--watch")
        terminal.wait_until(lambda: f"job {job} queued" in terminal.log.read_text())
        terminal.wait_until(lambda: _client_connections(server.url) >= 2)
        time.sleep(2)  # the command that follows one job prints nothing before its job changes
        server.kill()
        redis_server.kill()
        terminal.wait_until(lambda: "; trying again\n" in terminal.log.read_text())
        terminal.wait_until(lambda: "; trying again until it works\n" in terminal.log.read_text())
        server.start()
        terminal.wait_until(
            lambda: f"Redis at {redis_server.url} does not answer" in terminal.log.read_text()
        )
        terminal.run("job", "cancel", job)
        terminal.wait_until(lambda: f"job {job} cancelled: 40 photos" in terminal.log.read_text())
        assert one_job.wait(60) == 1
        all_of_it.send_signal(signal.SIGINT)
        assert all_of_it.wait(60) == 0
    assert "Traceback" not in terminal.log.read_text()


def _client_connections(url: str) -> int:
    """The number of connections to a PostgreSQL server, without the one that asks."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid != pg_backend_pid()"
        ).fetchone()
    return int(row[0]) if row else 0


def test_photos_that_were_mended_lose_their_failure_and_the_others_keep_counting(terminal):
    folder = terminal.folder / "photos"
    draw_many(folder, 5)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"\xff\xd8\xff broken")
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
def test_kinds_narrow_failures_and_retries_and_a_dry_run_counts_them_and_stores_nothing(
    tagger_with_redis, tmp_path, sqlite_database, monkeypatch
):
    with monkeypatch.context() as other_model:
        tiny_artifact(tmp_path / "other.pt", seed=1, name="other")
        other_model.setenv("TAGGER_MODEL", str(tmp_path / "other.pt"))
        output = tagger_with_redis("job", "retry", "--dry-run")
        assert "empty: 1\n" in output.text
        assert "3 photos would be classified again" in output.err
        document = tagger_with_redis("job", "retry", "--dry-run", "--json").json
        assert (document["job"], document["total"], sum(document["kinds"].values())) == (None, 3, 3)
        with sqlite_database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(jobs)) == 1
            assert connection.scalar(select(func.count()).select_from(models)) == 1
    assert len(tagger_with_redis("job", "failures", "--kind", "empty", "--json").json) == 1
    retried = tagger_with_redis("job", "retry", "--kind", "empty", code=3)
    assert "no worker runs, so this process does the work" in retried.err
    assert tagger_with_redis("job", "show", "2", "--json").json["total"] == 1
    nothing = tagger_with_redis("job", "retry", "--kind", "gone", "--json")
    assert nothing.json == {"job": None, "total": 0, "kinds": {}, "dry_run": False}
    assert "nothing to retry" in nothing.err
    assert "There is no job 7" in tagger_with_redis("job", "retry", "7").err
    for command in ("retry", "failures"):
        output = tagger_with_redis("job", command, "--kind", "broken", code=2)
        assert "there is no kind broken" in output.err


PARIS, BERLIN, TOKYO = (48.8584, 2.2945), (52.5163, 13.3777), (35.68, 139.77)
Shot = tuple[int | None, int | None, tuple[float, float] | None, str]
shots = st.lists(
    st.tuples(
        st.sampled_from((None, 0, 1)),  # whose colour it has
        st.sampled_from((None, 0, 30, 24 * 60, 26 * 60)),  # minutes after a noon
        st.sampled_from((None, None, PARIS, BERLIN, TOKYO)),
        st.sampled_from(("EOS 5D", "PowerShot")),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=4)
@given(first=shots, more=shots, is_rejected=st.booleans())
def test_all_numbers_of_jobs_agree(tmp_path_factory, first, more, *, is_rejected):
    folder = tmp_path_factory.mktemp("library")
    tiny_artifact(folder / "tiny.pt", suggestion_threshold=0.2)
    model = folder / "tiny.pt"
    options = {"model": model, "device": "cpu", "backend": "torchscript"}
    with tagger.open(folder / "tagger.sqlite", create=True, **options) as library:
        jobs = [library.tag(draw_folder(folder / name, some)) for name, some in (("a", first), ("b", more))]
        for job in jobs:  # as it said when it ended
            assert job.tagged + job.unknown == job.total
        assert jobs[-1].tagged == outcomes(library, jobs[-1])["tagged"]
        if is_rejected and (tagged := list(library.photos())):
            library.reject(tagged[0].tags[0].landmark, tagged[0])
        for job in jobs:
            job.refresh()
            assert outcomes(library, job) == Counter({"tagged": job.tagged, "unknown": job.unknown})
            assert_agreement(folder, job)


def outcomes(library: tagger.Library, job: tagger.Job) -> Counter[str]:
    return Counter(str(photo.outcome) for photo in library.photos(job=job.number))


def draw_folder(folder: Path, shots: Sequence[Shot]) -> Path:
    for number, (label, minutes, gps, model) in enumerate(shots):
        draw_shot(folder / f"{folder.name}{number}.jpg", minutes, gps=gps, label=label, model=model)
    return folder


def assert_agreement(folder: Path, job: tagger.Job) -> None:
    """By the list below the job, `query`, SQL and `show`."""
    database = open_database(f"sqlite:///{folder}/tagger.sqlite")
    report, _ = job_report(database, find_job(database, job.number))
    assert sum(each.photos for each in report["landmarks"]) == job.tagged  # none has two
    accepted = PhotoQuery(job=job.number, min_score=0.0001)
    assert count_all(database, accepted, {}) == job.tagged
    connection = sqlite3.connect(folder / "tagger.sqlite")
    of_job = f"SELECT photo_id FROM job_items WHERE job_id = {job.number}"
    in_sql = f"SELECT count(DISTINCT photo_id) FROM photo_tags WHERE accepted AND photo_id IN ({of_job})"
    items = f"SELECT outcome, count(*) FROM job_items WHERE job_id = {job.number} GROUP BY outcome"
    assert connection.execute(in_sql).fetchone() == (job.tagged,)
    assert Counter(dict(connection.execute(items).fetchall())) == Counter(
        {"tagged": job.tagged, "unknown": job.unknown}
    )
    connection.close()
    for path in sorted((folder / "ab"[job.number - 1]).iterdir()):
        details = photo_details(database, path)
        assert details.photo.outcome == details.job.outcome
    database.close()
