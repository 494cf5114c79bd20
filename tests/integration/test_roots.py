"""Roots: the outermost folders; moved, unavailable, absorbed."""

import os
import threading
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from support.threads import in_threads

from tagger.database.connection import Database
from tagger.database.tables import photos, roots
from tagger.errors import RootUnavailable
from tagger.photos import files
from tagger.photos.files import MountState
from tagger.photos.paths import path_from_text, path_text
from tagger.roots import roots as roots_module
from tagger.roots.availability import unavailable_below, unavailable_folders
from tagger.roots.roots import (
    count_root_photos,
    ensure_root,
    find_root,
    list_roots,
)


def ensure(database: Database, folder: Path, root_paths: dict[str, Path] | None = None) -> roots_module.Root:
    with database.write() as connection:
        return ensure_root(connection, folder, root_paths or {})


def add(database: Database, root: roots_module.Root, *names: str | bytes) -> None:
    with database.write() as connection:
        for name in names:
            text, raw = path_text(os.fsdecode(name))
            row = {"root_id": root.id, "path": text, "path_bytes": raw, "size_bytes": 1, "mtime_ns": 1}
            connection.execute(insert(photos).values(row))


def stored_paths(database: Database) -> set[str]:
    with database.read() as connection:
        by_id = {root.id: root for root in list_roots(connection, {})}
        return {
            str(by_id[row.root_id].path_of(row.path, row.path_bytes))
            for row in connection.execute(select(photos))
        }


@contextmanager
def hanging(monkeypatch: pytest.MonkeyPatch, folders: Container[Path]) -> Iterator[None]:
    """Let listing these folders hang inside the context, as dead shares do."""
    answers = threading.Event()
    list_folder = os.scandir

    def scandir(folder: Path) -> object:
        if folder in folders:
            answers.wait()
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    try:
        yield
    finally:
        answers.set()


def test_a_folder_inside_a_root_belongs_to_it(database: Database, tmp_path: Path) -> None:
    root = ensure(database, tmp_path / "photos")
    assert ensure(database, tmp_path / "photos" / "2019") == root
    assert ensure(database, tmp_path / "photos") == root
    other = ensure(database, tmp_path / "photos-2")
    assert (root.name, other.name) == ("photos", "photos-2")
    assert other.id != root.id


def test_roots_with_the_same_name_are_numbered(database: Database, tmp_path: Path) -> None:
    names = [ensure(database, tmp_path / str(number) / "photos").name for number in range(3)]
    assert names == ["photos", "photos-2", "photos-3"]
    assert ensure(database, Path("/")).name == "root"


@pytest.mark.parametrize("page", [2, *(pytest.param(page, marks=pytest.mark.slow) for page in (1, 1000))])
def test_a_new_root_absorbs_the_roots_inside_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(roots_module, "PAGE", page)
    odd = tmp_path / os.fsdecode(b"odd\xfe")
    add(database, ensure(database, tmp_path / "a" / "b"), "1.jpg", b"\xff.jpg", "sub/2.jpg", b"sub\xfd/3.jpg")
    add(database, ensure(database, odd), "4.jpg", b"\xfc.jpg", "%d/5.jpg")
    add(database, ensure(database, tmp_path / "c'%s"), "6.jpg")
    add(database, ensure(database, tmp_path.parent / "elsewhere"), "7.jpg")
    before = stored_paths(database)
    assert len(before) == 9
    parent = ensure(database, tmp_path)
    assert stored_paths(database) == before
    with database.read() as connection:
        assert len(list_roots(connection, {})) == 2
        assert count_root_photos(connection, parent) == 8
        rows = connection.execute(select(photos).where(photos.c.root_id == parent.id)).all()
    for row in rows:
        path = path_from_text(row.path, row.path_bytes)
        assert path_text(path) == (row.path, row.path_bytes)


def test_settings_map_a_root_to_a_folder_of_this_machine(database: Database, tmp_path: Path) -> None:
    root = ensure(database, tmp_path / "server" / "library")
    root_paths = {"library": tmp_path / "mnt" / "library"}
    with database.read() as connection:
        (by_id,) = list_roots(connection, root_paths)
        assert by_id.folder == root_paths["library"]
        root_here = find_root(connection, root_paths["library"] / "a.jpg", root_paths)
        assert root_here is not None
        assert root_here.id == root.id
        assert find_root(connection, tmp_path / "server" / "library" / "a.jpg", root_paths) is None
    assert ensure(database, root_paths["library"] / "sub", root_paths).id == root.id


def test_a_new_root_does_not_take_a_name_from_the_settings(database: Database, tmp_path: Path) -> None:
    root_paths = {"photos": tmp_path / "mnt" / "photos"}
    assert ensure(database, tmp_path / "home" / "photos", root_paths).name == "photos-2"
    assert ensure(database, tmp_path / "mnt" / "photos", root_paths).name == "photos"


def test_a_root_is_unavailable_if_it_is_missing_or_unexpectedly_empty(
    database: Database, tmp_path: Path
) -> None:
    root = ensure(database, tmp_path / "photos")

    def is_unavailable() -> bool:
        with database.read() as connection:
            return [each.folder for each in unavailable_folders(connection, [root])] == [root.folder]

    assert is_unavailable()
    root.folder.mkdir()
    assert not is_unavailable()
    add(database, root, "share/a.jpg")
    assert is_unavailable()
    (root.folder / "other.txt").touch()
    (root.folder / "share").mkdir()
    assert not is_unavailable()
    with database.read() as connection:
        assert unavailable_below(connection, root, root.folder) == []
        with pytest.raises(RootUnavailable, match="share is empty or missing"):
            unavailable_below(connection, root, root.folder / "share")
        assert count_root_photos(connection, root, root.folder / "share") == 1
        assert count_root_photos(connection, root, root.folder / "shar") == 0


def test_a_share_that_is_mounted_again_is_found_although_the_first_check_still_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(files, "RETRY_S", 0.3)
    dead = {tmp_path}
    with hanging(monkeypatch, dead):
        assert files.check_mount(tmp_path).state is MountState.SILENT
        dead.clear()
        time.sleep(0.3)
        monkeypatch.setattr(files, "TIMEOUT_S", 60.0)
        assert files.check_mount(tmp_path).state is MountState.EMPTY


@pytest.mark.postgresql
def test_a_parent_and_its_children_added_concurrently_become_one_root(
    database: Database, tmp_path: Path
) -> None:
    for number in range(5):
        base = tmp_path / str(number)
        folders = [base, base / "a", base / "a" / "b", base / "c", base]
        in_threads([lambda folder=folder: ensure(database, folder) for folder in folders])
        with database.read() as connection:
            locations = connection.scalars(select(roots.c.location)).all()
        assert [path for path in locations if Path(path).is_relative_to(base)] == [str(base)]
