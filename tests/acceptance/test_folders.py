"""Folders: on disks that are away or read-only, moved, and of a takeout."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update
from support.camera_photos import draw_shot
from support.command_line import environment_of
from support.commands import Terminal, draw
from support.disks import dead_share, fill, make_read_only, mounted_disk
from support.watching import Tagged

from tagger.cli.commands.tag import Watcher
from tagger.cli.program import open_session
from tagger.database import JobState
from tagger.database.tables import jobs
from tagger.jobs.enqueue.selection import select_paths

AWAY = "is no longer a disk or share of its own, but the database has 2 photos in it"


@pytest.fixture
def nas(terminal, disk) -> Path:
    """A disk with two tagged photos, whose tags are in sidecars; a third photo is beside it."""
    nas = disk.mount(terminal.folder / "photos" / "nas")
    draw(nas / "a.jpg", 0)
    draw(nas / "day" / "b.jpg", 0, seed=1)
    draw(terminal.folder / "photos" / "local.jpg", 0, seed=2)
    terminal.run("tag", "photos", "--write", "sidecar")
    return nas


def test_scans_and_backfills_name_a_disk_that_is_away(terminal, disk, nas):
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


def test_sidecars_on_a_disk_that_is_away_are_not_lost(terminal, disk, nas):
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


def test_a_watch_says_once_that_a_disk_is_away(terminal, disk, nas, capsys):
    tagged = Tagged()
    disk.unmount()
    with environment_of(terminal.environment):
        selection = select_paths([terminal.folder / "photos"])
        watcher = Watcher(open_session(), selection, tagged.tag, scan_every_s=3600.0)
        for source in watcher._sources * 3:
            watcher._scan(source)
    assert {name for names in tagged for name in names} == {"local.jpg"}, "for its new sidecar"
    said = capsys.readouterr().err
    assert (said.count(AWAY), said.count(f"1 folder in {terminal.folder}/photos could not be read")) == (1, 1)


def test_a_scheduled_run_without_work_notes_a_disk_that_is_away(terminal, disk, nas):
    terminal.run("schedule", "add", "nightly", "--cron", "0 3 * * *", "untagged", "--scan", "photos")
    disk.unmount()
    assert AWAY in terminal.run("schedule", "run-now", "nightly", code=3).stderr
    assert AWAY in terminal.run("schedule", "history", "nightly").stdout


def test_a_share_that_does_not_answer_is_said_to_be_one(terminal):
    """Not the name of the folder, nor the user's permissions."""
    folder = terminal.folder / "photos"
    with dead_share(folder):
        for command in (("tag", "photos"), ("watch", "photos", "--no-wait"), ("tag", "photos/a.jpg")):
            said = terminal.run(*command, code=1).stderr.replace("\n", " ")
            assert "cannot be reached: Transport endpoint is not connected" in said
            assert "permission" not in said


def test_a_share_below_a_root_that_does_not_answer_marks_nothing_as_gone(terminal, disk, nas):
    disk.unmount()
    with dead_share(nas):
        said = terminal.run("tag", "photos", code=3).stderr
        assert "cannot be read (transport endpoint is not connected), but the database has 2 photos" in said
    with dead_share(terminal.folder / "photos" / "new"):
        said = terminal.run("tag", "photos", code=3).stderr
        assert "new: The folder cannot be read (transport endpoint is not connected). Its disk fails" in said
    assert terminal.run("query", "--any-rank", "--count").stdout.strip() == "3"


@pytest.fixture
def moved(terminal) -> Path:
    """A library of two tagged photos, one with a verdict, with sidecars; moved from `photos` to `new`."""
    draw(terminal.folder / "photos" / "a.jpg", 0)
    draw(terminal.folder / "photos" / "day" / "b.jpg", 1)
    terminal.run("tag", "photos", "--write", "sidecar")
    terminal.run("reject", "eiffel-tower", "photos/a.jpg")
    return (terminal.folder / "photos").rename(terminal.folder / "new")


def paths(terminal: Terminal) -> set[str]:
    lines = terminal.run("query", "--any-rank", "--format", "paths").stdout.splitlines()
    return {str(Path(line).relative_to(terminal.folder)) for line in lines}


