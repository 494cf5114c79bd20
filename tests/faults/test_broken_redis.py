"""Redis is only transport: whatever becomes of it in the middle of a job, the job comes to its end."""

import time
from collections.abc import Callable

import pytest
from commands import draw_many
from ordeal import Ordeal
from pace import Pace
from servers import RedisServer


def _killed(redis: RedisServer, pace: Pace) -> None:
    redis.kill()
    redis.start()


def _killed_and_forgetful(redis: RedisServer, pace: Pace) -> None:
    redis.kill_and_forget()
    redis.start()


def _flushed(redis: RedisServer, pace: Pace) -> None:
    redis.flush()


def _frozen(redis: RedisServer, pace: Pace) -> None:
    redis.pause()
    time.sleep(pace.frozen_s)
    redis.resume()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(_killed, id="killed, and back with what it held"),
        pytest.param(_killed_and_forgetful, id="killed, and back without its files"),
        pytest.param(_flushed, id="flushed"),
        pytest.param(_frozen, id="frozen"),
    ],
)
def test_a_job_ends_well_though_redis_was(
    ordeal: Ordeal, redis_server: RedisServer, pace: Pace, fault: Callable[[RedisServer, Pace], None]
) -> None:
    with ordeal.terminal.workers(1) as (worker,):
        job = ordeal.enqueue()
        ordeal.wait_for_some(job)
        fault(redis_server, pace)
        ordeal.ends_well(job)
        # The worker has come through it, and takes what is enqueued next.
        again = ordeal.enqueue("--again")
        ordeal.ends_well(again)
        assert worker.poll() is None


def test_what_is_enqueued_while_redis_is_away_is_done_when_it_is_back(
    ordeal: Ordeal, redis_server: RedisServer, pace: Pace
) -> None:
    with ordeal.terminal.workers(1) as (worker,):
        job = ordeal.enqueue()
        ordeal.wait_for_some(job)
        redis_server.stop()
        recorded = ordeal.terminal.run("enqueue", "--again", ordeal.folder)
        assert "does not answer" in recorded.stderr
        time.sleep(pace.away_s)
        redis_server.start()
        ordeal.ends_well(job, int(recorded.stdout))
        assert worker.poll() is None


def test_a_worker_outlives_a_redis_that_is_killed_while_it_asks_for_more(
    ordeal: Ordeal, redis_server: RedisServer
) -> None:
    terminal = ordeal.terminal
    draw_many(terminal.folder / "few", 30)
    terminal.inject(slow_pass_s="0.6")
    with terminal.workers(1) as (worker,):
        for _ in range(3):
            # One chunk in hand, whose message is not acknowledged, and room for another.
            job = int(terminal.run("enqueue", "--again", "few").stdout)
            terminal.wait_until(lambda job=job: terminal.progress(job).running > 0)
            redis_server.kill()
            time.sleep(0.5)  # connections are refused
            redis_server.start()
            terminal.wait_until(lambda job=job: terminal.progress(job).is_over)
            assert worker.poll() is None, ordeal.log[-2000:]
