"""Libraries of earlier releases continue; backups are made and restored."""

import json
import os
import re
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rig.released_library import LIBRARIES, unpack_library
from rig.servers import PostgresServer
from sqlalchemy import select, update
from support.command_line import run_program
from support.commands import Terminal, draw_many
from support.databases import read_rows
from support.tls_servers import PAGE as HARDEN, run_script

from tagger.database import CLASSIFIED_OUTCOMES, schema
from tagger.database.connection import Database
from tagger.database.tables import contents, job_items, jobs, ledgers, photos
from tagger.ledger import OVER
from tagger.ledger.workers import release_expired

PHOTOS = 10
# What the rule for migrations allows: new tables and indexes, and new columns with a default or empty.
STEP = (
    "ALTER TABLE photos ADD COLUMN later_fact TEXT",
    "ALTER TABLE jobs ADD COLUMN later_option INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE later_facts (id INTEGER PRIMARY KEY, content_id INTEGER REFERENCES contents (id))",
    "CREATE INDEX ix_photos_later_fact ON photos (later_fact)",
    "UPDATE alembic_version SET version_num = '9999'",
)


@pytest.fixture(
    params=[
        pytest.param(
            file,
            id=file.name.removesuffix(".tar.xz"),
            marks=[pytest.mark.slow] if "postgresql" in file.name else [],
        )
        for file in LIBRARIES
    ]
)
def terminal(request, tmp_path) -> Terminal:
    return unpack_library(request.param, tmp_path, lambda: str(request.getfixturevalue("empty_postgres_url")))


def test_a_library_of_a_release_is_continued(terminal, tmp_path):
    expected = json.loads((tmp_path / "expected.json").read_text())
    job, counts = str(expected["job"]["job"]), expected["job"]
    terminal.run("db", "upgrade")
    terminal.run("db", "check")
    terminal.run("model", "add", "tiny.pt")  # its file is in another folder, too
    photos_now = terminal.json("query", "--any-rank")
    assert _facts(photos_now) == _facts(expected["photos"])
    for photo, former in zip(photos_now, expected["photos"], strict=True):
        # Photos of the job that goes on get theirs in its last step, or now.
        if former["position"]:
            assert _shared([photo["position"]], [former["position"]]) == [former["position"]]
    assert _shared(terminal.json("trips"), expected["trips"]) == expected["trips"]
    assert _shared(terminal.json("review", "list"), expected["verdicts"]) == expected["verdicts"]
    assert terminal.json("job", "show", job)["tagged"] == counts["tagged"]
    with terminal.database() as database:
        assert _stale_items(database) == []
        assert len(release_expired(database)) == 1  # from a minute after the library was made
    terminal.process_job(int(job))
    done = terminal.json("job", "show", job)
    assert (done["state"], done["total"], done["failed"]) == ("finished", counts["total"], 0)
    assert done["tagged"] + done["unknown"] == done["total"]
    taught = [Path(photo["path"]).name for photo in terminal.json("query", "--landmark", "our-church")]
    assert sorted(taught) == ["church-0.jpg", "church-1.jpg", "church-2.jpg", "church-3.jpg", "church.jpg"]
    assert [trip["name"] for trip in terminal.json("trips")] == ["Honeymoon"]
    terminal.run("metadata", "undo", "photos/album")
    assert _contents(tmp_path / "photos" / "album") == _contents(tmp_path / "before")


def _stale_items(database: Database) -> list[tuple[int, int]]:
    """The items of jobs that are over whose outcome is not that of their image."""
    is_stale = job_items.c.outcome.in_(CLASSIFIED_OUTCOMES) & (contents.c.outcome != job_items.c.outcome)
    query = (
        select(job_items.c.job_id, job_items.c.position)
        .join(jobs, jobs.c.id == job_items.c.job_id)
        .join(photos, photos.c.id == job_items.c.photo_id)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(jobs.c.state.in_(OVER), is_stale)
    )
    return [(row.job_id, row.position) for row in read_rows(database, query)]


