"""Makes a small library with an installed release: `make released-library` runs it,
tests/acceptance/test_upgrade.py continues it.

python tests/rig/released_library.py FOLDER writes FOLDER/VERSION-sqlite.tar.xz and
FOLDER/VERSION-postgresql.tar.xz: photos, the model, the database, copies of the photos as they were before
tags were written, and `expected.json` with what the release says about them. `tagger` is the release's, which
comes first in PYTHONPATH. The last job is as a killed worker leaves it: one of its chunks is done, another
one is claimed.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from support.camera_photos import draw_shot
from support.command_line import environment_of
from support.commands import Terminal, draw, draw_many
from support.teaching import draw_place, teachable_artifact

from rig.servers import PostgresServer
from tagger.jobs.processing.executor import ChunkExecutor
from tagger.kept.trips import all_trips, rename_trip
from tagger.ledger.chunks import claim_next_chunk
from tagger.settings import load_settings
from tagger.verdicts import star_photos

DUMP = "dump.sql"
"""The database, if it is on PostgreSQL."""
CELLS = 8
"""As few as let the model find the church: the file grows with the fourth power."""
CHURCH = 1
FOREIGN = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
"""A sidecar of another program, which an undo restores."""
LIBRARIES = sorted((Path(__file__).parents[1] / "released").glob("*.tar.xz"))


def unpack_library(file: Path, folder: Path, empty_postgres_url: Callable[[], str]) -> Terminal:
    """One of LIBRARIES in another folder; one of PostgreSQL in this empty database."""
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")
    roots = {root.name: str(root) for root in (folder / "photos").iterdir()}
    settings = {"TAGGER_ROOTS": json.dumps(roots)}
    if (folder / DUMP).exists():
        settings["TAGGER_DATABASE_URL"] = empty_postgres_url()
        _restore(folder / DUMP, settings["TAGGER_DATABASE_URL"])
    return Terminal(folder, settings)


def _restore(dump: Path, url: str) -> None:
    # Lines of psql, which begin with a backslash, are no SQL.
    script = "\n".join(line for line in dump.read_text().splitlines() if not line.startswith("\\"))
    with closing(psycopg.connect(url.replace("+psycopg", ""), autocommit=True)) as connection:
        connection.execute(script.encode())


def write_libraries(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    release = folder / version("landmark-tagger")
    with TemporaryDirectory() as temporary:
        home = Path(temporary) / "sqlite"
        make_library(home, {})
        _pack(home, Path(f"{release}-sqlite.tar.xz"))
        home = Path(temporary) / "postgresql"
        with PostgresServer() as server:
            make_library(home, {"TAGGER_DATABASE_URL": server.url})
            # One statement for each row, as psycopg has no COPY in a script.
            dump = [server.programs / "pg_dump", "--inserts", "--no-owner", "--no-privileges", "postgres"]
            environment = os.environ | {"PGHOST": str(server.folder), "PGUSER": "postgres"}
            with (home / DUMP).open("wb") as file:
                subprocess.run(dump, env=environment, stdout=file, check=True)
        _pack(home, Path(f"{release}-postgresql.tar.xz"))


def make_library(folder: Path, settings: dict[str, str]) -> None:
    folder.mkdir()
    teachable_artifact(folder / "tiny.pt", cells=CELLS)
    terminal = Terminal(folder, settings)
    terminal.run("db", "upgrade")
    album, later = folder / "photos" / "album", folder / "photos" / "later"
    for label in (0, 1, 2):
        draw(album / f"label-{label}.jpg", label, seed=100 + label)
    for seed in range(4):
        draw_place(album / f"church-{seed}.jpg", CHURCH, seed=seed, noise=0.01, cells=CELLS)
    (album / "label-2.jpg.xmp").write_text(FOREIGN)
    shutil.copytree(album, folder / "before")
    terminal.run("tag", "photos/album")
    terminal.run("reject", "eiffel-tower", album / "label-0.jpg")
    terminal.run("confirm", "brandenburg-gate", album / "label-1.jpg")
    terminal.run("teach", "Our church", *sorted(album.glob("church-[012].jpg")), "--at", "51.05,13.74")
    terminal.run("metadata", "write", album / "label-1.jpg", "--to", "embed")
    terminal.run("metadata", "write", album / "label-2.jpg", album / "church-0.jpg", "--to", "sidecar")
    _travel(terminal, folder / "photos" / "journey")
    draw_many(later, 40)
    draw_place(later / "church.jpg", CHURCH, seed=10, noise=0.01, cells=CELLS)
    job = int(terminal.run("enqueue", "photos/later").stdout)
    _interrupt(terminal, job)
    expected = {
        "photos": terminal.json("query", "--any-rank"),
        "job": terminal.json("job", "show", str(job)),
        "trips": terminal.json("trips"),
        "verdicts": terminal.json("review", "list"),
    }
    (folder / "expected.json").write_text(json.dumps(expected))
    terminal.end_embedded_redis()


def _travel(terminal: Terminal, journey: Path) -> None:
    """Two days with GPS are a trip with a name; a photo is between two others, one starred, one dismissed."""
    for number in range(10):
        day, hour = divmod(number, 5)
        shot = journey / f"rome-{number}.jpg"
        draw_shot(shot, 60 * (24 * day + hour), gps=(41.88 + number / 500, 12.49), label=number % 3)
    draw_shot(journey / "between.jpg", 90)
    terminal.run("tag", "photos/journey")
    terminal.run("reject", "--any", journey / "rome-9.jpg")
    with terminal.database() as database:
        star_photos(database, [1], "ann", starred=True)
        with database.write() as connection:
            (trip,) = all_trips(connection)
            rename_trip(connection, trip, "Honeymoon")
    terminal.run("locate")


def _interrupt(terminal: Terminal, job: int) -> None:
    """Process the first chunk of the job, and claim the second one, as workers do that are killed then."""
    with environment_of(terminal.environment), terminal.database() as database:
        with closing(ChunkExecutor(database, load_settings())) as executor:
            first = claim_next_chunk(database, job, "killed")
            assert first is not None
            executor.execute(first)
        assert claim_next_chunk(database, job, "killed") is not None


def _pack(home: Path, file: Path) -> None:
    with tarfile.open(file, "w:xz", preset=9) as archive:
        for name in ("before", "data/tagger.sqlite", DUMP, "expected.json", "photos", "tiny.pt"):
            if (home / name).exists():
                archive.add(home / name, name)
    sys.stdout.write(f"{file}: {file.stat().st_size} bytes\n")


if __name__ == "__main__":
    write_libraries(Path(sys.argv[1]))
