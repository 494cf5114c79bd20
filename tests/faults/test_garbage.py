"""Invalid messages in Redis: the worker survives, stores them as dead letters, and processes the next job."""

from support.artifacts import LABELS
from support.commands import draw_many
from support.fault_scenario import FaultScenario, is_alive
from support.invalid_messages import invalid_messages
from support.servers import RedisServer

from worker.celery_app import make_app
from worker.dead_letters import DEAD_LETTERS

QUEUE = "tagger.bulk"


def test_a_worker_survives_invalid_messages(scenario: FaultScenario, redis_server: RedisServer) -> None:
    terminal = scenario.terminal
    draw_many(terminal.folder / "few", len(LABELS))
    with terminal.workers(1) as (worker,), redis_server.client() as client:
        garbage = invalid_messages(client, redis_server.url)
        client.lpush(QUEUE, *garbage)
        terminal.wait_until(
            lambda: client.llen(DEAD_LETTERS) + client.llen(QUEUE) + client.hlen("unacked") >= len(garbage)
        )
        terminal.wait_until(lambda: client.llen(QUEUE) + client.hlen("unacked") == 0)
        assert client.llen(DEAD_LETTERS) == len(garbage)
        assert terminal.json("enqueue", "--wait", "few")["tagged"] == len(LABELS)
        assert is_alive(worker)


def test_broadcasts_are_answered_and_invalid_ones_ignored(
    scenario: FaultScenario, redis_server: RedisServer
) -> None:
    terminal = scenario.terminal
    with terminal.workers(1) as (worker,), redis_server.client() as client:
        for invalid in (b"garbage", b'{"a": 1}', b"[1]", b"5", b"\xff"):
            client.publish("/0.celery.pidbox", invalid)
        app = make_app(redis_server.url)
        terminal.wait_until(lambda: app.control.ping(timeout=2))
        app.close()
        assert is_alive(worker)