def test_a_file_of_an_earlier_version_is_upgraded_by_a_command_that_changes_it(tmp_path):
    file = next(file for file in LIBRARIES if "sqlite" in file.name)
    terminal = unpack_library(file, tmp_path, lambda: "")
    expected = json.loads((tmp_path / "expected.json").read_text())
    for reading in (("query",), ("status",), ("db", "check")):
        assert "Run `tagger db upgrade`" in terminal.run(*reading, code=1).stderr
    assert "upgrading the database" in terminal.run("tag", "photos/album").stderr
    assert _facts(terminal.json("query", "--any-rank")) == _facts(expected["photos"])


def test_a_database_whose_upgrade_was_interrupted_is_not_read(tmp_path):
    terminal = Terminal(tmp_path / "home")
    with terminal.database() as database, database.write() as connection:
        connection.execute(update(ledgers).values(settled_to=0))
    assert "its upgrade was interrupted" in terminal.run("query", code=1).stderr
    assert "tagger db upgrade" in terminal.run("doctor", code=1).stdout
    assert "would be continued" in terminal.run("db", "upgrade", "--dry-run").stdout
    assert "is up to date" in terminal.run("db", "upgrade").stdout
    assert "is up to date" in terminal.run("db", "upgrade", "--dry-run").stdout
    terminal.run("query")


