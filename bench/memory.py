"""Checks whether a worker's memory grows when it classifies the same photos again and again.

    python -m bench.memory FOLDER --photos 50000

The first round is the warm-up, in which allocators and caches fill. The result is the difference between the end of the first
and of the last round.
"""

import argparse
import tempfile
from pathlib import Path

from bench.copies import photos_in
from bench.processes import TAGGER, resident_mib, run, tagger_environment
from bench.report import note, print_heading, print_table
from bench.workers import opened_database, running_worker, wait_until_finished, wait_until_ready

ROWS = 10


def main() -> None:
    """Print a worker's memory after each round."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--photos", type=int, default=50_000, help="photos in total [50000]")
    args = parser.parse_args()
    per_round = len(photos_in(args.folder))
    print_heading("A worker's memory")
    measured = measure(args.folder, -(-args.photos // per_round))
    step = max(1, len(measured) // ROWS)
    shown = sorted({*range(0, len(measured), step), len(measured) - 1})
    print_table(
        ("photos classified", "resident MiB"),
        [((number + 1) * per_round, measured[number]) for number in shown],
    )
    print(f"From the end of the first round to the end of the last: {measured[-1] - measured[0]:+.0f} MiB.")


def measure(folder: Path, rounds: int) -> list[float]:
    """Return the worker's resident MiB after each round."""
    measured = []
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as made:
        data = Path(made)
        environment = tagger_environment(data)
        with running_worker(data, environment) as process, opened_database(data) as database:
            wait_until_ready(process, database)
            for number in range(rounds):
                enqueued = run([*TAGGER, "enqueue", "--again", folder], environment).checked()
                wait_until_finished(process, database, int(enqueued.out))
                measured.append(resident_mib(process.pid))
                note(f"round {number + 1} of {rounds}: {measured[-1]:.0f} MiB")
    return measured


if __name__ == "__main__":
    main()
