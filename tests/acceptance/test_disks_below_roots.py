"""A disk is mounted inside the library, and away: no command loses a photo, a tag or a sidecar."""

from pathlib import Path

import pytest
from support.command_line import environment_of
from support.commands import Terminal, draw
from support.disks import Disk, dead_share
from support.watching import Tagged

from tagger.cli.commands.tag import Watcher
from tagger.cli.session import open_session
from tagger.jobs.enqueue.scan import select_paths

AWAY = "is no longer a disk or share of its own, but the database has 2 photos in it"


@pytest.fixture
def nas(terminal: Terminal, disk: Disk) -> Path:
    """A disk with two tagged photos, whose tags are in sidecars; a third photo is beside it."""
    nas = disk.mount(terminal.folder / "photos" / "nas")
    draw(nas / "a.jpg", 0)
    draw(nas / "day" / "b.jpg", 0, seed=1)
    draw(terminal.folder / "photos" / "local.jpg", 0, seed=2)
    terminal.run("tag", "photos", "--write", "sidecar")
    return nas


def test_scans_and_backfills_name_a_disk_that_is_away(terminal: Terminal, disk: Disk, nas: Path) -> None:
    disk.unmount()
    assert AWAY in terminal.run("tag", "photos", code=3).stderr
    nightly = terminal.run("backfill", "untagged", "--scan", "photos", "--local", code=3)
    assert AWAY in nightly.stderr
    assert "0 gone" in nightly.stderr
    everything = terminal.run("backfill", "all", "--local", code=3)
    assert AWAY in everything.stderr
    assert "job 4 finished, 1 folder could not be read: 1 photo: 1 tagged" in everything.stderr
    assert terminal.run("query", "--any-rank", "--count").stdout.strip() == "3"
    disk.mount(nas)
    assert "nothing to do" in terminal.run("backfill", "untagged", "--scan", "photos", "--local").stderr


def test_sidecars_on_a_disk_that_is_away_are_not_lost(terminal: Terminal, disk: Disk, nas: Path) -> None:
    disk.unmount()
    preview = terminal.run("metadata", "undo", "--all", "--dry-run").stdout
    assert preview.count(AWAY) == 2
    update = terminal.run("metadata", "write", "--to", "sidecar", "--description", code=3)
    undo = terminal.run("metadata", "undo", "--all", code=3)
    for output in (update, undo):
        assert AWAY in output.stderr
        assert "lost" not in output.stdout + output.stderr
    assert "1 undone" in undo.stderr
    disk.mount(nas)
    assert (nas / "a.jpg.xmp").exists()
    assert "2 undone" in terminal.run("metadata", "undo", "--all").stderr
    assert not (nas / "a.jpg.xmp").exists()


def test_a_watch_says_once_that_a_disk_is_away(
    terminal: Terminal, disk: Disk, nas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tagged = Tagged()
    disk.unmount()
    with environment_of(terminal.environment):
        selection = select_paths([terminal.folder / "photos"])
        watcher = Watcher(open_session(), selection, tagged.tag, scan_every_s=3600.0)
        for source in watcher._sources * 3:
            watcher._scan(source)
    assert {name for names in tagged for name in names} == {"local.jpg"}, "for its new sidecar"
    assert capsys.readouterr().err.count(AWAY) == 1


def test_a_scheduled_run_without_work_notes_a_disk_that_is_away(
    terminal: Terminal, disk: Disk, nas: Path
) -> None:
    terminal.run("schedule", "add", "nightly", "--cron", "0 3 * * *", "untagged", "--scan", "photos")
    disk.unmount()
    assert AWAY in terminal.run("schedule", "run-now", "nightly", code=3).stderr
    assert AWAY in terminal.run("schedule", "history", "nightly").stdout


def test_a_share_that_does_not_answer_is_said_to_be_one(terminal: Terminal) -> None:
    """Not the name of the folder, nor the user's permissions."""
    folder = terminal.folder / "photos"
    with dead_share(folder):
        for command in (("tag", "photos"), ("watch", "photos", "--no-wait"), ("tag", "photos/a.jpg")):
            said = terminal.run(*command, code=1).stderr.replace("\n", " ")
            assert "cannot be reached: Transport endpoint is not connected" in said
            assert "permission" not in said


def test_a_share_below_a_root_that_does_not_answer_marks_nothing_as_gone(
    terminal: Terminal, disk: Disk, nas: Path
) -> None:
    disk.unmount()
    with dead_share(nas):
        said = terminal.run("tag", "photos", code=3).stderr
        assert "cannot be read (transport endpoint is not connected), but the database has 2 photos" in said
    with dead_share(terminal.folder / "photos" / "new"):
        said = terminal.run("tag", "photos", code=3).stderr
        assert "new: The folder cannot be read (transport endpoint is not connected). Its disk fails" in said
    assert terminal.run("query", "--any-rank", "--count").stdout.strip() == "3"