def _facts(photos: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """What a release said of each photo; a later one may say more, and learns taught landmarks in its own way."""
    keys = ("landmark", "label", "rank", "accepted", "verdict", "model")

    def shown(tag: dict[str, Any]) -> list[object]:
        return [*(tag[key] for key in keys), tag["score"] if tag["rank"] else None]

    return [
        (
            Path(photo["path"]).name,
            *(photo[key] for key in ("outcome", "dismissed", "favourite", "taken_at")),
            sorted(map(shown, photo["tags"]), key=str),
        )
        for photo in photos
    ]


def _shared(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the keys that a release had, and its paths."""
    return [
        {key: former[key] if key == "path" else row[key] for key in former}
        for row, former in zip(rows, expected, strict=True)
    ]


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.slow
def test_running_workers_continue_after_a_schema_step(postgres_url, redis_server, tmp_path, monkeypatch):
    terminal = Terminal(
        tmp_path / "home", {"TAGGER_DATABASE_URL": postgres_url, "TAGGER_REDIS_URL": redis_server.url}
    )
    draw_many(terminal.folder / "before", PHOTOS)
    draw_many(terminal.folder / "after", PHOTOS)
    terminal.environment["TAGGER_BATCH_SIZE"] = "1"
    terminal.inject(slow_pass_s="0.2", values="tagger.jobs.processing.classification.STORE_PHOTOS=1")
    with terminal.workers(1):
        job = int(terminal.run("enqueue", "before").stdout)
        terminal.wait_until(lambda: terminal.progress(job).done > 0)
        with closing(psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True)) as connection:
            for statement in STEP:
                connection.execute(statement.encode())
        refused = terminal.run_process("status", code=1)
        assert "newer" in refused.stderr
        # In this process the commands are those of the later version, as they expect its schema.
        monkeypatch.setattr(schema, "SCHEMA_REVISION", "9999")
        terminal.wait_until(lambda: terminal.progress(job).is_over)
        assert (terminal.progress(job).tagged, terminal.progress(job).failed) == (8, 0)
        assert terminal.json("enqueue", "--wait", "after", "--again")["tagged"] == 8
    assert terminal.active_workers() == []


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "back-up-and-upgrade.md").read_text()


@pytest.mark.parametrize("command", ["locate --gpx", "model add", "review import"])
def test_a_pipe_with_a_name_is_refused_at_once(tagger, tmp_path, command):
    os.mkfifo(tmp_path / "pipe")
    refused = tagger(*command.split(), "pipe", code=1)
    assert re.search("it is a pipe|not a regular file", refused.err)


@pytest.mark.slow
def test_streams_of_the_shell_are_read(tagger, tmp_path):
    (tmp_path / "verdicts.json").write_text("[]")
    for streamed in ("<(cat verdicts.json)", "- < verdicts.json", "/dev/stdin < verdicts.json"):
        line = f"{sys.executable} -m tagger review import --dry-run {streamed}"
        run_program("bash", "-c", line, cwd=tmp_path)


def test_sqlite_is_backed_up_while_it_is_written(tmp_path):
    terminal = Terminal(tmp_path / "home")
    draw_many(terminal.folder / "photos", 10)
    terminal.run("tag", "photos")
    before = terminal.json("query")
    with terminal.database() as database, database.read():  # keeps the write-ahead log
        draw_many(terminal.folder / "more", 10)
        terminal.run("tag", "more")
        command = next(line for line in PAGE.splitlines() if ".backup(" in line)
        run_program("bash", "-c", command, cwd=terminal.data)
    after = terminal.json("query")
    assert len(after) > len(before)
    for file in terminal.data.glob("tagger.sqlite*"):
        file.unlink()
    shutil.move(terminal.data / "backup.sqlite", terminal.data / "tagger.sqlite")
    terminal.run("db", "check")
    assert terminal.json("query") == after


@pytest.mark.slow
def test_postgresql_is_backed_up_and_restored_with_its_rights(tmp_path):
    with PostgresServer() as server:
        as_superuser, as_owner, _after_upgrade = re.findall(r"```sql\n(.*?)```", HARDEN, re.DOTALL)
        address = server.url.replace("/postgres?", "/tagger?")
        run_script(server.url, as_superuser)
        run_script(address.replace("//postgres@", "//tagger_owner@"), as_owner)
        terminal = Terminal(
            tmp_path / "home", {"TAGGER_DATABASE_URL": address.replace("//postgres@", "//tagger_owner@")}
        )
        draw_many(terminal.folder / "photos", 10)
        terminal.run("db", "upgrade")
        terminal.environment["TAGGER_DATABASE_URL"] = address.replace("//postgres@", "//tagger@")
        terminal.run("tag", "photos")
        photos = terminal.json("query")
        (block,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
        dump, restore = block.strip().splitlines()
        variables = {
            "PGHOST": str(server.folder),
            "PGUSER": "postgres",
            "PATH": f"{server.programs}:{os.environ['PATH']}",
        }
        run_program("bash", "-c", dump, cwd=tmp_path, env=os.environ | variables)
        run_script(server.url, "DROP DATABASE tagger WITH (FORCE)")
        run_program("bash", "-c", restore, cwd=tmp_path, env=os.environ | variables)
        terminal.run("db", "check")
        assert terminal.json("query") == photos
        assert "skipped" in terminal.run("tag", "photos").stderr
        reader = address.replace("//postgres@", "//tagger_reader@")
        with closing(psycopg.connect(reader)) as connection:
            assert connection.execute("SELECT count(*) FROM photos").fetchone() == (10,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DELETE FROM photos")


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_library_moves_to_postgresql_with_one_command(tmp_path, empty_postgres_url):
    terminal = Terminal(tmp_path / "home")
    draw_many(terminal.folder / "photos", 3)
    terminal.run("tag", "photos")
    photos = terminal.json("query")
    done = terminal.run("db", "copy", empty_postgres_url)
    assert " rows copied: " in done.stdout
    assert "3 photos, " in done.stdout
    refused = terminal.run("db", "copy", empty_postgres_url, code=1)
    assert "is not empty: it contains " in refused.stderr
    terminal.environment["TAGGER_DATABASE_URL"] = empty_postgres_url
    terminal.run("db", "check")
    assert terminal.json("query") == photos
    assert "skipped" in terminal.run("tag", "photos").stderr
