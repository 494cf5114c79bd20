"""Messages are repeated, late, or received by the wrong worker: no photo is stored twice."""

import signal

import pytest
from rig.servers import RedisServer
from support.fault_scenario import FaultScenario

from tagger.database.enums import Priority
from worker.messages import TASK_NAME, WakeUp
from worker.producer import make_app

pytestmark = pytest.mark.slow


def test_repeated_messages_are_processed_once(scenario: FaultScenario, redis_server: RedisServer) -> None:
    job = scenario.enqueue()
    _send_many(scenario, redis_server)
    with scenario.terminal.workers(2):
        scenario.assert_complete(job, slowly=True)
        _wait_until_queues_are_empty(scenario, redis_server)
    assert set(scenario.attempts(job)) == {1}


def test_a_worker_with_an_expired_lease_stores_nothing(
    scenario_on_each_database: FaultScenario,
) -> None:
    scenario = scenario_on_each_database
    terminal = scenario.terminal
    values = terminal.injected.get("INJECT_VALUES", "")
    terminal.inject(values=f"{values} tagger.jobs.processing.chunk_results.STORE_PHOTOS=4")
    with terminal.database() as database, terminal.workers(1) as (slow,):
        job = scenario.enqueue()
        # It has read which photos of the chunk are open: a worker that reads it later finds none left and ends it quietly.
        terminal.freeze_with_a_lease(slow, database, stored=1)
        with terminal.workers(1):
            scenario.assert_complete(job)
            before = scenario.rows()
            slow.send_signal(signal.SIGCONT)
            terminal.wait_until(lambda: "was taken over" in scenario.log)
            assert scenario.rows() == before
        # The slow worker still processes the next job.
        second = scenario.enqueue("--again")
        scenario.assert_complete(job, second)
        assert slow.poll() is None


def _send_many(scenario: FaultScenario, redis_server: RedisServer) -> None:
    """Send more wake-ups than the scenario's job has chunks."""
    app = make_app(redis_server.url)
    with scenario.terminal.database() as database:
        wake_up = WakeUp(ledger=database.ledger_id, priority=Priority.BULK)
    for _ in range(20):
        app.send_task(TASK_NAME, args=[wake_up.body()], queue="tagger.bulk")
    app.close()


def _wait_until_queues_are_empty(scenario: FaultScenario, redis_server: RedisServer) -> None:
    """Wait until no message is queued or unacknowledged."""
    with redis_server.client() as client:
        scenario.terminal.wait_until(lambda: not client.llen("tagger.bulk") and not client.hlen("unacked"))
