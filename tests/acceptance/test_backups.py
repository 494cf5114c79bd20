"""Backups as docs/how-to/back-up-and-upgrade.md shows them, and files that are pipes."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from rig.servers import PostgresServer
from support.command_line import CommandRunner
from support.commands import Terminal, draw_many
from support.tls_servers import PAGE as HARDEN

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "back-up-and-upgrade.md").read_text()


@pytest.mark.parametrize("command", ["locate --gpx", "model add", "review import"])
def test_a_pipe_with_a_name_is_refused_at_once(tagger: CommandRunner, tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused = tagger(*command.split(), "pipe")
    assert refused.code == 1
    assert re.search("it is a pipe|not a regular file", refused.err)


def test_streams_of_the_shell_are_read(tagger: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "verdicts.json").write_text("[]")
    for streamed in ("<(cat verdicts.json)", "- < verdicts.json", "/dev/stdin < verdicts.json"):
        line = f"{sys.executable} -m tagger review import --dry-run {streamed}"
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)


def test_sqlite_is_backed_up_while_it_is_written(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "home")
    draw_many(terminal.folder / "photos", 10)
    terminal.run("tag", "photos")
    before = terminal.json("query")
    with terminal.database() as database, database.read():  # keeps the write-ahead log
        draw_many(terminal.folder / "more", 10)
        terminal.run("tag", "more")
        command = next(line for line in PAGE.splitlines() if ".backup(" in line)
        _shell(command, terminal.data)
    after = terminal.json("query")
    assert len(after) > len(before)
    for file in terminal.data.glob("tagger.sqlite*"):
        file.unlink()
    shutil.move(terminal.data / "backup.sqlite", terminal.data / "tagger.sqlite")
    terminal.run("db", "check")
    assert terminal.json("query") == after


def test_postgresql_is_backed_up_and_restored_with_its_rights(tmp_path: Path) -> None:
    with PostgresServer() as server:
        as_superuser, as_owner, _after_upgrade = re.findall(r"```sql\n(.*?)```", HARDEN, re.DOTALL)
        address = server.url.replace("/postgres?", "/tagger?")
        _execute(server.url, as_superuser)
        _execute(address.replace("//postgres@", "//tagger_owner@"), as_owner)
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
        _shell(dump, tmp_path, **variables)
        _execute(server.url, "DROP DATABASE tagger WITH (FORCE)")
        _shell(restore, tmp_path, **variables)
        terminal.run("db", "check")
        assert terminal.json("query") == photos
        assert "skipped" in terminal.run("tag", "photos").stderr
        reader = address.replace("//postgres@", "//tagger_reader@")
        with closing(psycopg.connect(reader)) as connection:
            assert connection.execute("SELECT count(*) FROM photos").fetchone() == (10,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DELETE FROM photos")


def _execute(url: str, script: str) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        for statement in script.split(";\n"):
            connection.execute(statement.encode())


def _shell(command: str, folder: Path, **variables: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.postgresql
def test_a_library_moves_to_postgresql_with_one_command(tmp_path: Path, empty_postgres_url: str) -> None:
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
