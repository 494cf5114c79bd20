"""Measures how the costs of a fleet grow with the number of photos.

    python -m bench.fleet [--photos 100000,1000000] [--stored 0] [--workers 32] [--rounds 20]

For each number of photos it starts PostgreSQL and Redis with their default settings, records that many photos without files,
and has simulated workers process them twice: messages, claims, leases, stores and sweepers are the real ones, and predictions and
embeddings follow from the photos' numbers, so nothing is read, decoded or classified. It then measures the queries of
`bench.queries` and the views of `bench.page`. Everything shares the cores of this machine. The tables are printed after each
number of photos, with those before it.

With `--stored`, the library has that many photos before, whose rows PostgreSQL makes: `--photos 100000 --stored 0,1000000,10000000`
shows what the same two jobs cost in larger and larger libraries.
"""

import argparse
from itertools import product

from bench.fleet.measurement import FleetCosts, measure_fleet
from bench.fleet.report import print_costs
from bench.report import print_heading


def main() -> None:
    """Measure how the costs of a fleet grow with the number of photos."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=main.__doc__)
    parser.add_argument("--photos", default="100000,1000000", help="numbers of photos [100000,1000000]")
    parser.add_argument(
        "--stored", default="0", help="numbers of photos that the library has before, multiples of 40 [0]"
    )
    parser.add_argument("--workers", type=int, default=32, help="simulated workers [32]")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of queries and views [20]")
    args = parser.parse_args()
    print_heading("Fleet")
    fleets: list[FleetCosts] = []
    for stored, count in product(_numbers(args.stored), _numbers(args.photos)):
        fleets.append(FleetCosts(count, stored))
        try:
            measure_fleet(fleets[-1], args.workers, args.rounds)
        finally:  # hours of measurements are not lost because a page does not respond
            if fleets[-1].query_ms:
                print_costs(fleets)


def _numbers(words: str) -> list[int]:
    return [int(word) for word in words.split(",")]


if __name__ == "__main__":
    main()
