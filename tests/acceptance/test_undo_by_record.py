"""`tagger metadata undo` finds what was written, also of renamed, copied and forgotten photos, or says so."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.command_line import CommandRunner
from support.commands import draw
from support.written_folder import SIDECAR_OF_USER

OURS = b"landmark-tagger"


@pytest.fixture
def folder(tagger_with_redis: CommandRunner, tmp_path: Path) -> Path:
    """A folder with a photo whose tags were written to a sidecar, and one into which they were embedded."""
    folder = tmp_path / "photos"
    draw(folder / "a.jpg", 0, seed=1)
    tagger_with_redis("tag", folder, "--write", "sidecar")
    draw(folder / "b.jpg", 0, seed=2)
    tagger_with_redis("tag", folder / "b.jpg", "--write", "embed")
    return folder


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.*") if OURS in path.read_bytes()}


def test_copies_that_were_not_scanned_are_undone(tagger_with_redis: CommandRunner, folder: Path) -> None:
    shutil.copytree(folder, folder / "copies")
    shutil.copy2(folder / "a.jpg.xmp", folder / "old.xmp")
    assert len(left(folder)) == 5
    output = tagger_with_redis("metadata", "undo", "--all")
    assert (output.code, left(folder)) == (0, set())
    assert "the original is restored" in output.text
    assert not (folder / "copies" / "a.jpg.xmp").exists()


def test_forgotten_photos_are_named_with_the_command_that_undoes_them(
    tagger_with_redis: CommandRunner, folder: Path
) -> None:
    tagger_with_redis("forget", folder)
    for _ in range(2):
        output = tagger_with_redis("metadata", "undo", "--all")
        assert output.code == 3
        assert "2 written files belong to photos that were removed from the database" in output.err
        assert "tagger metadata undo FOLDER" in output.err
    undone = tagger_with_redis("metadata", "undo", folder)
    assert (undone.code, left(folder)) == (0, set())
    assert "a.jpg.xmp deleted" in undone.text
    assert "the original is restored" in undone.text
    nothing = tagger_with_redis("metadata", "undo", folder)
    assert (nothing.code, "nothing is left to undo" in nothing.err) == (0, True)


def test_another_database_finds_values_by_what_the_files_say(
    tagger_with_redis: CommandRunner, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/other.db")
    other = tagger_with_redis
    output = other("metadata", "undo", "--all")
    assert (output.code, "tagger metadata undo FOLDER" in output.err) == (3, True)
    undone = other("metadata", "undo", folder)
    assert (undone.code, left(folder)) == (0, set())


def test_show_goes_by_the_record(tagger_with_redis: CommandRunner, tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "a.jpg"
    draw(photo, 0)
    sidecar = photo.with_suffix(".xmp")
    sidecar.write_text(SIDECAR_OF_USER)
    tagger_with_redis("tag", photo, "--write", "sidecar")
    photo.with_suffix(".png").write_bytes(b"another photo")
    shown = tagger_with_redis("metadata", "show", photo)
    assert (shown.code, "a.xmp: tagger wrote Eiffel Tower" in shown.text) == (0, True)
    sidecar.unlink()
    lost = tagger_with_redis("metadata", "show", photo)
    assert (lost.code, "a.xmp, into which tags were written, is not there any more" in lost.err) == (3, True)


def test_two_libraries_leave_each_other_s_files(
    tagger_with_redis: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, photos = tagger_with_redis, tmp_path / "photos"
    for number, name in enumerate(("a/1.jpg", "b/2.jpg")):
        draw(photos / name, 0, seed=number)
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    for library in "ab":
        monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/{library}.db")
        run("tag", photos)
        run("metadata", "write", "--to", "sidecar", photos / library)
    assert (photos / "a/1.jpg.xmp").read_bytes() == (photos / "b/2.jpg.xmp").read_bytes()
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/a.db")
    first = run("metadata", "undo", "--all")
    # An older backup of the other database looks the same, so the files are named.
    assert (first.code, left(photos)) == (3, {"b/2.jpg.xmp"})
    assert "another database wrote them" in first.err
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/b.db")
    second = run("metadata", "undo", "--all")
    assert (second.code, {path: path.read_bytes() for path in photos.rglob("*.*")}) == (0, before)


def test_an_older_backup_of_the_database_names_the_files(
    tagger_with_redis: CommandRunner, tmp_path: Path
) -> None:
    run, photos = tagger_with_redis, tmp_path / "photos"
    for number, name in enumerate(("a/1.jpg", "b/2.jpg", "b/3.jpg")):
        draw(photos / name, 0, seed=number)
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    run("tag", photos)
    run("metadata", "write", "--to", "sidecar", photos / "a")
    backup = tmp_path / "backup.sqlite"
    with (
        closing(sqlite3.connect(tmp_path / "data" / "tagger.sqlite")) as source,
        closing(sqlite3.connect(backup)) as copy,
    ):
        source.backup(copy)
    run("metadata", "write", "--to", "sidecar", photos / "b" / "2.jpg")
    run("metadata", "write", "--to", "embed", photos / "b" / "3.jpg")
    for path in (tmp_path / "data").glob("tagger.sqlite*"):
        path.unlink()
    shutil.copy2(backup, tmp_path / "data" / "tagger.sqlite")
    undone = run("metadata", "undo", "--all")
    assert (undone.code, left(photos)) == (3, {"b/2.jpg.xmp", "b/3.jpg"})
    assert "2 files hold tags of tagger" in undone.err
    assert run("metadata", "undo", photos).code == 0
    assert left(photos) == set()
    assert set(photos.rglob("*.*")) == before.keys()
