"""Workers and beat as others see them, by the database's clock: heartbeats, chunks in progress, ticks, and chunks that fail repeatedly."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, func, select, update

from tagger.database.connection import Database
from tagger.database.enums import Note, NoteCode, has_code, note_columns
from tagger.database.statements import current_time, db_now, insert_missing
from tagger.database.tables import chunks, ledgers, schedules, workers
from tagger.ledger.dispatch import WORKER_TIMEOUT_S
from tagger.system.documents import document_of

SILENT_WORKER_S = 600.0
"""How long a silent worker without chunks is reported. Others have taken over its work long before."""


@dataclass(frozen=True)
class WorkerStatus:
    """An active worker, how many chunks it processes, why it starts no work now, in words and as a message, and its rate in the last half minute.

    The rate is None before it is known.
    """

    name: str
    device: str
    started_at: datetime
    seen_seconds_ago: float
    chunks: int
    waits_for: str | None = None
    waits_for_message: Mapping[str, Any] | None = None
    photos_per_second: float | None = None

    @property
    def is_starting(self) -> bool:
        return has_code(self.waits_for, self.waits_for_message, NoteCode.STARTING)


@dataclass(frozen=True)
class DeviceStatus:
    """The active workers of one kind of device together."""

    device: str
    workers: int
    photos_per_second: float


def record_heartbeat(
    database: Database,
    name: str,
    device: str,
    waits_for: Note | None = None,
    photos_per_second: float | None = None,
) -> None:
    """Record that the worker is alive, why it starts no work now, and its rate. Its first heartbeat adds it."""
    state = {
        "device": device,
        "heartbeat_at": db_now(),
        "photos_per_second": photos_per_second,
    } | note_columns(waits_for, "waits_for")
    with database.write() as connection:
        started_at = current_time(connection)
        row = {"name": name, "device": device, "started_at": started_at, "heartbeat_at": 0.0}
        insert_missing(connection, workers, [row])
        connection.execute(update(workers).where(workers.c.name == name).values(state))


def remove_worker(database: Database, name: str) -> None:
    """Remove a worker that shuts down."""
    with database.write() as connection:
        connection.execute(delete(workers).where(workers.c.name == name))


def list_workers(database: Database) -> list[WorkerStatus]:
    """The active workers, by name."""
    age = (db_now() - workers.c.heartbeat_at).label("age")
    query = select(workers, age).where(age < WORKER_TIMEOUT_S).order_by(workers.c.name)
    is_claimed = (chunks.c.done.is_(False), chunks.c.lease_until > db_now())
    counts = select(chunks.c.worker, func.count().label("claimed")).where(*is_claimed)
    with database.read() as connection:
        rows = connection.execute(query).all()
        claimed = {row.worker: row.claimed for row in connection.execute(counts.group_by(chunks.c.worker))}
    return [
        document_of(
            WorkerStatus, row, seen_seconds_ago=max(0.0, float(row.age)), chunks=claimed.get(row.name, 0)
        )
        for row in rows
    ]


def by_device(active: Iterable[WorkerStatus]) -> list[DeviceStatus]:
    """The workers of each kind of device, the fastest kind first."""
    groups: dict[str, list[WorkerStatus]] = {}
    for worker in active:
        groups.setdefault(worker.device, []).append(worker)
    kinds = [
        DeviceStatus(device, len(group), sum(worker.photos_per_second or 0.0 for worker in group))
        for device, group in groups.items()
    ]
    return sorted(kinds, key=lambda kind: (-kind.photos_per_second, kind.device))


def silent_workers(database: Database) -> list[Row[Any]]:
    """The workers that sent no heartbeat for WORKER_TIMEOUT_S and did not shut down, the longest silent first.

    Only those that hold chunks, or fell silent in the last SILENT_WORKER_S. Each row has `name`, `silent_s` and `claimed`.
    """
    claimed = (
        select(func.count())
        .where(chunks.c.worker == workers.c.name, chunks.c.lease_until.is_not(None))
        .scalar_subquery()
    )
    silent = (db_now() - workers.c.heartbeat_at).label("silent_s")
    query = select(workers.c.name, silent, claimed.label("claimed")).where(silent > WORKER_TIMEOUT_S)
    with database.read() as connection:
        rows = connection.execute(query.order_by(silent.desc())).all()
    return [row for row in rows if row.claimed or row.silent_s < SILENT_WORKER_S]


LATE_TICK_S = 180.0
"""Beat sends a tick every 20 s, and a worker takes it between two chunks."""


@dataclass(frozen=True)
class LastTick:
    """The last tick that a worker executed; None before the first one. `is_late`: no tick came for LATE_TICK_S."""

    at: datetime | None
    seconds_ago: float | None
    is_late: bool


def record_tick(database: Database) -> None:
    """Record that a worker executes a tick now."""
    with database.write() as connection:
        connection.execute(update(ledgers).values(last_tick_at=db_now()))


def find_last_tick(database: Database) -> LastTick | None:
    """The last tick; None if no schedule is enabled, as ticks then have nothing to start."""
    last_tick_at = select(ledgers.c.last_tick_at).scalar_subquery()
    query = select(
        db_now().label("now"), last_tick_at.label("tick"), func.min(schedules.c.created_at).label("added")
    ).where(schedules.c.paused.is_(False))
    with database.read() as connection:
        row = connection.execute(query).one()
    if row.added is None:
        return None
    if row.tick is None:
        return LastTick(None, None, row.now - row.added.timestamp() > LATE_TICK_S)
    seconds_ago = max(0.0, row.now - row.tick)
    return LastTick(datetime.fromtimestamp(row.tick, UTC), seconds_ago, seconds_ago > LATE_TICK_S)
