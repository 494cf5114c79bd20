"""Databases with many photos that have no files, for commands that read none."""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, text

from bench.options import add_database_options, database_url
from bench.processes import TAGGER, Usage, run, tagger_environment
from bench.report import note
from tagger.catalog.registered_models import RegisteredModel, resolve_model
from tagger.database.connection import open_database
from tagger.database.schema import upgrade_database
from tagger.database.tables import contents, photos, roots

ROOT = Path("/library")
BLOCK = 5000
"""Photos that are stored at a time."""

Fill = Callable[[Connection, RegisteredModel, int], None]
"""Stores so many photos, with what else the benchmark needs."""


@dataclass(frozen=True)
class StoredLibrary:
    """A database with photos, and an empty data folder."""

    url: str
    folder: Path
    photos: int

    def run(self, *words: str | Path) -> tuple[dict[str, Any], Usage]:
        """Run a command of the tagger; returns its JSON, and what it took."""
        environment = tagger_environment(self.folder / "data", database_url=self.url)
        finished = run([*TAGGER, *words, "--json"], environment).checked()
        return json.loads(finished.out), finished.usage


def add_library_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--photos", default="1500,100000", help="numbers of photos [1500,100000]")
    add_database_options(parser)


def stored_libraries(args: argparse.Namespace, fill: Fill) -> Iterator[StoredLibrary]:
    """A library for each number of photos that the options name."""
    for count in map(int, args.photos.split(",")):
        with (
            tempfile.TemporaryDirectory(prefix="tagger-bench-") as name,
            database_url(args, Path(name) / "tagger.sqlite") as url,
        ):
            note(f"storing {count} photos")
            _store(url, count, fill)
            yield StoredLibrary(url, Path(name), count)


def _store(url: str, count: int, fill: Fill) -> None:
    upgrade_database(url)
    with closing(open_database(url)) as database:
        model = resolve_model(database, None)
        with database.write() as connection:
            connection.execute(
                insert(roots).values(id=1, name="library", location=str(ROOT), location_bytes=b"")
            )
            fill(connection, model, count)
            if not database.is_sqlite:
                connection.execute(text("ANALYZE"))  # as the server does after a while


def blocks(count: int) -> Iterator[range]:
    """The ids of photos, from 1 on, in parts to store at a time."""
    for first in range(1, count + 1, BLOCK):
        yield range(first, min(first + BLOCK, count + 1))


def store_photos(
    connection: Connection, model: RegisteredModel, ids: range, facts: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Store photos that a model has classified, each with the id of its image, and with the `facts` of each."""
    now = datetime.now(UTC)
    classified = {"model_id": model.id, "top_k": 5, "threshold": 0.5, "outcome": "unknown"}
    image = classified | {"classified_at": now, "width": 4000, "height": 3000}
    connection.execute(
        insert(contents), [{"id": number, "digest": f"1-{number:064x}", **image} for number in ids]
    )
    state = {"size_bytes": 1, "mtime_ns": 1, "classified_size_bytes": 1, "classified_mtime_ns": 1}
    file = {"root_id": 1, "path_bytes": b"", **state}
    connection.execute(
        insert(photos),
        [
            {"id": number, "path": photo_name(number), "content_id": number, **file, **more}
            for number, more in zip(ids, facts or [{}] * len(ids), strict=True)
        ],
    )


def photo_name(number: int) -> str:
    """The path of a photo in ROOT."""
    return f"{number // 1000:04}/{number:08}.jpg"
