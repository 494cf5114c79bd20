"""Measure how soon a worker serves an urgent job while a long job keeps it busy.

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

from bench.copies import photos_in
from bench.processes import TAGGER, run, tagger_environment
from bench.report import median, note, print_heading, print_table
from bench.workers import opened_database, running_worker, wait_until_ready
from tagger.database.connection import Database
from tagger.ledger.progress import list_jobs

URGENT = 16
AHEAD = 4
"""Bulk jobs over the folder, so that they outlast the measurement."""
POLL_S = 0.05


@dataclass(frozen=True)
class Served:
    """Seconds from the enqueueing of an urgent job to its first photo and to its last."""

    first_s: float
    last_s: float


def main() -> None:
    """Time urgent jobs during a long one."""
    parser = argparse.ArgumentParser(prog="python -m bench.priorities", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print_heading("Overtaking")
    served = measure(arguments.folder, arguments.rounds)
    print_table(
        ("", "median s", "worst s"),
        [
            (
                "to the first photo",
                median(each.first_s for each in served),
                max(each.first_s for each in served),
            ),
            (
                "to the last photo",
                median(each.last_s for each in served),
                max(each.last_s for each in served),
            ),
        ],
    )
    print(f"{URGENT} photos at a time, {len(served)} times, beside bulk jobs that were not over at the end.")


def measure(folder: Path, rounds: int) -> list[Served]:
    """Time one urgent job per round. Its photos are copies of some of the folder's, byte for byte."""
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as made:
        data = Path(made)
        urgent = data / "urgent"
        urgent.mkdir()
        for photo in photos_in(folder)[:URGENT]:
            shutil.copy(photo, urgent)
        environment = tagger_environment(data)
        with running_worker(data, environment) as process, opened_database(data) as database:
            wait_until_ready(process, database)
            bulk = [
                int(run([*TAGGER, "enqueue", "--again", folder], environment).checked().out)
                for _ in range(AHEAD)
            ]
            served = [_serve(database, urgent, environment) for _ in range(rounds)]
            if list_jobs(database, bulk[-1])[0].is_over:
                raise SystemExit("the bulk jobs were over too soon; name a folder with more photos")
    return served


def _serve(database: Database, urgent: Path, environment: dict[str, str]) -> Served:
    words = ("enqueue", "--again", "--priority", "interactive", urgent)
    job = int(run([*TAGGER, *words], environment).checked().out)
    began = time.monotonic()
    first_s: float | None = None
    while not (progress := list_jobs(database, job)[0]).is_over:
        if first_s is None and progress.done:
            first_s = time.monotonic() - began
        time.sleep(POLL_S)
    last_s = time.monotonic() - began
    note(f"served in {last_s:.1f} s")
    return Served(last_s if first_s is None else first_s, last_s)


if __name__ == "__main__":
    main()
