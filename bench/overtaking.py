"""How soon an urgent job is served while a long one keeps the workers busy.

    python -m bench.overtaking FOLDER [--rounds 5]

One worker is given the folder many times over as a bulk job. In its midst a few photos are enqueued with
`--priority interactive`, and the seconds are counted from the end of that command to the first photo stored, and to the
last.
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
from tagger.database import Database
from tagger.ledger.progress import list_jobs

URGENT = 16
AHEAD = 4
"""Bulk jobs over the folder, so that the work does not end before the measuring does."""
POLL_S = 0.05


@dataclass(frozen=True)
class Served:
    """Seconds from the enqueueing of an urgent job to its first photo and to its last."""

    first_s: float
    last_s: float


def main() -> None:
    """Time urgent jobs amid a long one."""
    parser = argparse.ArgumentParser(prog="python -m bench.overtaking", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    print_heading("Overtaking")
    served = measure(asked.folder, asked.rounds)
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
    """Each round's urgent job has photos of its own, byte for byte some of the folder's."""
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
