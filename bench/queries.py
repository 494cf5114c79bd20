"""Measures queries in a database of many photos.

    python -m bench.queries [--photos 200000] [--postgres] [--rounds 20]

Creates a database with so many photos and five tags each (see tests/rig/large_library.py) and queries it in this process:
each filter of `tagger query` with --limit 100 and other values in each round.
"""

import argparse
import random
import tempfile
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from statistics import median

from bench.report import note, print_heading, print_table
from tagger.database.connection import Database
from tagger.library.catalog.landmarks import Landmark, all_landmarks
from tagger.library.query.find import find_tagged
from tagger.library.query.option_values import Near
from tagger.library.query.options import PhotoQuery
from tests.rig.large_library import JOBS, ROOT, make_library
from tests.rig.servers import PostgresServer

LIMIT = 100
TRIES = 3
FILTER_TARGET_MS = 50.0
FIRST_TAKEN = datetime(2000, 1, 1)  # noqa: DTZ001 - cameras know no time zone


def main() -> None:
    """Measure queries in a database of many photos."""
    parser = argparse.ArgumentParser(prog="python -m bench.queries", description=main.__doc__)
    parser.add_argument("--photos", type=int, default=200_000, help=f"a multiple of {JOBS}")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--postgres", action="store_true", help="use a temporary PostgreSQL server, not SQLite"
    )
    args = parser.parse_args()
    if args.photos % JOBS:
        parser.error(f"--photos: use a multiple of {JOBS}")
    print_heading("Queries")
    with (
        tempfile.TemporaryDirectory(prefix="tagger-bench-") as name,
        PostgresServer(settings=()) if args.postgres else nullcontext() as server,
    ):
        note("creating the photos")
        url = server.url if server else f"sqlite:///{name}/tagger.sqlite"
        with closing(make_library(url, args.photos)) as database:
            print_filters(database, args.rounds)


def filters(landmarks: list[Landmark], rng: random.Random) -> dict[str, PhotoQuery]:
    """Return one query of each kind with random values."""
    landmark = rng.choice(landmarks)
    centre = rng.choice([each for each in landmarks if each.latitude is not None])
    near = Near(centre.latitude or 0.0, centre.longitude or 0.0, rng.choice((5.0, 50.0, 500.0)))
    country = rng.choice([each.country for each in landmarks if each.country])
    after = FIRST_TAKEN + timedelta(minutes=rng.randrange(1_000_000))
    before = after + timedelta(days=rng.choice((1, 30, 365)))
    year = ROOT / f"y{rng.randrange(2000, 2025)}"
    folder = rng.choice((ROOT, year, year / f"m{rng.randrange(10, 22)}"))
    score = rng.choice((0.5, 0.7, 0.9, 0.95, 0.99))
    queries = {
        "(no filter)": PhotoQuery(),
        "--landmark": PhotoQuery(landmark=(landmark.slug,)),
        "--country": PhotoQuery(country=(country,)),
        "--near": PhotoQuery(near=near),
        "--near --unknown": PhotoQuery(near=near, unknown=True),
        "--near --position neighbour": PhotoQuery(near=near, position="neighbour"),
        "--near --country": PhotoQuery(near=near, country=(centre.country or country,)),
        "--near --taken-…": PhotoQuery(near=near, taken_after=after, taken_before=before),
        "--min-score": PhotoQuery(min_score=score),
        "--min-score 0.9999": PhotoQuery(min_score=0.9999),
        "--under": PhotoQuery(under=(folder,)),
        "--taken-after": PhotoQuery(taken_after=after),
        "--taken-before": PhotoQuery(taken_before=after),
        "--taken-after --taken-before": PhotoQuery(taken_after=after, taken_before=before),
        "--unknown": PhotoQuery(unknown=True),
        "--unknown, by score": PhotoQuery(unknown=True, sort="score"),
        "--dismissed": PhotoQuery(dismissed=True),
        "--untagged": PhotoQuery(untagged=True),
        "--model": PhotoQuery(model="older"),
        "--any-rank": PhotoQuery(any_rank=True),
        "--landmark --any-rank": PhotoQuery(landmark=(landmark.slug,), any_rank=True),
        "--landmark --min-score": PhotoQuery(landmark=(landmark.slug,), min_score=score),
        "--landmark --under": PhotoQuery(landmark=(landmark.slug,), under=(year,)),
        "--landmark --taken-…": PhotoQuery(landmark=(landmark.slug,), taken_after=after, taken_before=before),
        "--country --taken-…": PhotoQuery(country=(country,), taken_after=after, taken_before=before),
        "--unknown --under": PhotoQuery(unknown=True, under=(folder,)),
        "--untagged --under": PhotoQuery(untagged=True, under=(folder,)),
    }
    return {name: replace(query, limit=LIMIT) for name, query in queries.items()}


def print_filters(database: Database, rounds: int) -> None:
    """Print the times of each filter."""
    with database.read() as connection:
        landmarks = all_landmarks(connection)
    rng = random.Random(0)
    times: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for _ in range(rounds):
        for name, query in filters(landmarks, rng).items():
            query_ms, count = min(_timed(database, query) for _ in range(TRIES))
            times.setdefault(name, []).append(query_ms)
            counts[name] = max(counts.get(name, 0), count)
    columns = ("median ms", "95th percentile ms", "maximum ms", "maximum photos", "within 50 ms")
    rows = []
    for name, ordered in ((name, sorted(each)) for name, each in times.items()):
        slow = ordered[int(0.95 * (len(ordered) - 1))]
        is_within = "yes" if slow <= FILTER_TARGET_MS else "**no**"
        rows.append((name, median(ordered), slow, ordered[-1], counts[name], is_within))
    print_table(("`tagger query … --limit 100`", *columns), rows)
    print(
        f"Each time is the minimum of {TRIES} runs, because other load on the machine slows some down.\n",
        flush=True,
    )


def _timed(database: Database, query: PhotoQuery) -> tuple[float, int]:
    """Run a query; return its milliseconds and the number of photos."""
    start = time.perf_counter()
    count = sum(1 for _ in find_tagged(database, query))
    return (time.perf_counter() - start) * 1000, count


if __name__ == "__main__":
    main()
