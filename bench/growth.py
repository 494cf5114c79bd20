"""Measures what queries and first views of the page cost in libraries of growing size.

    python -m bench.growth [--photos 10000 100000 1000000]

Creates SQLite databases with so many photos (see tests/rig/large_library.py), and prints the CPU time of
commands with their start, and of new servers until their first response, with what they count meanwhile. Time
should follow the result: a row says FAIL if it takes more than 1.5 times as long in the largest library as in
the one before, for a result that is as long; or for a photo, if the command reads all.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.page import running_server
from bench.processes import TAGGER, Finished, run, tagger_environment
from bench.report import note, print_heading, print_table
from tests.rig.large_library import JOBS, ROOT, make_library

MOST_GROWTH = 1.5
EQUAL = 0.1
"""Results are as long as others if their lengths differ by at most this share."""
ROUNDS = 2
PAGE = "--limit 100 --format csv"
COMMANDS = (
    "query",
    "query --sort score",
    "query --year 2010",
    "query --job 1",
    "query --position none",
    "query --country France --year 2010 --min-score 0.9",
    f"similar {ROOT}/y2006/m10/IMG_10000006.jpg",
)
LISTS = ("trips", "trips --year 2010")
ALL_PHOTOS = ("query --format csv", "db check")
PROBLEMS = 1
"""The exit code of a check: the older model has no labels."""
VIEWS = ("/photos", "/photos?q=paris", "/photos/filter", "/api/timeline", "/api/landmarks", "/map", "/review")


def main() -> None:
    """Measure what queries and first views of the page cost in libraries of growing size."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=main.__doc__)
    sizes = (10_000, 100_000, 1_000_000)
    help_text = f"at least two sizes, multiples of {JOBS} [{' '.join(map(str, sizes))}]"
    parser.add_argument("--photos", type=int, nargs="+", default=sizes, help=help_text)
    args = parser.parse_args()
    if len(args.photos) < 2 or any(number % JOBS for number in args.photos):
        parser.error(f"--photos: use {help_text}")
    print_heading("Growth with the library")
    columns = [_measured(number) for number in sorted(args.photos)]
    print_table(
        ("CPU s", *(f"{number:,} photos" for number in sorted(args.photos)), "growth", ""),
        [_row(costs) for costs in zip(*columns, strict=True)],
    )


@dataclass(frozen=True)
class Cost:
    """`length`: that of the result, in lines and commas, so that larger numbers do not count."""

    name: str
    cpu_s: float
    length: int


def _measured(photos: int) -> list[Cost]:
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        note(f"creating {photos} photos")
        url = f"sqlite:///{name}/tagger.sqlite"
        make_library(url, photos).close()
        return [*_costs_of_commands(url, Path(name), photos), *_costs_of_views(url)]


def _costs_of_commands(url: str, folder: Path, photos: int) -> Iterator[Cost]:
    environment = tagger_environment(folder, database_url=url, device="cpu")

    def finished(words: str) -> Finished:
        note(f"tagger {words}")
        return run((*TAGGER, *words.split()), environment).checked(0, PROBLEMS)

    for words in COMMANDS:
        rounds = [finished(f"{words} {PAGE}") for _ in range(ROUNDS)]
        name = words.partition(f" {ROOT}")[0]
        yield Cost(name, min(each.cpu_s for each in rounds), _length(rounds[0].out))
    for words in LISTS:
        once = finished(words)
        yield Cost(words, once.cpu_s, _length(once.out))
    for words in ALL_PHOTOS:
        yield Cost(f"{words}, ms a photo", 1000 * finished(words).cpu_s / photos, 0)


def _costs_of_views(url: str) -> Iterator[Cost]:
    for path in VIEWS:
        note(path)
        with running_server(url) as server:
            before_s = server.cpu_s()
            body = server.get(path)
            yield Cost(path, server.cpu_s() - before_s, _length(body.decode()))


def _length(result: str) -> int:
    return result.count("\n") + result.count(",")


def _row(costs: Sequence[Cost]) -> list[object]:
    before, last = costs[-2:]
    growth = last.cpu_s / before.cpu_s
    is_equal = abs(last.length - before.length) <= EQUAL * before.length
    verdict = "the result grows" if not is_equal else "**FAIL**" if growth > MOST_GROWTH else "pass"
    return [last.name, *(cost.cpu_s for cost in costs), growth, verdict]


if __name__ == "__main__":
    main()