def test_a_moved_library_is_followed_and_nothing_is_read_again(terminal, moved):
    assert "2 photos of" in terminal.run("db", "move", "photos", "new").stdout
    assert paths(terminal) == {"new/a.jpg", "new/day/b.jpg"}
    assert "2 skipped" in terminal.run("tag", "new").stderr
    assert terminal.run("query", "--verdict", "rejected", "--count").stdout.strip() == "1"
    undone = terminal.run("metadata", "undo", "--all")
    assert "2 undone" in undone.stderr
    assert not list(moved.rglob("*.xmp"))


def test_a_moved_library_that_was_tagged_first_is_named_until_it_is_followed(terminal, moved):
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


def test_a_library_with_a_link_in_its_old_place_is_a_moved_one(terminal, moved):
    (terminal.folder / "photos").symlink_to(moved)
    assert "tagger db move" in terminal.run("tag", "photos").stderr
    terminal.run("db", "move", "photos", "new")
    assert "db move" not in terminal.run("tag", "photos").stderr
    assert paths(terminal) == {"new/a.jpg", "new/day/b.jpg"}


def test_a_folder_that_is_no_moved_library_is_refused(terminal, moved):
    shutil.copytree(moved, terminal.folder / "photos")
    assert "it is still there" in terminal.run("db", "move", "photos", "new", code=1).stderr
    shutil.rmtree(terminal.folder / "photos")
    draw(terminal.folder / "other" / "x.jpg", 0)
    assert "not at the same paths" in terminal.run("db", "move", "photos", "other", code=1).stderr
    assert "no file or folder" in terminal.run("db", "move", "photos", "missing", code=1).stderr
    assert "no photo at" in terminal.run("db", "move", "unknown", "new", code=1).stderr
    assert paths(terminal) == {"photos/a.jpg", "photos/day/b.jpg"}
    assert "db move" not in terminal.run("tag", "other").stderr


YEAR = "Google Photos/Photos from 2019"
TRIP = "Google Photos/Trip to Paris"


def test_a_takeout_is_tagged_located_and_found_by_its_year(terminal):
    def draw(name: str) -> None:
        draw_shot(terminal.folder / "takeout" / name, None)

    def write(name: str, timestamp: int, latitude: float, longitude: float) -> None:
        document = {"photoTakenTime": {"timestamp": str(timestamp)}}
        document["geoData"] = {"latitude": latitude, "longitude": longitude}
        (terminal.folder / "takeout" / name).write_text(json.dumps(document))

    for name in ("IMG_0001", "IMG_0001(1)", "IMG_0001-bearbeitet", "PXL_20190714_213803123.MP"):
        draw(f"{YEAR}/{name}.jpg")
    draw(f"{TRIP}/IMG_0007.JPG")
    draw(f"{TRIP}/Screenshot_20150822-100819.png")
    write(f"{YEAR}/IMG_0001.jpg.supplemental-metadata.json", 1563140283, 48.8584, 2.2945)
    write(f"{YEAR}/IMG_0001.jpg.supplemental-metadata(1).json", 1577836000, -33.8568, 151.2153)
    write(f"{YEAR}/PXL_20190714_213803123.MP.jpg.supplemental-meta.json", 1563140283, 0.0, 0.0)
    write(f"{TRIP}/IMG_0007.JPG.json", 1563150283, 48.8606, 2.3376)
    (terminal.folder / "takeout" / TRIP / "metadata.json").write_text('{"title": "Trip to Paris"}')
    (terminal.folder / "takeout" / TRIP / "Screenshot_20150822-100819.png.json").write_text("{")
    tagged = terminal.run("tag", "takeout")
    assert "6 photos" in tagged.stderr
    assert "1 photo has a side file that cannot be read: Screenshot_20150822-100819.png" in tagged.stderr
    counts = terminal.json("locate")
    assert (counts["takeout"], counts["neighbour"], counts["camera"]) == (4, 1, 0)
    found = {
        each["path"].rpartition("/")[2]: each
        for each in terminal.json("query", "--year", "2019", "--any-rank")
    }
    # By its local time, the second photo is of the next year.
    assert {name: (each["taken_at"], each["taken_source"]) for name, each in found.items()} == {
        "IMG_0001.jpg": ("2019-07-14T23:38:03", "takeout"),
        "IMG_0001-bearbeitet.jpg": ("2019-07-14T23:38:03", "takeout"),
        "PXL_20190714_213803123.MP.jpg": ("2019-07-14T21:38:03", "takeout"),
        "IMG_0007.JPG": ("2019-07-15T02:24:43", "takeout"),
    }
    assert found["IMG_0001.jpg"]["position"]["source"] == "takeout"
    assert found["IMG_0001.jpg"]["position"]["city"] == "Paris"
    assert len(terminal.json("query", "--position", "takeout")) == 4
    shown = terminal.run("show", f"takeout/{TRIP}/Screenshot_20150822-100819.png").stdout
    assert "taken:      2015-08-22, the day in the file's name" in shown
    written = terminal.run("metadata", "write", "takeout", "--to", "sidecar", "--gps-estimated", "--dry-run")
    assert "IMG_0001" not in written.stdout


