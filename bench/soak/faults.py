"""The kinds of faults, and the order they strike in: random by a seed, and in turn, so that none is forgotten."""

import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import select

from bench.soak.stage import Stage
from bench.soak.supervisor import Life
from bench.soak.watch import Watch
from tagger.database.tables import JobState, chunks, jobs
from tests.support.servers import PostgresServer
from worker.celery_app import make_app
from worker.messages import TASK_NAME, ChunkMessage

QUIET_S = (5.0, 18.0)
"""The least and the longest time between two faults."""
FROZEN_WORKER_S = 55.0
"""Longer than a lease and a sweep."""
FROZEN_REDIS_S = 25.0
AWAY_S = 30.0
LOCKED_S = 20.0
FOLDER_AWAY_S = 15.0
MODEL_WRONG_S = 12.0
BUSY_WITHIN_S = 20.0


@dataclass(frozen=True)
class Breaker:
    """What faults work on; they wait by `pause`, so that a soak that ends early ends them early."""

    stage: Stage
    watch: Watch
    chance: random.Random

    def pause(self, seconds: float) -> None:
        self.stage.ending.wait(seconds)

    def some_worker(self) -> Life | None:
        """One that has photos in hand, if one comes to have some."""
        until = time.monotonic() + BUSY_WITHIN_S
        while not (busy := self._busy()) and time.monotonic() < until:
            self.pause(0.1)
        alive = busy or self.stage.workers.alive()
        return self.chance.choice(alive) if alive else None

    def _busy(self) -> list[Life]:
        return [life for life in self.stage.workers.alive() if self.watch.in_hand([life])]


Fault = Callable[[Breaker], None]


def strike_in_turn(breaker: Breaker, until: float) -> Iterator[str]:
    """Strike until the time has come, in an order of its own each round; yields the name of each fault that struck."""
    kinds = kinds_for(breaker.stage)
    while True:
        for name in breaker.chance.sample(sorted(kinds), len(kinds)):
            breaker.pause(breaker.chance.uniform(*QUIET_S))
            if breaker.stage.ending.is_set() or time.monotonic() > until:
                return
            kinds[name](breaker)
            yield name


def kinds_for(stage: Stage) -> dict[str, Fault]:
    """The faults by name: those of this stage's database among them."""
    return _EVERYWHERE | (_ON_SQLITE if stage.postgres is None else _ON_POSTGRES)


def worker_killed(breaker: Breaker) -> None:
    if life := breaker.some_worker():
        breaker.watch.killed("one worker", [life])


def all_workers_killed(breaker: Breaker) -> None:
    breaker.some_worker()  # waits until there is work to be lost
    breaker.watch.killed("every worker", breaker.stage.workers.alive())


def worker_stopped(breaker: Breaker) -> None:
    if life := breaker.some_worker():
        life.process.send_signal(signal.SIGTERM)


def worker_frozen(breaker: Breaker) -> None:
    if life := breaker.some_worker():
        breaker.watch.freezes += 1
        life.process.send_signal(signal.SIGSTOP)
        breaker.pause(FROZEN_WORKER_S)
        life.process.send_signal(signal.SIGCONT)


def redis_killed(breaker: Breaker) -> None:
    breaker.stage.redis.kill()
    breaker.stage.redis.start()


def redis_forgetful(breaker: Breaker) -> None:
    breaker.stage.redis.kill_and_erase()
    breaker.stage.redis.start()


def redis_flushed(breaker: Breaker) -> None:
    breaker.stage.redis.flush()


def redis_away(breaker: Breaker) -> None:
    breaker.stage.redis.stop()
    breaker.pause(AWAY_S)
    breaker.stage.redis.start()


def redis_frozen(breaker: Breaker) -> None:
    breaker.stage.redis.pause()
    breaker.pause(FROZEN_REDIS_S)
    breaker.stage.redis.resume()


def messages_twice(breaker: Breaker) -> None:
    """The messages of everything that is not over come once more, also of chunks in hand or done."""
    stage = breaker.stage
    query = select(chunks.c.job_id, chunks.c.chunk).join(jobs, jobs.c.id == chunks.c.job_id)
    with stage.database.read() as connection:
        rows = connection.execute(query.where(jobs.c.state == JobState.RUNNING)).all()
    app = make_app(stage.redis.url)
    for row in rows:
        message = ChunkMessage(ledger=stage.database.ledger_id, job=row.job_id, chunk=row.chunk)
        app.send_task(TASK_NAME, args=[message.body()], queue="tagger.bulk")
    app.close()


def folder_away(breaker: Breaker) -> None:
    with breaker.stage.photos_in_use:
        away = breaker.stage.photos.rename(breaker.stage.folder / "unmounted")
        breaker.pause(FOLDER_AWAY_S)
        away.rename(breaker.stage.photos)


def model_replaced(breaker: Breaker) -> None:
    """Whoever starts meanwhile refuses; the others go on with what they have loaded."""
    right = breaker.stage.model.read_bytes()
    wrong = breaker.stage.folder / "wrong.pt"
    wrong.write_bytes(b"no model")
    wrong.replace(breaker.stage.model)
    worker_killed(breaker)
    breaker.pause(MODEL_WRONG_S)
    wrong.write_bytes(right)
    wrong.replace(breaker.stage.model)


def sqlite_locked(breaker: Breaker) -> None:
    with closing(sqlite3.connect(breaker.stage.folder / "tagger.sqlite", timeout=60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        breaker.pause(LOCKED_S)
        connection.rollback()


def postgres_restarted(breaker: Breaker) -> None:
    _postgres(breaker).stop()
    _postgres(breaker).start()


def postgres_crashed(breaker: Breaker) -> None:
    _postgres(breaker).kill()
    _postgres(breaker).start()


def postgres_away(breaker: Breaker) -> None:
    _postgres(breaker).stop()
    breaker.pause(AWAY_S)
    _postgres(breaker).start()


def _postgres(breaker: Breaker) -> PostgresServer:
    if breaker.stage.postgres is None:
        raise RuntimeError("this stage has no PostgreSQL")
    return breaker.stage.postgres


_EVERYWHERE: dict[str, Fault] = {
    "a worker killed": worker_killed,
    "every worker killed": all_workers_killed,
    "a worker told to stop": worker_stopped,
    "a worker frozen beyond its lease": worker_frozen,
    "Redis killed, back with what it held": redis_killed,
    "Redis killed, back without its files": redis_forgetful,
    "Redis flushed": redis_flushed,
    "Redis away": redis_away,
    "Redis frozen": redis_frozen,
    "messages sent twice": messages_twice,
    "the folder of photos away": folder_away,
    "the model file replaced and a worker killed": model_replaced,
}
_ON_SQLITE: dict[str, Fault] = {"SQLite locked by another process": sqlite_locked}
_ON_POSTGRES: dict[str, Fault] = {
    "PostgreSQL restarted": postgres_restarted,
    "PostgreSQL crashed": postgres_crashed,
    "PostgreSQL away": postgres_away,
}
