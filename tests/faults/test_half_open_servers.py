"""Connections of a worker stay open and silent during a job: it is back at work within a minute."""

import time
from collections.abc import Callable

import pytest
from rig.servers import PostgresServer, RedisServer
from support.commands import Terminal
from support.fault_scenario import FaultScenario
from support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.slow

BACK_AT_WORK_S = 60.0


def test_a_worker_is_back_at_work_after_half_open_connections_to_postgresql(
    scenario_on_postgres: FaultScenario, postgres: PostgresServer
) -> None:
    with TcpProxy(postgres.socket) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        standstill_s = _standstill_s(scenario_on_postgres, {"TAGGER_DATABASE_URL": url}, proxy.silence)
    assert standstill_s < BACK_AT_WORK_S


def test_a_worker_is_back_at_work_after_half_open_connections_to_redis(
    scenario: FaultScenario, redis_server: RedisServer
) -> None:
    with TcpProxy(redis_server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        standstill_s = _standstill_s(scenario, {"TAGGER_REDIS_URL": url}, proxy.silence)
    assert standstill_s < BACK_AT_WORK_S


def _standstill_s(scenario: FaultScenario, proxied: dict[str, str], fault: Callable[[], None]) -> float:
    """Run a job and the fault with a worker whose settings are `proxied`; return the longest time without progress."""
    terminal = Terminal(scenario.terminal.folder, scenario.terminal.environment | proxied)
    terminal.injected = scenario.terminal.injected
    with terminal.workers(1) as (worker,):
        job = scenario.enqueue()
        scenario.wait_for_some(job)
        fault()
        longest_s = _longest_pause_s(scenario, job)
        scenario.assert_complete(job)
        assert worker.poll() is None
    return longest_s


def _longest_pause_s(scenario: FaultScenario, job: int) -> float:
    """Wait for the end of the job; return the longest time between two stored batches."""
    longest_s, stored, since = 0.0, scenario.stored(job), time.monotonic()
    give_up = since + 3 * BACK_AT_WORK_S
    while not scenario.terminal.progress(job).is_over and (now := time.monotonic()) < give_up:
        count = scenario.stored(job)
        longest_s = max(longest_s, now - since)
        if count != stored:
            stored, since = count, now
        time.sleep(0.2)
    return longest_s
