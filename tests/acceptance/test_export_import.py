"""`tagger db export` and `import`: a database moves while workers work, and its open jobs continue there when resumed."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import CommandRunner
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database


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
        assert "Nothing was changed" in output.err
    (tmp_path / "no end.gz").write_bytes(gzip.compress(gzip.decompress(content)[:-5]))
    assert tagger("db", "import", "no end.gz").code == 1
    assert tagger("db", "import", "all.gz").code == 0


@pytest.mark.parametrize(
    "command", ["pack show", "pack add", "locate --gpx", "model add", "review import", "db import"]
)
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
