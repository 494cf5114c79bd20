"""Checks whether a worker's memory grows when it classifies the same photos again and again.

    python -m bench.memory FOLDER --photos 50000

The first round is the warm-up, in which allocators and caches fill. The result is the difference between the end of the first
and of the last round.
"""

import argparse
import tempfile
from pathlib import Path

from bench.photos import photos_in
from bench.process_tree import resident_mib
from bench.processes import TAGGER, run, tagger_environment
from bench.report import note, print_heading, print_table
from bench.workers import running_worker, wait_until_finished, wait_until_ready, worker_database

ROWS = 10


def main() -> None:
    """Print a worker's memory after each round."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--photos", type=int, default=50_000, help="photos in total [50000]")
    args = parser.parse_args()
    per_round = len(photos_in(args.folder))
    print_heading("A worker's memory")
    sizes_mib = measure(args.folder, -(-args.photos // per_round))
    step = max(1, len(sizes_mib) // ROWS)
    shown = sorted({*range(0, len(sizes_mib), step), len(sizes_mib) - 1})
    print_table(
        ("photos classified", "resident MiB"),
        [((number + 1) * per_round, sizes_mib[number]) for number in shown],
    )
    print(f"From the end of the first round to the end of the last: {sizes_mib[-1] - sizes_mib[0]:+.0f} MiB.")


def measure(folder: Path, rounds: int) -> list[float]:
    """Return the worker's resident MiB after each round."""
    sizes_mib = []
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        data = Path(name)
        environment = tagger_environment(data)
        with running_worker(data, environment) as process, worker_database(data) as database:
            wait_until_ready(process, database)
            for number in range(rounds):
                enqueued = run([*TAGGER, "enqueue", "--again", folder], environment).checked()
                wait_until_finished(process, database, int(enqueued.out))
                sizes_mib.append(resident_mib(process.pid))
                note(f"round {number + 1} of {rounds}: {sizes_mib[-1]:.0f} MiB")
    return sizes_mib


if __name__ == "__main__":
    main()
