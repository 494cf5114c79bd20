"""Commands that store nothing need neither a home that they can write to, nor space on its disk."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update
from support.commands import Terminal, draw
from support.disks import fill, make_read_only, mounted_disk

from tagger.database.enums import JobState
from tagger.database.tables import jobs

READERS = ("query", "status", "trips", "review", "model list", "landmark list", "job list", "db stats")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own; root may write to any folder that is only without permissions."""
    if os.geteuid():
        folder = tmp_path / "home"
        folder.mkdir()
        yield folder
        folder.chmod(0o755)
        return
    with mounted_disk(tmp_path / "home") as disk:
        yield disk


@pytest.fixture
def terminal(tmp_path: Path, home: Path) -> Terminal:
    """A terminal of a user with this home, as the first command finds it."""
    terminal = Terminal(tmp_path / "terminal")
    for name in ("TAGGER_DATA_FOLDER", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        terminal.environment.pop(name, None)
    terminal.environment["HOME"] = str(home)
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    return terminal


def protect(home: Path) -> list[Path]:
    """Make the home read-only; returns what is in it."""
    if os.geteuid():
        for folder in (home, *(path for path in home.rglob("*") if path.is_dir())):
            folder.chmod(0o555)
    else:
        make_read_only(home)
    return sorted(home.rglob("*"))


def predicted(terminal: Terminal) -> tuple[str, list[str]]:
    """The best landmark of the photo, and the warnings."""
    done = terminal.run_process("predict", "photos/tower.jpg", "--json")
    warnings = [line for line in done.stderr.splitlines() if not line.startswith("Choosing the fastest way")]
    return json.loads(done.stdout)[0]["tags"][0]["landmark"], warnings


def test_predict_needs_no_home_that_can_be_written(terminal: Terminal, home: Path) -> None:
    assert protect(home) == []
    assert predicted(terminal) == ("eiffel-tower", [])


def test_predict_reads_a_library_that_it_cannot_write(terminal: Terminal, home: Path) -> None:
    terminal.run("tag", "photos")
    terminal.run("landmark", "edit", "eiffel-tower", "--name", "La Tour")
    files = protect(home)
    done = terminal.run_process("predict", "photos/tower.jpg")
    assert "La Tour" in done.stdout
    assert sorted(home.rglob("*")) == files


def test_a_compiled_model_that_cannot_be_kept_is_one_warning(terminal: Terminal, home: Path) -> None:
    terminal.environment |= {"TAGGER_BACKEND": "openvino-int8"}
    del terminal.environment["TAGGER_MODEL"]  # only the shipped model has ranges
    terminal.run("model", "add", terminal.folder / "tiny.pt")  # creates the database
    protect(home)
    _, (warning,) = predicted(terminal)
    assert warning.startswith("the compiled model is not kept, so each start takes longer: ")


@pytest.mark.parametrize(
    "command",
    [
        "predict photos/tower.jpg",
        "similar photos/tower.jpg",
        "tag photos --dry-run",
        "metadata show photos/tower.jpg",
    ],
)
def test_commands_that_show_something_of_a_photo_create_nothing(
    terminal: Terminal, home: Path, command: str
) -> None:
    del terminal.environment["TAGGER_MODEL"]  # only the shipped model has embeddings
    terminal.run(*command.split())
    assert list(home.iterdir()) == []


LEAVE_A_LOG = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("UPDATE landmarks SET name = 'La Tour' WHERE slug = 'eiffel-tower'")
os._exit(0)
"""


@pytest.fixture
def small_disk(home: Path, terminal: Terminal) -> Path:
    """The disk of a library with a job, which is not full yet."""
    if os.geteuid():
        pytest.skip("this user may not mount a disk")
    terminal.environment["TAGGER_DATA_FOLDER"] = str(terminal.data.parent.parent / "home" / "data")
    terminal.data = home / "data"
    terminal.run("tag", "photos")
    return home


@pytest.mark.parametrize("command", READERS)
def test_commands_that_read_need_no_space(terminal: Terminal, small_disk: Path, command: str) -> None:
    fill(small_disk)
    assert "is full: free some space" in terminal.run(*command.split()).stderr


def test_what_a_killed_process_left_is_read_from_a_full_disk(terminal: Terminal, small_disk: Path) -> None:
    file = terminal.data / "tagger.sqlite"
    subprocess.run([sys.executable, "-c", LEAVE_A_LOG, file], check=True)
    assert file.with_name("tagger.sqlite-wal").stat().st_size
    fill(small_disk)
    assert "La Tour" in terminal.run("landmark", "list").stdout
    assert "La Tour" in terminal.run("landmark", "list").stdout


def test_a_job_that_a_full_disk_ended_is_shown(terminal: Terminal, small_disk: Path) -> None:
    """Another process, which has the database open, cannot record either that the job's process died."""
    with terminal.database() as database:
        with database.write() as connection:
            died = {"state": JobState.RUNNING, "owner": "another", "owner_lease_until": 0.0}
            connection.execute(update(jobs).values(died))
        fill(small_disk)
        done = terminal.run("status")
        assert "job 1 running" in done.stdout
        assert "its process does not answer" in done.stdout
        assert done.stderr == ""
        refused = terminal.run("job", "cancel", "1", code=1)
        assert "No space is left for the database" in refused.stderr
    (small_disk / "filler").unlink()
    terminal.run("tag", "photos")
    assert "job 1 finished" in terminal.run("status").stdout
