"""Measures queries in a database of many photos.

    python -m bench.queries [--photos 200000] [--postgres | --database-url URL | --keep FOLDER] [--rounds 20] [--all-photos]

Creates a database with so many photos and five tags each (see tests/rig/large_library.py) and queries it in this process:
each filter of `tagger query` with --limit 100 and other values in each round, the first row of each format without a limit, and
the queries of `landmarks` and `status`, and searches of the page. `--all-photos` also runs the real command without a limit in each format, and prints its
peak memory. A database from an earlier run with as many photos is used again.
"""

import argparse
import io
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing, redirect_stdout, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from bench.options import add_database_options, database_url
from bench.processes import TAGGER, run, tagger_environment
from bench.report import note, print_heading, print_table
from tagger.catalog.landmarks import Landmark, all_landmarks
from tagger.catalog.registered_models import resolve_model
from tagger.cli.output.formats import Format
from tagger.cli.output.photos import write_photos
from tagger.database.connection import Database
from tagger.ledger.progress import list_jobs
from tagger.ledger.workers import list_workers
from tagger.places.look_alikes import find_look_alikes
from tagger.query.find import find_tagged
from tagger.query.landmark_counts import landmark_counts
from tagger.query.options import Near, PhotoQuery
from tagger.web.pages.overview import LibraryOverview
from tagger.web.search_lists import SearchLists
from tests.rig.large_library import JOBS, ROOT, make_library

LIMIT = 100
TRIES = 3
FILTER_TARGET_MS = 50.0
FIRST_ROW_TARGET_MS = 200.0
STREAMED_FORMATS = (Format.NDJSON, Format.JSON, Format.CSV, Format.PATHS, Format.GEOJSON)
SEARCHES = {
    "landmark": "tour eiffel",
    "landmark, typing error": "eifel",
    "country": "UK",
    "city": "marseille",
    "date": "May 2019",
    "folder": "y2003",
    "file": "img_1050",
    "one letter": "a",
    "nothing": "xqzwv",
}
"""A text to search for, by what it finds."""
FIRST_TAKEN = datetime(2000, 1, 1)  # noqa: DTZ001 - cameras know no time zone


def main() -> None:
    """Measure queries in a database of many photos."""
    parser = argparse.ArgumentParser(prog="python -m bench.queries", description=main.__doc__)
    parser.add_argument("--photos", type=int, default=200_000, help=f"a multiple of {JOBS}")
    parser.add_argument("--rounds", type=int, default=20)
    group = add_database_options(parser)
    group.add_argument("--keep", type=Path, help="keep the SQLite file in this folder for the next run")
    parser.add_argument("--all-photos", action="store_true", help="also print all photos in each format")
    args = parser.parse_args()
    if args.photos % JOBS:
        parser.error(f"--photos: use a multiple of {JOBS}")
    print_heading("Queries")
    with (
        tempfile.TemporaryDirectory(prefix="tagger-bench-") as name,
        database_url(args, (args.keep or Path(name)) / f"{args.photos}.sqlite") as url,
    ):
        note("creating the photos, unless they exist")
        start = time.monotonic()
        with closing(make_library(url, args.photos)) as database:
            note(f"created in {time.monotonic() - start:.0f} s")
            print_filters(database, args.rounds)
            print_first_rows(database, args.rounds)
            print_overviews(database)
            print_searches(database, args.rounds)
        if args.all_photos:
            print_all_photos(url)


def filters(landmarks: list[Landmark], rng: random.Random, root: Path = ROOT) -> dict[str, PhotoQuery]:
    """Return one query of each kind with random values; `root` has the folders of photos."""
    landmark = rng.choice(landmarks)
    centre = rng.choice([each for each in landmarks if each.latitude is not None])
    near = Near(centre.latitude or 0.0, centre.longitude or 0.0, rng.choice((5.0, 50.0, 500.0)))
    country = rng.choice([each.country for each in landmarks if each.country])
    after = FIRST_TAKEN + timedelta(minutes=rng.randrange(1_000_000))
    before = after + timedelta(days=rng.choice((1, 30, 365)))
    year = root / f"y{rng.randrange(2000, 2025)}"
    folder = rng.choice((root, year, year / f"m{rng.randrange(10, 22)}"))
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
            query_ms, count = min(_timed(partial(_count, database, query)) for _ in range(TRIES))
            times.setdefault(name, []).append(query_ms)
            counts[name] = max(counts.get(name, 0), count)
    rows = (
        [name, *_summary(each), counts[name], _is_within(each, FILTER_TARGET_MS)]
        for name, each in times.items()
    )
    columns = ("median ms", "95th percentile ms", "maximum ms", "maximum photos", "within 50 ms")
    print_table(("`tagger query … --limit 100`", *columns), rows)
    print(
        f"Each time is the minimum of {TRIES} runs, because other load on the machine slows some down.\n",
        flush=True,
    )


