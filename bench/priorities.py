"""Measures how soon a worker serves an urgent job while a long job keeps it busy.

    python -m bench.priorities FOLDER [--rounds 5]

One worker processes several bulk jobs over the folder. Meanwhile a few photos are enqueued with
`--priority interactive`. The result is the time in seconds from the end of that command to the first stored photo, and
to the last.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.photos import photos_in
from bench.processes import TAGGER, run, tagger_environment
from bench.report import note, print_heading, print_table
from bench.workers import running_worker, wait_until_ready, worker_database
from tagger.database.connection import Database
from tagger.ledger.progress import list_jobs

URGENT_PHOTOS = 16
BULK_JOBS = 4
"""The number of bulk jobs over the folder; they must outlast the measurement."""
POLL_S = 0.05


@dataclass(frozen=True)
class Latency:
    """Seconds from the enqueueing of an urgent job to its first photo and to its last."""

    first_s: float
    last_s: float


def main() -> None:
    """Time urgent jobs during a long one."""
    parser = argparse.ArgumentParser(prog="python -m bench.priorities", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print_heading("Priorities")
    latencies = measure(args.folder, args.rounds)
    rows = []
    for name, times_s in (
        ("to the first photo", [each.first_s for each in latencies]),
        ("to the last photo", [each.last_s for each in latencies]),
    ):
        rows.append((name, median(times_s), max(times_s)))
    print_table(("", "median s", "maximum s"), rows)
    print(f"{len(latencies)} jobs of {URGENT_PHOTOS} photos, enqueued during bulk jobs.")


def measure(folder: Path, rounds: int) -> list[Latency]:
    """Time one urgent job per round. Its photos are copies of some of the folder's, byte for byte."""
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        data = Path(name)
        urgent = data / "urgent"
        urgent.mkdir()
        for photo in photos_in(folder)[:URGENT_PHOTOS]:
            shutil.copy(photo, urgent)
        environment = tagger_environment(data)
        with running_worker(data, environment) as process, worker_database(data) as database:
            wait_until_ready(process, database)
            bulk = [
                int(run([*TAGGER, "enqueue", "--again", folder], environment).checked().out)
                for _ in range(BULK_JOBS)
            ]
            latencies = [_run_urgent_job(database, urgent, environment) for _ in range(rounds)]
            if list_jobs(database, bulk[-1])[0].is_over:
                raise SystemExit("the bulk jobs were over too soon; name a folder with more photos")
    return latencies


def _run_urgent_job(database: Database, urgent: Path, environment: dict[str, str]) -> Latency:
    command = ("enqueue", "--again", "--priority", "interactive", urgent)
    job = int(run([*TAGGER, *command], environment).checked().out)
    start = time.monotonic()
    first_s: float | None = None
    while not (progress := list_jobs(database, job)[0]).is_over:
        if first_s is None and progress.done:
            first_s = time.monotonic() - start
        time.sleep(POLL_S)
    last_s = time.monotonic() - start
    note(f"finished in {last_s:.1f} s")
    return Latency(last_s if first_s is None else first_s, last_s)


if __name__ == "__main__":
    main()
