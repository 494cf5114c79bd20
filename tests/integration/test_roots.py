"""Roots: one per file, the outermost; moved, away, absorbed."""

import os
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from threads import in_threads

from tagger import roots as rooms
from tagger.database import Database
from tagger.photos import path_from_text, path_text
from tagger.roots import count_known, ensure_root, is_away, list_roots, root_of
from tagger.tables import photos, roots


def ensure(database: Database, folder: Path, places: dict[str, Path] | None = None) -> rooms.Root:
    with database.write() as connection:
        return ensure_root(connection, folder, places or {})


def add(database: Database, root: rooms.Root, *names: str | bytes) -> None:
    with database.write() as connection:
        for name in names:
            text, raw = path_text(os.fsdecode(name))
            row = {"root_id": root.id, "path": text, "path_bytes": raw, "size_bytes": 1, "mtime_ns": 1}
            connection.execute(insert(photos).values(row))


def known(database: Database) -> set[str]:
    with database.read() as connection:
        here = {root.id: root for root in list_roots(connection, {})}
        return {
            str(here[row.root_id].path_of(row.path, row.path_bytes))
            for row in connection.execute(select(photos))
        }


def test_a_folder_inside_a_root_is_the_roots(database: Database, tmp_path: Path) -> None:
    root = ensure(database, tmp_path / "photos")
    assert ensure(database, tmp_path / "photos" / "2019") == root
    assert ensure(database, tmp_path / "photos") == root
    other = ensure(database, tmp_path / "photos-2")
    assert (root.name, other.name) == ("photos", "photos-2")
    assert other.id != root.id


def test_roots_of_one_name_are_numbered(database: Database, tmp_path: Path) -> None:
    names = [ensure(database, tmp_path / str(number) / "photos").name for number in range(3)]
    assert names == ["photos", "photos-2", "photos-3"]
    assert ensure(database, Path("/")).name == "root"


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_a_parent_takes_in_its_childrens_photos(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(rooms, "MOVE_PAGE", page)
    odd = tmp_path / os.fsdecode(b"odd\xfe")
    add(database, ensure(database, tmp_path / "a" / "b"), "1.jpg", b"\xff.jpg", "sub/2.jpg", b"sub\xfd/3.jpg")
    add(database, ensure(database, odd), "4.jpg", b"\xfc.jpg", "%d/5.jpg")
    add(database, ensure(database, tmp_path / "c'%s"), "6.jpg")
    add(database, ensure(database, tmp_path.parent / "elsewhere"), "7.jpg")
    before = known(database)
    assert len(before) == 9
    parent = ensure(database, tmp_path)
    assert known(database) == before
    with database.read() as connection:
        assert len(list_roots(connection, {})) == 2
        assert count_known(connection, parent) == 8
        rows = connection.execute(select(photos).where(photos.c.root_id == parent.id)).all()
    for row in rows:
        whole = path_from_text(row.path, row.path_bytes)
        assert path_text(whole) == (row.path, row.path_bytes)


def test_settings_say_where_a_root_is_on_this_machine(database: Database, tmp_path: Path) -> None:
    root = ensure(database, tmp_path / "server" / "library")
    places = {"library": tmp_path / "mnt" / "library"}
    with database.read() as connection:
        (here,) = list_roots(connection, places)
        assert here.folder == places["library"]
        found = root_of(connection, places["library"] / "a.jpg", places)
        assert found is not None
        assert found.id == root.id
        assert root_of(connection, tmp_path / "server" / "library" / "a.jpg", places) is None
    assert ensure(database, places["library"] / "sub", places).id == root.id


def test_a_new_root_never_gets_a_name_whose_place_is_set_elsewhere(
    database: Database, tmp_path: Path
) -> None:
    places = {"photos": tmp_path / "mnt" / "photos"}
    assert ensure(database, tmp_path / "home" / "photos", places).name == "photos-2"
    assert ensure(database, tmp_path / "mnt" / "photos", places).name == "photos"


def test_a_root_is_away_when_missing_or_empty_though_photos_are_known(
    database: Database, tmp_path: Path
) -> None:
    root = ensure(database, tmp_path / "photos")
    with database.read() as connection:
        assert is_away(connection, root)
    root.folder.mkdir()
    with database.read() as connection:
        assert not is_away(connection, root)
    add(database, root, "share/a.jpg")
    with database.read() as connection:
        assert is_away(connection, root)
    (root.folder / "other.txt").touch()
    (root.folder / "share").mkdir()
    with database.read() as connection:
        assert not is_away(connection, root)
        assert is_away(connection, root, root.folder / "share")
        assert count_known(connection, root, root.folder / "share") == 1
        assert count_known(connection, root, root.folder / "shar") == 0


def test_a_parent_and_its_children_added_at_once_end_as_one_root(database: Database, tmp_path: Path) -> None:
    for number in range(5):
        base = tmp_path / str(number)
        folders = [base, base / "a", base / "a" / "b", base / "c", base]
        in_threads([lambda folder=folder: ensure(database, folder) for folder in folders])
        with database.read() as connection:
            places = connection.scalars(select(roots.c.place)).all()
        assert [place for place in places if Path(place).is_relative_to(base)] == [str(base)]
