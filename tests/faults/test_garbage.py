"""Invalid messages and foreign commands in Redis: the worker survives, and processes the next job."""

from contextlib import closing

import pytest
from rig.invalid_messages import invalid_messages
from rig.servers import RedisServer
from support.artifacts import LABELS
from support.commands import draw_many
from support.fault_scenario import FaultScenario, is_alive

from tagger.database.enums import Priority
from worker.producer import make_app
from worker.redis_keys import RedisKeys

pytestmark = pytest.mark.slow


def test_a_worker_survives_invalid_messages(scenario: FaultScenario, redis_server: RedisServer) -> None:
    terminal = scenario.terminal
    draw_many(terminal.folder / "few", len(LABELS))
    with terminal.workers(1) as (worker,), redis_server.client() as client:
        assert client.pubsub_numpat() == 0  # it listens to no channel
        with terminal.database() as database:
            keys = RedisKeys(database.ledger_id)
        queue = keys.queues[Priority.BULK]
        _send_commands(redis_server.url, keys)
        client.lpush(queue, *invalid_messages(client, redis_server.url, keys))
        terminal.wait_until(lambda: client.llen(queue) + client.hlen(keys.unacked) == 0)
        assert terminal.json("enqueue", "--wait", "few")["tagged"] == len(LABELS)
        assert is_alive(worker)


def _send_commands(url: str, keys: RedisKeys) -> None:
    """Commands of Celery's remote control, which any client of Redis can send."""
    with closing(make_app(url, keys)) as app:
        app.control.broadcast("cancel_consumer", arguments={"queue": keys.ticks})
        app.control.broadcast("shutdown")
