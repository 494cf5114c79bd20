"""Measures the cost of recording a job over many photos and of sending its messages. No worker runs.

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
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import update

from bench.options import add_database_options, database_url
from bench.processes import TAGGER, Finished, run, tagger_environment
from bench.report import note, print_heading, print_table
from tagger.database.connection import Database, open_database
from tagger.database.tables import chunks
from tagger.ledger.progress import list_jobs
from tagger.settings import load_settings
from tests.rig.servers import RedisServer
from worker.broker import Broker, find_broker
from worker.celery_config import QUEUES
from worker.producer import try_publish

PER_FOLDER = 1000
STATUS_ROUNDS = 5


@dataclass(frozen=True)
class EnqueueRun:
    """A command that recorded a job; and sending its messages alone, measured afterwards."""

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
    add_database_options(parser)
    args = parser.parse_args()
    print_heading("Enqueueing")
    with (
        tempfile.TemporaryDirectory(prefix="tagger-bench-") as name,
        database_url(args, Path(name) / "tagger.sqlite") as url,
    ):
        folder = Path(name) / "photos"
        note(f"creating {args.photos} files")
        make_files(folder, args.photos)
        measure(folder, tagger_environment(Path(name) / "data", database_url=url), url)


def make_files(folder: Path, count: int) -> None:
    """Create files that a scan takes for photos, `PER_FOLDER` in each subfolder."""
    for number in range(count):
        if number % PER_FOLDER == 0:
            subfolder = folder / f"{number // PER_FOLDER:05}"
            subfolder.mkdir(parents=True)
        (subfolder / f"IMG_{number:07}.jpg").write_bytes(b"never decoded")


def measure(folder: Path, environment: Mapping[str, str], url: str) -> None:
    """Record jobs over a folder, and print their costs and the time that the status takes afterwards."""
    run([*TAGGER, "db", "upgrade"], environment).checked()
    # The first command registers the model, which is not part of the measurement.
    run([*TAGGER, "model", "list"], environment).checked()
    runs = []
    for arguments in (
        ("backfill", "untagged", "--scan", folder),
        ("enqueue", folder),
        ("backfill", "untagged"),
        ("backfill", "all"),
    ):
        note(f"tagger {' '.join(map(str, arguments))}")
        runs.append(_record(arguments, environment, url))
    _print_runs(runs)
    _print_dry_run(environment)
    _print_status(environment, url)


def _record(arguments: Sequence[str | Path], environment: Mapping[str, str], url: str) -> EnqueueRun:
    name = " ".join("FOLDER" if isinstance(each, Path) else each for each in arguments)
    with RedisServer() as server:
        command = run([*TAGGER, *arguments, "--json"], {**environment, "TAGGER_REDIS_URL": server.url})
        job = json.loads(command.checked().out)["job"]
        broker = find_broker(load_settings(redis_url=server.url), start=False)
        with closing(open_database(url)) as database:
            send_s, messages, redis_bytes = _send_again(database, broker, job)
            photos = list_jobs(database, job)[0].total
    return EnqueueRun(name, photos, command, send_s, messages, redis_bytes)


def _send_again(database: Database, broker: Broker, job: int) -> tuple[float, int, int]:
    """Return the seconds, the number of messages, and the bytes that they occupy in Redis."""
    with database.write() as connection:
        connection.execute(update(chunks).where(chunks.c.job_id == job).values(sent_at=None))
    with broker.client() as client:
        client.flushall()
        before = client.info("memory")["used_memory"]
        start = time.monotonic()
        problem = try_publish(database, broker, job)
        send_s = time.monotonic() - start
        if problem:
            raise SystemExit(problem)
        messages = sum(client.llen(queue) for queue in QUEUES.values())
        return send_s, messages, client.info("memory")["used_memory"] - before


def _print_runs(runs: list[EnqueueRun]) -> None:
    names = (
        "",
        "photos",
        "recording s",
        "photos/s",
        "CPU s",
        "peak MiB",
        "sending alone s",
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
            for each in runs
        ],
    )
    print(
        "*recording* is the whole command: Python's start, scanning, storing photos, items and chunks, and sending.\n",
        flush=True,
    )


def _print_dry_run(environment: Mapping[str, str]) -> None:
    times_s = [
        run([*TAGGER, "backfill", "untagged", "--dry-run"], environment).checked().usage.wall_s
        for _ in range(STATUS_ROUNDS)
    ]
    print(
        f"`tagger backfill untagged --dry-run` takes {median(times_s):.2f} s (median of {STATUS_ROUNDS}).\n",
        flush=True,
    )


def _print_status(environment: Mapping[str, str], url: str) -> None:
    times_ms = []
    with closing(open_database(url)) as database:
        for _ in range(STATUS_ROUNDS):
            start = time.monotonic()
            jobs = list_jobs(database)
            times_ms.append((time.monotonic() - start) * 1000)
    with RedisServer() as server:
        command = run(
            [*TAGGER, "status", "--json"], {**environment, "TAGGER_REDIS_URL": server.url}
        ).checked()
    print(
        f"Status of {len(jobs)} jobs over {sum(job.total for job in jobs)} photos: the query {median(times_ms):.1f} ms "
        f"(median of {STATUS_ROUNDS}), `tagger status` {command.usage.wall_s:.2f} s.\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