def _count(database: Database, query: PhotoQuery) -> int:
    return sum(1 for _ in find_tagged(database, query))


def print_first_rows(database: Database, rounds: int) -> None:
    """Print the time until the first row of all photos is written."""
    times = {
        output_format: [
            min(_first_row_ms(database, output_format) for _ in range(TRIES)) for _ in range(rounds)
        ]
        for output_format in STREAMED_FORMATS
    }
    rows = (
        [f"`{name}`", *_summary(each), _is_within(each, FIRST_ROW_TARGET_MS)] for name, each in times.items()
    )
    print_table(
        ("first row of all photos", "median ms", "95th percentile ms", "maximum ms", "within 200 ms"), rows
    )


def print_overviews(database: Database) -> None:
    """Print the times of commands that count all photos."""
    jobs_ms, jobs = _timed(lambda: len(list_jobs(database)) + len(list_workers(database)))
    counts_ms, counts = _timed(lambda: len(landmark_counts(database)))
    country_ms, in_country = _timed(lambda: len(landmark_counts(database, "France")))
    rows = [
        ["`status`", jobs_ms, jobs],
        ["`landmarks`", counts_ms, counts],
        ["`landmarks --country France`", country_ms, in_country],
    ]
    print_table(("", "ms", "rows"), rows)


def print_searches(database: Database, rounds: int) -> None:
    """Print the times of searches, once all lists of names are made."""
    model = resolve_model(database, None)
    overview = LibraryOverview(database, lambda: find_look_alikes(database, model))
    lists = SearchLists(database, {}, overview.counts, overview.trips)
    making_ms, _ = _timed(lambda: len(lists.suggest("all")))
    lists.close()
    overview.close()
    lists.suggest("all")  # makes the indexes of the lists that were late
    rows = []
    for kind, text in SEARCHES.items():
        searches = [_timed(partial(_suggestions, lists, text)) for _ in range(rounds)]
        times = [search_ms for search_ms, _ in searches]
        rows.append([kind, f"`{text}`", *_summary(times), max(count for _, count in searches)])
    print_table(("search", "text", "median ms", "95th percentile ms", "maximum ms", "suggestions"), rows)
    print(f"The first search, which waits for its lists a little, took {making_ms:.0f} ms.\n", flush=True)
    lists.close()
    overview.close()


def _suggestions(lists: SearchLists, text: str) -> int:
    return len(lists.suggest(text))


def print_all_photos(url: str) -> None:
    """Print the cost of `tagger query` over all photos in each format."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as folder:
        for output_format in STREAMED_FORMATS:
            command = [
                "sh",
                "-c",
                'exec "$@" | wc -c',
                "sh",
                "/usr/bin/env",
                *TAGGER,
                "query",
                "--format",
                output_format,
            ]
            finished = run(command, tagger_environment(Path(folder), database_url=url)).checked()
            rows.append(
                [
                    f"`{output_format}`",
                    finished.usage.wall_s,
                    int(finished.out) / 2**20,
                    round(finished.usage.peak_mib),
                ]
            )
    print_table(("all photos", "s", "MiB written", "peak MiB"), rows)


class _FirstRowWritten(Exception):
    """Ends the output."""


class _FirstRowDetector(io.BytesIO):
    """Raises once a row is written; the opening of the document is no row."""

    def writelines(self, parts: Iterable[bytes]) -> None:  # type: ignore[override]
        for part in parts:
            if b"IMG_" in part:
                raise _FirstRowWritten


def _first_row_ms(database: Database, output_format: Format) -> float:
    start = time.perf_counter()
    with suppress(_FirstRowWritten), redirect_stdout(io.TextIOWrapper(_FirstRowDetector())):
        write_photos(find_tagged(database, PhotoQuery()), output_format)
    return (time.perf_counter() - start) * 1000


def _timed(query: Callable[[], int]) -> tuple[float, int]:
    start = time.perf_counter()
    count = query()
    return (time.perf_counter() - start) * 1000, count


def _summary(times: list[float]) -> tuple[float, float, float]:
    ordered = sorted(times)
    return ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))], ordered[-1]


def _is_within(times: list[float], target: float) -> str:
    return "yes" if _summary(times)[1] <= target else "**no**"


if __name__ == "__main__":
    main()