READERS = ("query", "status", "trips", "review", "model list", "landmark list", "job list", "db stats")


@pytest.fixture
def home(tmp_path) -> Iterator[Path]:
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
def home_terminal(tmp_path, home) -> Terminal:
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


def test_predict_reads_a_library_that_it_cannot_write(home_terminal, home):
    home_terminal.run("tag", "photos")
    home_terminal.run("landmark", "edit", "eiffel-tower", "--name", "La Tour")
    files = protect(home)
    done = home_terminal.run_process("predict", "photos/tower.jpg")
    assert "La Tour" in done.stdout
    assert sorted(home.rglob("*")) == files


def test_a_compiled_model_that_cannot_be_kept_is_one_warning(home_terminal, home):
    home_terminal.environment |= {"TAGGER_BACKEND": "openvino-int8"}
    del home_terminal.environment["TAGGER_MODEL"]  # only the shipped model has ranges
    home_terminal.run("model", "add", home_terminal.folder / "tiny.pt")  # creates the database
    protect(home)
    said = home_terminal.run_process("predict", "photos/tower.jpg").stderr.splitlines()
    (warning,) = [line for line in said if line.startswith("the compiled model")]
    assert "is not kept, so each start takes longer: " in warning


def test_commands_that_show_something_of_a_photo_create_nothing(home_terminal, home):
    del home_terminal.environment["TAGGER_MODEL"]  # only the shipped model has embeddings
    photo = "photos/tower.jpg"
    for command in (
        ("predict", photo),
        ("similar", photo),
        ("tag", "--dry-run", photo),
        ("metadata", "show", photo),
    ):
        home_terminal.run(*command)
        assert list(home.iterdir()) == [], command
    assert protect(home) == []
    home_terminal.run_process("predict", photo)  # needs no home that can be written


LEAVE_A_LOG = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("UPDATE landmarks SET name = 'La Tour' WHERE slug = 'eiffel-tower'")
os._exit(0)
"""


@pytest.fixture
def small_disk(home, home_terminal) -> Path:
    """The disk of a library with a job, which is not full yet."""
    if os.geteuid():
        pytest.skip("this user may not mount a disk")
    home_terminal.environment["TAGGER_DATA_FOLDER"] = str(home_terminal.data.parent.parent / "home" / "data")
    home_terminal.data = home / "data"
    home_terminal.run("tag", "photos")
    return home


def test_commands_that_read_need_no_space_also_for_what_a_killed_process_left(home_terminal, small_disk):
    fill(small_disk)
    for command in READERS:
        assert "is full: free some space" in home_terminal.run(*command.split()).stderr, command
    (small_disk / "filler").unlink()
    file = home_terminal.data / "tagger.sqlite"
    subprocess.run([sys.executable, "-c", LEAVE_A_LOG, file], check=True)
    assert file.with_name("tagger.sqlite-wal").stat().st_size
    fill(small_disk)
    for _ in range(2):
        assert "La Tour" in home_terminal.run("landmark", "list").stdout


def test_a_job_that_a_full_disk_ended_is_shown(home_terminal, small_disk):
    """Another process, which has the database open, cannot record either that the job's process died."""
    with home_terminal.database() as database:
        with database.write() as connection:
            died = {"state": JobState.RUNNING, "owner": "another", "owner_lease_until": 0.0}
            connection.execute(update(jobs).values(died))
        fill(small_disk)
        done = home_terminal.run("status")
        assert "job 1 running" in done.stdout
        assert "its process does not answer" in done.stdout
        assert done.stderr == ""
        refused = home_terminal.run("job", "cancel", "1", code=1)
        assert "No space is left for the database" in refused.stderr
    (small_disk / "filler").unlink()
    home_terminal.run("tag", "photos")
    assert "job 1 finished" in home_terminal.run("status").stdout
