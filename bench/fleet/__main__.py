"""Measures how the costs of a fleet grow with the number of photos.

    python -m bench.fleet [--photos 100000,1000000] [--stored 0] [--workers 32]

For each number of photos it starts PostgreSQL and Redis with their default settings, records that many photos without files,
and has simulated workers process them twice: messages, claims, leases, stores and sweepers are the real ones, and predictions and
embeddings follow from the photos' numbers, so nothing is read, decoded or classified. Everything shares the cores of this machine. The tables are printed after each
number of photos, with those before it.

With `--stored`, the library has that many photos before, whose rows PostgreSQL makes: `--photos 100000 --stored 0,1000000,10000000`
shows what the same two jobs cost in larger and larger libraries.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from itertools import product

from bench.fleet.measurement import FleetCosts, measure_fleet, percentile
from bench.report import print_heading, print_table

STEPS = {"a claim": "claim_ms", "a stored batch of 128": "store_ms", "a sweep": "sweep_ms"}


def main() -> None:
    """Measure how the costs of a fleet grow with the number of photos."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=main.__doc__)
    parser.add_argument("--photos", default="100000,1000000", help="numbers of photos [100000,1000000]")
    parser.add_argument(
        "--stored", default="0", help="numbers of photos that the library has before, multiples of 40 [0]"
    )
    parser.add_argument("--workers", type=int, default=32, help="simulated workers [32]")
    args = parser.parse_args()
    print_heading("Fleet")
    fleets: list[FleetCosts] = []
    for stored, count in product(_numbers(args.stored), _numbers(args.photos)):
        fleets.append(FleetCosts(count, stored))
        measure_fleet(fleets[-1], args.workers)
        print_costs(fleets)


def _numbers(words: str) -> list[int]:
    return [int(word) for word in words.split(",")]


def print_costs(fleets: Sequence[FleetCosts]) -> None:
    """Print the tables."""
    print(
        "*exponent*: from the last library but one to the last; 1 means that a cost grows as the number does, 0 that it "
        "does not grow.\n"
    )
    by_fleet = [dict(_tables(fleet)) for fleet in fleets]
    for title, costs in by_fleet[-1].items():
        rows = []
        for name in costs:
            values = [tables[title].get(name, 0.0) for tables in by_fleet]
            rows.append([name, *values, _exponent(fleets, values)])
        print_table((title, *(f"{fleet.library:,}" for fleet in fleets), "exponent"), rows)


def _exponent(fleets: Sequence[FleetCosts], values: Sequence[float]) -> str:
    if len(values) < 2 or min(values[-2:]) <= 0 or fleets[-1].library == fleets[-2].library:
        return ""
    growth = math.log(values[-1] / values[-2]) / math.log(fleets[-1].library / fleets[-2].library)
    return f"{growth:.2f}"


def _tables(fleet: FleetCosts) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the title of each table, and the costs in it by name."""
    jobs = fleet.jobs.items()
    yield "seconds", _seconds(fleet)
    yield "photos classified per second", {name: job.photos / job.processing_s for name, job in jobs}
    yield (
        "one step, median and 95th percentile in ms",
        {
            f"{step} ({name}), {part:.0%}": percentile(getattr(job, field), part)
            for name, job in jobs
            for step, field in STEPS.items()
            for part in (0.5, 0.95)
        },
    )
    yield (
        "in Redis at most",
        {
            "messages": max(job.messages for _, job in jobs),
            "KiB": max(job.redis_bytes for _, job in jobs) / 1024,
        },
    )
    yield "bytes per photo", _bytes(fleet)


def _seconds(fleet: FleetCosts) -> dict[str, float]:
    costs = {f"recording {name}": seconds for name, seconds in fleet.recording_s.items()}
    for name, job in fleet.jobs.items():
        costs[f"classifying {name}"] = job.processing_s
        costs[f"classifying {name}, CPU of workers"] = job.workers_cpu_s
        costs[f"classifying {name}, CPU of PostgreSQL"] = job.database_cpu_s
    return {**costs, "locating": fleet.locating_s, "the vacuum at the end": fleet.vacuum_s}


def _bytes(fleet: FleetCosts) -> dict[str, float]:
    costs: dict[str, float] = {}
    for name in sorted(name for name, size in fleet.sizes.items() if size.rows > fleet.library):
        costs[f"`{name}`"] = fleet.sizes[name].rows / fleet.library
        costs[f"indexes of `{name}`"] = fleet.sizes[name].indexes / fleet.library
    costs["all tables after the first job"] = fleet.classified_bytes / fleet.library
    costs["added by classifying again"] = fleet.again_bytes / fleet.photos
    costs["all tables after the vacuum"] = fleet.vacuumed_bytes / fleet.library
    costs["dead rows before the vacuum"] = fleet.dead_rows / fleet.photos
    return costs


if __name__ == "__main__":
    main()
