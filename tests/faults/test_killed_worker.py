"""Workers and `tagger up` are killed while they work: each photo ends with one outcome."""

import os
import signal
import time
from contextlib import suppress

import psutil
import pytest
from sqlalchemy import select
from support.artifacts import tiny_artifact
from support.commands import Terminal, draw_many, stop
from support.databases import read_rows
from support.fault_scenario import PHOTOS, is_alive

from tagger.database.tables import contents, photos


@pytest.mark.slow
def test_a_worker_that_is_killed_before_it_acknowledges_a_chunk_leaves_no_photo_twice(scenario, tmp_path):
    was_killed = tmp_path / "was-killed"
    scenario.terminal.inject(kill_at="before the acknowledgement", once=was_killed)
    with scenario.terminal.workers(2) as workers:
        job = scenario.enqueue()
        scenario.assert_complete(job)
        assert was_killed.exists()
        assert sorted(is_alive(worker) for worker in workers) == [False, True]
        assert {worker.poll() for worker in workers} == {None, -signal.SIGKILL}
    assert max(scenario.attempts(job)) <= 2


def test_each_photo_has_one_outcome_after_a_killed_worker_and_a_flush(
    scenario_on_each_database, redis_server
):
    scenario = scenario_on_each_database
    with scenario.terminal.database() as database, scenario.terminal.workers(2) as workers:
        with scenario.terminal.frozen(workers):
            job = scenario.enqueue()
        scenario.terminal.freeze_with_a_lease(workers[0], database)
        os.kill(workers[0].pid, signal.SIGKILL)
        redis_server.flush()
        scenario.assert_complete(job)


@pytest.mark.slow
def test_a_job_is_complete_after_workers_were_killed_while_they_started(scenario):
    job = scenario.enqueue()
    for _ in range(3):
        worker = scenario.terminal.start("worker")
        time.sleep(1.5)  # it imports torch
        worker.kill()
        worker.wait()
    with scenario.terminal.workers(1):
        scenario.assert_complete(job)


@pytest.mark.slow
def test_each_object_of_a_bucket_has_one_outcome_after_both_workers_were_killed(scenario, bucket):
    terminal = scenario.terminal
    terminal.environment |= bucket.environment()
    for path in scenario.folder.rglob("*.jpg"):
        bucket.put(path.relative_to(scenario.folder).as_posix(), path)
    with terminal.database() as database, terminal.workers(2) as workers:
        job = int(terminal.run("enqueue", bucket.address).stdout)
        for worker in workers:
            terminal.freeze_with_a_lease(worker, database)
            worker.kill()
        for worker in workers:
            assert worker.wait() == -signal.SIGKILL
        assert scenario.stored(job) < PHOTOS
        with terminal.workers(1):
            scenario.assert_complete(job)
    assert max(scenario.attempts(job)) == 2


@pytest.mark.slow
def test_a_replaced_model_file_is_not_run_until_it_is_restored(scenario):
    terminal = scenario.terminal
    registered = terminal.folder / "registered.pt"
    tiny_artifact(registered, name="registered")
    right = registered.read_bytes()
    with terminal.workers(1) as (worker,):
        job = scenario.enqueue("--model", str(registered))
        scenario.wait_for_some(job)
        # Replaced by a rename, as programs replace a file that is in use.
        tiny_artifact(terminal.folder / "new.pt", seed=1, name="another")
        (terminal.folder / "new.pt").replace(registered)
        scenario.wait_for_some(job, more_than=scenario.stored(job))  # with the loaded model
        assert terminal.progress(job).note is None
        assert stop(worker) == 0
    with terminal.workers(1):
        terminal.wait_until(lambda: "digest differs" in (terminal.progress(job).note or ""))
        refused = terminal.progress(job)
        assert (refused.failed, refused.done + refused.queued + refused.running) == (0, PHOTOS)
        registered.write_bytes(right)
        scenario.assert_complete(job)


UP_PHOTOS = 60
BEFORE_COMMIT = "before a batch is committed"
UP = ("up", "--once", "photos")


@pytest.fixture
def up_terminal(tmp_path, redis_server, database_url, durations) -> Terminal:
    settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_DATABASE_URL": database_url}
    up_terminal = Terminal(tmp_path / "terminal", settings | {"TAGGER_BATCH_SIZE": "8"})
    draw_many(up_terminal.folder / "photos", UP_PHOTOS)
    if durations.values:
        up_terminal.inject(values=durations.values)
    return up_terminal


@pytest.mark.parametrize(
    "killed",
    [
        pytest.param({"kill_parent_at": BEFORE_COMMIT, "kill_at": BEFORE_COMMIT}, id="up and its worker"),
        pytest.param({"kill_parent_at": BEFORE_COMMIT}, id="up alone", marks=pytest.mark.slow),
        pytest.param({"kill_at": BEFORE_COMMIT}, id="its worker alone", marks=pytest.mark.slow),
    ],
)
def test_each_photo_has_one_outcome_after_up_was_killed_while_results_are_stored(up_terminal, killed):
    once = up_terminal.folder / "killed"
    up_terminal.inject(once=once, **killed)
    up = up_terminal.start(*UP)
    end = up.wait(timeout=180)
    assert once.exists(), up_terminal.log.read_text()[-2000:]
    if "kill_parent_at" in killed:
        assert end == -signal.SIGKILL
        up_terminal.wait_until(lambda: not _services(up_terminal))
        assert up_terminal.start(*UP).wait(timeout=180) == 0, up_terminal.log.read_text()[-2000:]
        with up_terminal.workers():  # the killed worker's lease may have ended just before
            up_terminal.wait_until(lambda: all(job.is_over for job in up_terminal.jobs()))
    else:
        assert end == 0, up_terminal.log.read_text()[-2000:]
        assert all(job.is_over for job in up_terminal.jobs())
    assert {each["outcome"] for each in up_terminal.json("query", "--unknown")} == {"unknown"}
    assert len(up_terminal.json("query")) == UP_PHOTOS * 4 // 5
    up_terminal.assert_consistent()
    with up_terminal.database() as database:
        for table in (photos, contents):
            assert len(read_rows(database, select(table))) == UP_PHOTOS
    up_terminal.run("db", "check")


def _services(up_terminal: Terminal) -> list[psutil.Process]:
    services = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended, or is another user's
            is_ours = process.environ().get("TAGGER_DATA_FOLDER") == str(up_terminal.data)
            if is_ours and "tagger.cli.main" in " ".join(process.cmdline()):
                services.append(process)
    return services
