"""Two machines with one database and one Redis: a network that is cut, folders mounted elsewhere.

Each machine is a worker process with settings of its own. All photos end stored once, whatever the late one
sends.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import select
from support.commands import Process, Terminal, stop
from support.fault_scenario import PHOTOS, FaultScenario, is_alive, moved
from support.local_servers import TcpProxy

from tagger.database.tables import photos
from tagger.ledger.workers import list_workers

pytestmark = pytest.mark.slow

BACK_S = 5.0  # A worker with a younger heartbeat reaches the database. Sweeps are a second apart


@contextmanager
def machine(scenario: FaultScenario, settings: Mapping[str, str]) -> Iterator[Process]:
    """A worker on a machine with these settings, besides those of the scenario."""
    base = scenario.terminal
    own = Terminal(base.folder, base.environment | settings)
    own.injected = dict(base.injected)
    process = own.start("worker", "-v")
    try:
        base.wait_until(lambda: silence_s(scenario, process) < math.inf)
        yield process
    finally:
        stop(process)


def claimants(scenario: FaultScenario) -> set[str]:
    with scenario.terminal.database() as database:
        return {worker.name for worker in list_workers(database) if worker.chunks}


def silence_s(scenario: FaultScenario, process: Process) -> float:
    name = f"tagger-{process.pid}@"
    ages = [
        each.seen_seconds_ago for each in scenario.terminal.active_workers() if each.name.startswith(name)
    ]
    return min(ages, default=math.inf)


def test_a_machine_that_is_cut_off_for_longer_than_a_lease_stores_nothing_late(
    scenario_on_postgres, postgres, redis_server
):
    scenario = scenario_on_postgres
    with ExitStack() as stack:
        network = [stack.enter_context(TcpProxy(server)) for server in (postgres.socket, redis_server.port)]
        settings = {
            "TAGGER_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{network[0].port}/postgres",
            "TAGGER_REDIS_URL": f"redis://127.0.0.1:{network[1].port}/0",
        }
        far = stack.enter_context(machine(scenario, settings))
        job = scenario.enqueue()
        scenario.wait_for_some(job)
        for proxy in network:
            proxy.freeze()
        cut = scenario.stored(job)
        near = stack.enter_context(machine(scenario, {}))
        assert cut < PHOTOS
        scenario.assert_complete(job)  # while the other machine is cut off
        rows = scenario.rows()
        for proxy in network:
            proxy.recover()
        scenario.terminal.wait_until(lambda: silence_s(scenario, far) < BACK_S)
        scenario.terminal.wait_until(lambda: "another process goes on with them" in scenario.log)
        assert scenario.rows() == rows
        assert stop(near) == 0
        again = scenario.enqueue("--again")
        scenario.assert_complete(job, again)  # by the one that was cut off
        assert is_alive(far)


def test_a_machine_without_the_database_leaves_chunks_to_others(scenario_on_postgres, postgres):
    scenario = scenario_on_postgres
    with TcpProxy(postgres.socket) as network:
        settings = {"TAGGER_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{network.port}/postgres"}
        with machine(scenario, settings) as far:
            with scenario.terminal.frozen([far]):
                network.cut()
                job = scenario.enqueue()  # Redis gives its first message to the machine that waits for one
            scenario.terminal.wait_until(lambda: "; trying again every" in scenario.log)
            with machine(scenario, {}):
                scenario.assert_complete(job)
            assert is_alive(far)
    assert scenario.attempts(job) == [1] * PHOTOS
    assert "sent again" not in scenario.log  # as messages are that a worker keeps
    assert "failed unexpectedly" not in scenario.log


def test_a_machine_with_the_photos_at_another_place_takes_part(scenario_on_postgres):
    scenario = scenario_on_postgres
    job = scenario.enqueue()
    mounted = scenario.terminal.folder / "mnt" / "nas" / "pictures"
    shutil.copytree(scenario.folder, mounted)
    link = mounted.parent / "link"
    link.symlink_to(mounted, target_is_directory=True)
    away = moved(scenario.folder)
    with machine(scenario, {"TAGGER_ROOTS": json.dumps({"photos": str(link)})}):
        scenario.assert_complete(job, slowly=True)  # although the folder that was enqueued does not exist
        away.rename(scenario.folder)
        with machine(scenario, {}):
            again = scenario.enqueue("--again")
            scenario.terminal.wait_until(lambda: len(claimants(scenario)) == 2, every_s=0.05)
            scenario.assert_complete(job, again)
    assert scenario.attempts(again) == [1] * PHOTOS


def test_a_machine_without_the_photos_does_not_keep_another_from_them(scenario_on_postgres):
    scenario = scenario_on_postgres
    missing = json.dumps({"photos": str(scenario.terminal.folder / "unmounted")})
    with machine(scenario, {"TAGGER_ROOTS": missing}), machine(scenario, {}):
        job = scenario.enqueue()
        scenario.assert_complete(job, slowly=True)
    assert gone_or_failing(scenario) == 0


def gone_or_failing(scenario: FaultScenario) -> int:
    lost = photos.c.gone_since.is_not(None) | photos.c.failure_kind.is_not(None)
    with scenario.terminal.database() as database, database.read() as connection:
        return len(connection.execute(select(photos.c.id).where(lost)).all())
