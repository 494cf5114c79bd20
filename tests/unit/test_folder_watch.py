"""Watched folders report photos that are complete, and paths that are gone."""

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.privileges import without_root_privileges

from tagger.errors import FolderMessagesLost, FoldersNotWatched
from tagger.photos.watching import FolderWatch, QuietPaths

LONGEST_S = 60
QUIET_S = 3.0


class States:
    """The states of files, by path."""

    def __init__(self) -> None:
        self.of: dict[Path, tuple[int, int]] = {}
        self.quiet = QuietPaths(self.of.get, QUIET_S)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


def test_a_path_is_due_once_it_has_been_quiet() -> None:
    states, photo = States(), Path("a.jpg")
    states.of[photo] = 1, 1
    states.quiet.record(photo, 10.0)
    assert states.quiet.due(10.0 + QUIET_S / 2) == []
    assert states.quiet.due(10.0 + QUIET_S) == [(photo, True)]
    assert states.quiet.due(10.0 + 2 * QUIET_S) == []


def test_a_file_that_grows_without_messages_is_waited_for() -> None:
    states, photo = States(), Path("a.jpg")
    for step in range(5):
        states.of[photo] = step, step
        if step == 0:
            states.quiet.record(photo, 0.0)
        assert states.quiet.due((step + 1) * QUIET_S) == ([(photo, True)] if step == 0 else [])
        if step == 0:
            states.quiet.record(photo, QUIET_S)
    assert states.quiet.due(6 * QUIET_S) == [(photo, True)]


def test_a_file_that_is_gone_is_due_as_missing() -> None:
    states, photo = States(), Path("a.jpg")
    states.of[photo] = 1, 1
    states.quiet.record(photo, 0.0)
    del states.of[photo]
    assert states.quiet.due(QUIET_S) == []
    assert states.quiet.due(2 * QUIET_S) == [(photo, False)]


@contextmanager
def watching(
    folder: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Iterator[FolderWatch]:
    with FolderWatch([folder], include, exclude, quiet_s=0.3) as watch:
        yield watch


def reported(
    watch: FolderWatch, folder: Path, *, photos: int = 0, missing: int = 0
) -> tuple[set[str], set[str]]:
    """What is reported until there are so many, relative to the folder."""
    found: set[str] = set()
    gone: set[str] = set()
    until = time.monotonic() + LONGEST_S
    while (len(found) < photos or len(gone) < missing) and time.monotonic() < until:
        changes = watch.poll()
        found |= {str(path.relative_to(folder)) for path in changes.photos}
        gone |= {str(path.relative_to(folder)) for path in changes.missing}
    return found, gone


def write(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_new_photos_are_reported_and_other_files_are_not(library: Path) -> None:
    with watching(library, exclude=("private",)) as watch:
        write(library / "notes.txt")
        write(library / ".hidden.jpg")
        write(library / "private" / "a.jpg")
        write(library / "trip" / "b.JPG")
        assert reported(watch, library, photos=1) == ({"trip/b.JPG"}, set())


def test_a_copy_under_a_temporary_name_is_reported_when_it_gets_its_own(library: Path) -> None:
    with watching(library) as watch:
        write(library / ".a.jpg.part")
        (library / ".a.jpg.part").rename(library / "a.jpg")
        assert reported(watch, library, photos=1)[0] == {"a.jpg"}


def test_the_photos_of_a_folder_that_is_moved_here_are_reported(library: Path, tmp_path: Path) -> None:
    write(tmp_path / "trip" / "day" / "a.jpg")
    write(tmp_path / "trip" / "b.jpg")
    write(tmp_path / "trip" / "c.txt")
    with watching(library) as watch:
        (tmp_path / "trip").rename(library / "trip")
        assert reported(watch, library, photos=2)[0] == {"trip/day/a.jpg", "trip/b.jpg"}


def test_deleted_photos_and_folders_are_missing(library: Path) -> None:
    write(library / "a.jpg")
    write(library / "trip" / "b.jpg")
    with watching(library) as watch:
        (library / "a.jpg").unlink()
        shutil.rmtree(library / "trip")
        assert reported(watch, library, missing=3) == (set(), {"a.jpg", "trip", "trip/b.jpg"})


def test_a_link_to_a_photo_of_the_same_folder_is_not_reported_twice(library: Path) -> None:
    with watching(library) as watch:
        write(library / "a.jpg")
        (library / "b.jpg").symlink_to("a.jpg")
        write(library / "c.jpg")
        assert reported(watch, library, photos=2)[0] == {"a.jpg", "c.jpg"}


@pytest.mark.parametrize("target", [".", ".."])
def test_photos_are_reported_by_the_path_without_links_to_folders(library: Path, target: str) -> None:
    write(library / "old" / "a.jpg")
    write(library.parent / "outside" / "a.jpg")
    (library / "link").symlink_to(target)
    with watching(library) as watch:
        write(library / "link" / "outside" / "b.jpg")
        write(library / "old" / "b.jpg")
        (library / "old" / "a.jpg").unlink()
        write(library / "new" / "c.jpg")
        inside = {"outside/b.jpg"} if target == "." else set()
        photos = {"old/b.jpg", "new/c.jpg"} | inside
        assert reported(watch, library, photos=len(photos), missing=1) == (photos, {"old/a.jpg"})


def test_a_system_that_watches_no_more_folders_is_one_clear_error(library: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(FoldersNotWatched, match="max_user_watches"), watching(library):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_name_that_is_not_utf_8_ends_the_watch_with_one_clear_error(library: Path) -> None:
    with watching(library) as watch:
        (library / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
        with pytest.raises(FolderMessagesLost):
            reported(watch, library, photos=1)


def test_what_is_in_a_folder_that_was_closed_meanwhile_is_no_photo(tmp_path: Path) -> None:
    with without_root_privileges():
        library = Path(tempfile.mkdtemp())
        with watching(library) as watch:
            write(library / "closed" / "folder" / "a.jpg")
            write(library / "open.jpg")
            (library / "closed").chmod(0)
            try:
                photos, _ = reported(
                    watch, library, photos=1
                )  # whether the other one is missing is left open
                assert photos == {"open.jpg"}
            finally:
                (library / "closed").chmod(0o700)
                shutil.rmtree(library)
