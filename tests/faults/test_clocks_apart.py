"""Schedules run on time where beat or the worker has a wrong clock: the database's clock decides.

tests/integration/test_schedule_clocks.py is the fast form, with the clocks of one process.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from rig.servers import RedisServer
from support.commands import Terminal, draw_many, stop

from tagger.database.statements import current_time
from tagger.jobs.enqueue.schedule_runs import list_runs
from tagger.jobs.enqueue.schedules import list_schedules
from tagger.ledger.workers import find_last_tick

ON_TIME = timedelta(minutes=3)
"""A run starts within 20 s on a machine that is not busy."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("program", "ahead_s"), [("beat", 3600), ("beat", -3600), ("worker", 60), ("worker", -60)]
)
def test_a_schedule_runs_on_time_with_a_wrong_clock(
    tmp_path: Path, redis_server: RedisServer, postgres_url: str, program: str, ahead_s: int
) -> None:
    settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_DATABASE_URL": postgres_url}
    terminal, wrong = Terminal(tmp_path, settings), Terminal(tmp_path, settings)
    wrong.inject(clock_ahead_s=str(ahead_s))
    draw_many(tmp_path / "photos", 3)
    arguments = ("often", "--cron", "* * * * *", "--zone", "UTC", "untagged", "--scan", "photos")
    terminal.run("schedule", "add", *arguments)
    processes = [(wrong if each == program else terminal).start(each) for each in ("worker", "beat")]
    try:
        with terminal.database() as database:
            (schedule,) = list_schedules(database)
            terminal.wait_until(lambda: list_runs(database, "often", 1), timeout_s=240)
            first = list_runs(database, "often", 100)[-1]
            with database.read() as connection:
                now = current_time(connection)
            assert timedelta() <= first.started_at - schedule.next_due < ON_TIME
            assert timedelta() <= now - first.started_at < ON_TIME
            last_tick = find_last_tick(database)
            assert last_tick is not None
            assert not last_tick.is_late
            job = first.job
            assert job is not None
            terminal.wait_until(lambda: terminal.progress(job).is_over)
            assert terminal.progress(job).done == 3
    finally:
        for process in processes:
            stop(process)
