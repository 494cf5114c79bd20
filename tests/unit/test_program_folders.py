"""Copies that other programs keep are no photos, and what is left out is counted and named. Real folders; see program_libraries."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from support.program_libraries import LIBRARIES

from tagger.cli.output.job_text import other_files_lines
from tagger.photos.folders import FoundPhoto, PathFilter, find_photos
from tagger.photos.names import OtherFiles, is_photo_name


def create(root: Path, paths: Iterable[str]) -> None:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"pixels")


def photos(root: Path, other_files: OtherFiles | None = None) -> set[str]:
    found = find_photos(root, other_files=other_files)
    return {photo.path.relative_to(root).as_posix() for photo in found if isinstance(photo, FoundPhoto)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_originals_of_a_library_are_photos_and_copies_are_not(tmp_path: Path, library: str) -> None:
    paths = LIBRARIES[library]
    create(tmp_path, paths)
    assert photos(tmp_path) == {path for path, is_photo in paths.items() if is_photo}
    path_filter = PathFilter(str(tmp_path), os.path.lexists)
    for path, is_photo in paths.items():
        if is_photo_name(path) and not path.rpartition("/")[2].startswith("."):
            assert (path_filter.closed_folder(path.rpartition("/")[0]) is None) == is_photo, path


def test_a_folder_that_the_user_names_is_searched(tmp_path: Path) -> None:
    create(tmp_path, (".nomedia", "a.jpg", "sub/.nomedia", "sub/b.jpg"))
    package = tmp_path / "P.photoslibrary"
    create(package, ("originals/a.jpg", "resources/derivatives/a.jpg"))
    assert photos(tmp_path) == {"a.jpg", "P.photoslibrary/originals/a.jpg"}
    assert photos(package) == {"originals/a.jpg"}
    assert photos(package / "resources") == {"derivatives/a.jpg"}


def test_what_is_left_out_is_named_with_its_reason(tmp_path: Path) -> None:
    names = [f"{name}/@eaDir/a.jpg" for name in "abcd"]
    create(tmp_path, (*names, "p/.nomedia", "p/a.jpg", "p/sub/b.jpg", ".hidden/a.jpg"))
    create(tmp_path, ("f.jp2", "g.jxl", "h.mp4", "i.mp4"))
    other_files = OtherFiles()
    assert photos(tmp_path, other_files) == set()
    assert other_files_lines(other_files) == [
        f"left out: 1 folder ({tmp_path}/p) with .nomedia",
        f"left out: 4 folders ({', '.join(f'{tmp_path}/{name}/@eaDir' for name in 'abc')}, 1 more) with thumbnails of Synology",
        "left out by extension: 4 files (2 .mp4, .jp2, .jxl)",
    ]
