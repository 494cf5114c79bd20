"""Invalid messages and foreign commands in Redis: the worker survives, and processes the next job."""

from contextlib import closing

import pytest
from rig.invalid_messages import invalid_messages
from rig.servers import RedisServer
from support.artifacts import LABELS
from support.commands import draw_many
from support.fault_scenario import FaultScenario, is_alive

from worker.dead_letters import DEAD_LETTERS
from worker.producer import make_app

pytestmark = pytest.mark.slow

QUEUE = "tagger.bulk"


def test_a_worker_survives_invalid_messages(scenario: FaultScenario, redis_server: RedisServer) -> None:
    terminal = scenario.terminal
    draw_many(terminal.folder / "few", len(LABELS))
    with terminal.workers(1) as (worker,), redis_server.client() as client:
        assert client.pubsub_numpat() == 0  # it listens to no channel
        _send_commands(redis_server.url)
        garbage = invalid_messages(client, redis_server.url)
        client.lpush(QUEUE, *garbage)
        terminal.wait_until(
            lambda: client.llen(DEAD_LETTERS) + client.llen(QUEUE) + client.hlen("unacked") >= len(garbage)
        )
        terminal.wait_until(lambda: client.llen(QUEUE) + client.hlen("unacked") == 0)
        assert client.llen(DEAD_LETTERS) == len(garbage)
        assert terminal.json("enqueue", "--wait", "few")["tagged"] == len(LABELS)
        assert is_alive(worker)


def _send_commands(url: str) -> None:
    """Commands of Celery's remote control, which any client of Redis can send."""
    with closing(make_app(url)) as app:
        app.control.broadcast("cancel_consumer", arguments={"queue": QUEUE})
        app.control.broadcast("shutdown")
