"""`tagger db export` and `import`, and backups as docs/how-to/back-up-and-upgrade.md shows them: a database moves while workers work, and its open jobs continue there when resumed."""

import gzip
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
from support.stored_photos import StoredPhotos
from support.tls_servers import PAGE as HARDEN

from tagger.database.connection import Database

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "back-up-and-upgrade.md").read_text()


@pytest.fixture
def known(sqlite_database: Database, tmp_path: Path) -> StoredPhotos:
    known = StoredPhotos.with_tiny_model(sqlite_database, tmp_path)
    known.photo(b"caf\xe9.jpg", ("eiffel-tower", 0.9, True), digest=f"1-{'b2' * 32}")
    return known


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str = "other") -> None:
    """From now on, commands use another database, which is empty."""
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/{name}.sqlite")


def test_a_file_is_written_whole_and_never_replaced_unasked(
    tagger: CommandRunner, known: StoredPhotos, tmp_path: Path
) -> None:
    output = tagger("db", "export", "all.ndjson")
    assert (output.code, output.out) == (0, b"")
    assert "1 photo, " in output.err
    before = (tmp_path / "all.ndjson").read_bytes()
    refused = tagger("db", "export", "all.ndjson")
    assert (refused.code, "--force" in refused.err) == (1, True)
    assert (tmp_path / "all.ndjson").read_bytes() == before
    assert tagger("db", "export", "all.ndjson", "--force", "--json").json["rows"]["photos"] == 1
    assert tagger("db", "export", "nowhere/all.ndjson").code == 1
    assert [path.name for path in tmp_path.glob("*ndjson*")] == ["all.ndjson"]
    assert list(tmp_path.glob(".*part")) == []


@pytest.mark.parametrize("name", ["all.ndjson", "all.ndjson.gz"])
def test_what_was_exported_is_imported(
    tagger: CommandRunner, known: StoredPhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    photos = tagger("query", "--json").json
    tagger("db", "export", name)
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    elsewhere(tmp_path, monkeypatch)
    shown = tagger("db", "import", name, "--dry-run")
    assert "would be imported" in shown.text
    assert "name it with: tagger model add FILE" in shown.err
    planned = tagger("db", "import", name, "--dry-run", "--json")
    assert tagger("query", "--json").json == []
    done = tagger("db", "import", name, "--json")
    assert (done.code, done.json["rows"]["photos"]) == (0, 1)
    assert done.json["inactive"] == planned.json["inactive"]
    assert [model["name"] for model in done.json["inactive"]["models"]] == ["tiny"]
    assert tagger("query", "--json").json == photos
    again = tagger("db", "import", name)
    assert (again.code, again.err.count("\n")) == (1, 1)
    assert "is not empty" in again.err
    elsewhere(tmp_path, monkeypatch, "third")
    assert "identity of its own" in tagger("db", "import", name).err


def test_a_packed_file_that_was_cut_off_is_refused(
    tagger: CommandRunner, known: StoredPhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger("db", "export", "all.gz")
    content = (tmp_path / "all.gz").read_bytes()
    elsewhere(tmp_path, monkeypatch)
    for cut in (10, len(content) // 2, len(content) - 9, len(content) - 1):
        (tmp_path / "cut.gz").write_bytes(content[:cut])
        output = tagger("db", "import", "cut.gz")
        assert (output.code, output.err.count("\n")) == (1, 1), output.err
        assert "Nothing of it was stored" in output.err
    (tmp_path / "no end.gz").write_bytes(gzip.compress(gzip.decompress(content)[:-5]))
    assert tagger("db", "import", "no end.gz").code == 1
    assert tagger("db", "import", "all.gz").code == 0


@pytest.mark.parametrize("command", ["locate --gpx", "model add", "review import", "db import"])
def test_a_pipe_with_a_name_is_refused_at_once(tagger: CommandRunner, tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused = tagger(*command.split(), "pipe")
    assert refused.code == 1
    assert re.search("it is a pipe|not a regular file", refused.err)


def test_streams_of_the_shell_are_read(
    tagger: CommandRunner, known: StoredPhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tagger("db", "export", "all.gz").code == 0
    assert tagger("review", "export", "verdicts.json").code == 0
    elsewhere(tmp_path, monkeypatch)
    for command, name in (("db import", "all.gz"), ("review import", "verdicts.json")):
        for streamed in (f"<(cat {name})", f"- < {name}", f"/dev/stdin < {name}"):
            line = f"{sys.executable} -m tagger {command} --dry-run {streamed}"
            done = subprocess.run(
                ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False
            )
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
