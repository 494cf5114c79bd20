"""The database goes away or is full during a job: nothing is lost or stored twice."""

import time

import pytest
from rig.servers import FullablePostgresServer, PostgresServer
from support.fault_durations import FaultDurations
from support.fault_scenario import PHOTOS, FaultScenario

FULL = "he disk of the database is full: free some space"


@pytest.mark.parametrize("restart", [pytest.param("in order", marks=pytest.mark.slow), "after a crash"])
def test_a_job_survives_a_restart_of_postgresql(
    scenario_on_postgres: FaultScenario, postgres: PostgresServer, restart: str
) -> None:
    scenario = scenario_on_postgres
    with scenario.terminal.workers(1) as (worker,):
        job = scenario.enqueue()
        scenario.wait_for_some(job)
        if restart == "in order":
            postgres.stop()
        else:
            postgres.kill()
        postgres.start()
        scenario.assert_complete(job)
        assert worker.poll() is None


@pytest.mark.slow
def test_a_job_survives_a_full_disk_of_postgresql(
    scenario_on_fullable_postgres: FaultScenario,
    fullable_postgres: FullablePostgresServer,
    durations: FaultDurations,
) -> None:
    scenario = scenario_on_fullable_postgres
    with scenario.terminal.workers(2) as workers:
        job = scenario.enqueue()
        scenario.wait_for_some(job)
        fullable_postgres.fill_disk()
        scenario.terminal.wait_until(lambda: FULL in scenario.log)
        time.sleep(durations.away_s)
        before = scenario.stored(job)
        time.sleep(durations.away_s)
        assert scenario.stored(job) == before < PHOTOS
        refused = scenario.terminal.run("enqueue", "--again", scenario.folder, code=1)
        assert "No space is left for the database" in refused.stderr
        fullable_postgres.free_disk()
        scenario.assert_complete(job)
        assert [worker.poll() for worker in workers] == [None, None]
    assert "Traceback" not in scenario.log
