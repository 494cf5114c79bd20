"""How long questions take in a database of many photos.

    python -m bench.queries [--photos 200000] [--postgres | --database-url URL | --keep FOLDER] [--rounds 20] [--whole]

Makes a database of so many photos with five tags each (see many_photos) and asks it in this process: each filter of
`tagger query` with --limit 100 and other values every round, the first row of each format without a limit, `landmarks`
and `status`. `--whole` also writes every photo in each format with the real command, and prints its peak memory.
"""

import argparse
import io
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import create_engine, text

from bench.processes import TAGGER, run, tagger_environment
from bench.report import note, print_heading, print_table
from tagger.catalog.landmarks import Landmark, all_landmarks
from tagger.cli.output.formats import Format
from tagger.cli.output.photos import write_photos
from tagger.database.connection import Database
from tagger.ledger.progress import list_jobs
from tagger.ledger.workers import list_workers
from tagger.query import Near, PhotoQuery, find_tagged, landmark_counts
from tests.support.large_library import JOBS, ROOT, make_library
from tests.support.servers import PostgresServer

LIMIT = 100
TRIES = 3
FILTER_TARGET_MS = 50.0
FIRST_ROW_TARGET_MS = 200.0
STREAMED = (Format.NDJSON, Format.JSON, Format.CSV, Format.PATHS, Format.GEOJSON)
FIRST_TAKEN = datetime(2000, 1, 1)  # noqa: DTZ001 - cameras know no time zone


def main() -> None:
    """Time questions in a database of many photos."""
    parser = argparse.ArgumentParser(prog="python -m bench.queries", description=main.__doc__)
    parser.add_argument("--photos", type=int, default=200_000, help=f"a multiple of {JOBS}")
    parser.add_argument("--rounds", type=int, default=20)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--postgres", action="store_true", help="a PostgreSQL server of its own")
    where.add_argument("--database-url", help="an empty database, or one that this has filled before")
    where.add_argument("--keep", type=Path, help="keep the SQLite file in this folder for the next time")
    parser.add_argument("--whole", action="store_true", help="also write every photo in each format")
    asked = parser.parse_args()
    if asked.photos % JOBS:
        parser.error(f"--photos: take a multiple of {JOBS}")
    print_heading("Asking")
    with _url(asked) as url:
        note("making the photos, where they are not there yet")
        began = time.monotonic()
        database = make_library(url, asked.photos)
        note(f"made in {time.monotonic() - began:.0f} s")
        print_filters(database, asked.rounds)
        print_first_rows(database, asked.rounds)
        print_overviews(database)
        database.close()
        if asked.whole:
            print_whole(url)


@contextmanager
def _url(asked: argparse.Namespace) -> Iterator[str]:
    if asked.database_url:
        yield asked.database_url
        return
    if asked.postgres:
        with PostgresServer() as server:
            engine = create_engine(server.url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text("CREATE DATABASE photos"))
            engine.dispose()
            yield server.url.replace("/postgres?", "/photos?")
        return
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as folder:
        yield f"sqlite:///{(asked.keep or Path(folder)).absolute()}/{asked.photos}.sqlite"


def filters(places: list[Landmark], chance: random.Random) -> dict[str, PhotoQuery]:
    """One query of each kind, with values by chance."""
    place = chance.choice(places)
    there = chance.choice([each for each in places if each.latitude is not None])
    near = Near(there.latitude or 0.0, there.longitude or 0.0, chance.choice((5.0, 50.0, 500.0)))
    country = chance.choice([each.country for each in places if each.country])
    after = FIRST_TAKEN + timedelta(minutes=chance.randrange(1_000_000))
    before = after + timedelta(days=chance.choice((1, 30, 365)))
    year = ROOT / f"y{chance.randrange(2000, 2025)}"
    folder = chance.choice((ROOT, year, year / f"m{chance.randrange(10, 22)}"))
    score = chance.choice((0.5, 0.7, 0.9, 0.95, 0.99))
    queries = {
        "(no filter)": PhotoQuery(),
        "--landmark": PhotoQuery(landmark=place.slug),
        "--country": PhotoQuery(country=country),
        "--near": PhotoQuery(near=near),
        "--min-score": PhotoQuery(min_score=score),
        "--min-score 0.9999": PhotoQuery(min_score=0.9999),
        "--under": PhotoQuery(under=(folder,)),
        "--taken-after": PhotoQuery(taken_after=after),
        "--taken-before": PhotoQuery(taken_before=after),
        "--taken-after --taken-before": PhotoQuery(taken_after=after, taken_before=before),
        "--unknown": PhotoQuery(unknown=True),
        "--untagged": PhotoQuery(untagged=True),
        "--model": PhotoQuery(model="older"),
        "--any-rank": PhotoQuery(any_rank=True),
        "--landmark --any-rank": PhotoQuery(landmark=place.slug, any_rank=True),
        "--landmark --min-score": PhotoQuery(landmark=place.slug, min_score=score),
        "--landmark --under": PhotoQuery(landmark=place.slug, under=(year,)),
        "--landmark --taken-…": PhotoQuery(landmark=place.slug, taken_after=after, taken_before=before),
        "--country --taken-…": PhotoQuery(country=country, taken_after=after, taken_before=before),
        "--unknown --under": PhotoQuery(unknown=True, under=(folder,)),
        "--untagged --under": PhotoQuery(untagged=True, under=(folder,)),
    }
    return {name: _limited(query) for name, query in queries.items()}


