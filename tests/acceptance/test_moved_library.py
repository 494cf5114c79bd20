"""A library is moved to another folder: it is said, and one command follows it."""

import shutil
from pathlib import Path

import pytest
from support.commands import Terminal, draw


@pytest.fixture
def moved(terminal: Terminal) -> Path:
    """A library of two tagged photos, one with a verdict, with sidecars; moved from `photos` to `new`."""
    draw(terminal.folder / "photos" / "a.jpg", 0)
    draw(terminal.folder / "photos" / "day" / "b.jpg", 1)
    terminal.run("tag", "photos", "--write", "sidecar")
    terminal.run("reject", "eiffel-tower", "photos/a.jpg")
    return (terminal.folder / "photos").rename(terminal.folder / "new")


def paths(terminal: Terminal) -> set[str]:
    lines = terminal.run("query", "--any-rank", "--format", "paths").stdout.splitlines()
    return {str(Path(line).relative_to(terminal.folder)) for line in lines}


def test_a_moved_library_is_followed_and_nothing_is_read_again(terminal: Terminal, moved: Path) -> None:
    assert "2 photos of" in terminal.run("db", "move", "photos", "new").stdout
    assert paths(terminal) == {"new/a.jpg", "new/day/b.jpg"}
    assert "2 skipped" in terminal.run("tag", "new").stderr
    assert terminal.run("query", "--verdict", "rejected", "--count").stdout.strip() == "1"
    undone = terminal.run("metadata", "undo", "--all")
    assert "2 undone" in undone.stderr
    assert not list(moved.rglob("*.xmp"))


def test_a_moved_library_that_was_tagged_first_is_named_until_it_is_followed(
    terminal: Terminal, moved: Path
) -> None:
    """Photos that were added meanwhile are found again."""
    draw(moved / "later.jpg", 0, seed=3)
    for command in (("tag", "new"), ("backfill", "untagged", "--scan", "new", "--local")):
        said = terminal.run(*command).stderr
        assert f"tagger db move {terminal.folder / 'photos'} {moved}" in said
    terminal.run("db", "move", "photos", "new")
    tagged = terminal.run("tag", "new")
    assert "db move" not in tagged.stderr
    assert "2 skipped" in tagged.stderr
    assert paths(terminal) == {"new/a.jpg", "new/day/b.jpg", "new/later.jpg"}


def test_a_library_with_a_link_in_its_old_place_is_a_moved_one(terminal: Terminal, moved: Path) -> None:
    (terminal.folder / "photos").symlink_to(moved)
    assert "tagger db move" in terminal.run("tag", "photos").stderr
    terminal.run("db", "move", "photos", "new")
    assert "db move" not in terminal.run("tag", "photos").stderr
    assert paths(terminal) == {"new/a.jpg", "new/day/b.jpg"}


def test_a_folder_that_is_no_moved_library_is_refused(terminal: Terminal, moved: Path) -> None:
    shutil.copytree(moved, terminal.folder / "photos")
    assert "it is still there" in terminal.run("db", "move", "photos", "new", code=1).stderr
    shutil.rmtree(terminal.folder / "photos")
    draw(terminal.folder / "other" / "x.jpg", 0)
    assert "not at the same paths" in terminal.run("db", "move", "photos", "other", code=1).stderr
    assert "no file or folder" in terminal.run("db", "move", "photos", "missing", code=1).stderr
    assert "no photo at" in terminal.run("db", "move", "unknown", "new", code=1).stderr
    assert paths(terminal) == {"photos/a.jpg", "photos/day/b.jpg"}
    assert "db move" not in terminal.run("tag", "other").stderr
