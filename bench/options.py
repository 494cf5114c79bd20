"""Command-line options that several benchmarks have."""

import argparse
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.servers import PostgresServer


def names_of(kind: str, names: Collection[str]) -> Callable[[str], list[str]]:
    """Return an argument type for a comma-separated list of some of the names."""

    def parse(text: str) -> list[str]:
        selected = text.split(",")
        for name in selected:
            if name not in names:
                raise argparse.ArgumentTypeError(
                    f"there is no {kind} {name!r}; choose from {', '.join(names)}"
                )
        return selected

    return parse


def add_database_options(parser: argparse.ArgumentParser) -> "argparse._MutuallyExclusiveGroup":
    """Add --postgres and --database-url; without them, `database_url` returns a SQLite file."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--postgres", action="store_true", help="start a temporary PostgreSQL server")
    group.add_argument("--database-url", help="the URL of an empty database")
    return group


@contextmanager
def database_url(args: argparse.Namespace, sqlite_file: Path) -> Iterator[str]:
    """Yield the URL of the database that the options select."""
    if args.postgres:
        with PostgresServer(settings=()) as server:
            yield server.url
    else:
        yield args.database_url or f"sqlite:///{sqlite_file.absolute()}"
