"""`tagger metadata undo` undoes what is on record, and names files that hold tags of tagger without a record."""

import shutil
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
    shutil.copy2(folder / "b.jpg", tmp_path)
    tagger_with_redis("tag", folder / "b.jpg", "--write", "embed")
    return folder


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.*") if OURS in path.read_bytes()}


def test_copies_that_were_not_scanned_are_named(tagger_with_redis: CommandRunner, folder: Path) -> None:
    shutil.copytree(folder, folder / "copies")
    undone = tagger_with_redis("metadata", "undo", "--all")
    assert (undone.code, left(folder)) == (3, {"copies/a.jpg.xmp", "copies/b.jpg"})
    assert "tags of tagger are still in 2 files" in undone.err
    assert f"{folder}/copies/a.jpg.xmp, {folder}/copies/b.jpg;" in undone.err


def test_forgotten_photos_are_named_with_the_commands_that_undo_them(
    tagger_with_redis: CommandRunner, folder: Path
) -> None:
    original_bytes = folder.with_name("b.jpg").read_bytes()
    tagger_with_redis("forget", folder)
    for _ in range(2):
        output = tagger_with_redis("metadata", "undo", "--all")
        assert output.code == 3
        assert "2 written files belong to photos that were removed from the database" in output.err
        assert "tagger metadata undo FOLDER" in output.err
    named = tagger_with_redis("metadata", "undo", folder)
    assert (named.code, left(folder)) == (3, {"a.jpg.xmp", "b.jpg"})
    tagger_with_redis("tag", folder, "--write", "sidecar")
    undone = tagger_with_redis("metadata", "undo", folder)
    assert (undone.code, left(folder)) == (0, set())
    assert "the original is restored" in undone.text
    assert (folder / "b.jpg").read_bytes() == original_bytes
    nothing = tagger_with_redis("metadata", "undo", folder)
    assert (nothing.code, "nothing is left to undo" in nothing.err) == (0, True)


def test_what_another_database_wrote_is_named_and_can_be_taken_over(
    tagger_with_redis: CommandRunner, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/other.db")
    other = tagger_with_redis
    for named in (other("metadata", "undo", folder), other("metadata", "undo", folder / "b.jpg")):
        assert named.code == 3
        assert str(folder / "b.jpg") in named.err
    assert "tagger tag FOLDER --write sidecar, then: tagger metadata undo FOLDER" in named.err
    other("tag", folder, "--write", "sidecar")
    undone = other("metadata", "undo", folder)
    assert (undone.code, left(folder)) == (0, set())
    assert (folder / "b.jpg").read_bytes() == folder.with_name("b.jpg").read_bytes()


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
    assert "which no job of this database wrote" in first.err
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/b.db")
    second = run("metadata", "undo", "--all")
    assert (second.code, {path: path.read_bytes() for path in photos.rglob("*.*")}) == (0, before)