def _limited(query: PhotoQuery) -> PhotoQuery:
    return PhotoQuery(**{**vars(query), "limit": LIMIT})


def print_filters(database: Database, rounds: int) -> None:
    """The 95th percentile of each filter."""
    with database.read() as connection:
        places = all_landmarks(connection)
    chance = random.Random(0)
    times: dict[str, list[float]] = {}
    found: dict[str, int] = {}
    for _ in range(rounds):
        for name, query in filters(places, chance).items():
            took_ms, count = min(_timed(lambda query=query: _answers(database, query)) for _ in range(TRIES))
            times.setdefault(name, []).append(took_ms)
            found[name] = max(found.get(name, 0), count)
    rows = (
        [name, *_summary(each), found[name], _verdict(each, FILTER_TARGET_MS)] for name, each in times.items()
    )
    titles = ("median ms", "95 % ms", "most ms", "photos, at most", "within 50 ms")
    print_table(("`tagger query … --limit 100`", *titles), rows)
    print(
        f"Each query was asked {TRIES} times, and the quickest counts: others use this machine.\n", flush=True
    )


def _answers(database: Database, query: PhotoQuery) -> int:
    return sum(1 for _ in find_tagged(database, query))


def print_first_rows(database: Database, rounds: int) -> None:
    """How long until the first row of everything is written."""
    times = {
        written_as: [min(_first_row_ms(database, written_as) for _ in range(TRIES)) for _ in range(rounds)]
        for written_as in STREAMED
    }
    rows = (
        [f"`{name}`", *_summary(each), _verdict(each, FIRST_ROW_TARGET_MS)] for name, each in times.items()
    )
    print_table(("first row of all photos", "median ms", "95 % ms", "most ms", "within 200 ms"), rows)


def print_overviews(database: Database) -> None:
    """Commands that count everything."""
    jobs_ms, jobs = _timed(lambda: len(list_jobs(database)) + len(list_workers(database)))
    counts_ms, counts = _timed(lambda: len(landmark_counts(database)))
    country_ms, in_country = _timed(lambda: len(landmark_counts(database, "France")))
    rows = [
        ["`status`", jobs_ms, jobs],
        ["`landmarks`", counts_ms, counts],
        ["`landmarks --country France`", country_ms, in_country],
    ]
    print_table(("", "ms", "rows"), rows)


def print_whole(url: str) -> None:
    """Every photo in each format, by the real command."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as folder:
        for written_as in STREAMED:
            command = [
                "sh",
                "-c",
                'exec "$@" | wc -c',
                "sh",
                "/usr/bin/env",
                *TAGGER,
                "query",
                "--format",
                written_as,
            ]
            done = run(command, tagger_environment(Path(folder), database_url=url)).checked()
            rows.append(
                [f"`{written_as}`", done.usage.wall_s, int(done.out) / 2**20, round(done.usage.peak_mib)]
            )
    print_table(("all photos", "s", "MiB written", "peak MiB"), rows)


class _Seen(Exception):
    """The first row was written."""


class _FirstRow(io.RawIOBase):
    """Takes what is written until there is a row: what comes after the opening of the document."""

    def writelines(self, parts: Iterable[bytes]) -> None:  # type: ignore[override]
        for part in parts:
            if b"IMG_" in part:
                raise _Seen


def _first_row_ms(database: Database, written_as: Format) -> float:
    class Out(io.StringIO):
        buffer = _FirstRow()

    began = time.perf_counter()
    try:
        with redirect_stdout(Out()):
            write_photos(find_tagged(database, PhotoQuery()), written_as)
    except _Seen:
        pass
    return (time.perf_counter() - began) * 1000


def _timed(work: Callable[[], int]) -> tuple[float, int]:
    began = time.perf_counter()
    count = work()
    return (time.perf_counter() - began) * 1000, count


def _summary(times: list[float]) -> tuple[float, float, float]:
    ordered = sorted(times)
    return ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))], ordered[-1]


def _verdict(times: list[float], target: float) -> str:
    return "yes" if _summary(times)[1] <= target else "**no**"


if __name__ == "__main__":
    sys.exit(main())
