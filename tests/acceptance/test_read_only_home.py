"""Commands that store nothing need neither a home that they can write to, nor space on its disk."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Terminal, draw
from support.disks import make_read_only, mounted_disk

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


@pytest.mark.parametrize("command", READERS)
def test_commands_that_read_need_no_home_that_can_be_written(
    terminal: Terminal, home: Path, command: str
) -> None:
    protect(home)
    assert f"there is no database at {home}" in terminal.run(*command.split()).stderr


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
