"""Which file is a photo's sidecar."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.metadata.refusals import WriteRefused
from tagger.metadata.sidecars import is_sidecar_name, sidecar_of, sidecars_there
from tagger.metadata.trouble import WriteFailed


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return there(tmp_path, "photo.jpg")


def there(folder: Path, name: str) -> Path:
    (folder / name).write_bytes(b"")
    return folder / name


def test_a_new_sidecar_is_called_as_its_photo_and_more(photo: Path, tmp_path: Path) -> None:
    assert sidecar_of(photo) == tmp_path / "photo.jpg.xmp"
    assert sidecars_there(photo) == ()


@pytest.mark.parametrize("name", ["photo.jpg.xmp", "photo.jpg.XMP", "photo.jpg.Xmp"])
def test_the_sidecar_that_is_there_is_taken_in_any_case_of_its_ending(
    name: str, photo: Path, tmp_path: Path
) -> None:
    sidecar = there(tmp_path, name)
    assert sidecars_there(photo) == (sidecar,)
    assert sidecar_of(photo) == sidecar


@pytest.mark.parametrize("name", ["photo.xmp", "photo.XMP"])
def test_adobes_name_is_taken_where_it_is_there(name: str, photo: Path, tmp_path: Path) -> None:
    sidecar = there(tmp_path, name)
    assert sidecar_of(photo) == sidecar
    assert sidecars_there(photo) == (sidecar,)


def test_of_both_names_the_one_with_the_photos_ending_is_written(photo: Path, tmp_path: Path) -> None:
    adobe, ours = there(tmp_path, "photo.xmp"), there(tmp_path, "photo.jpg.xmp")
    assert sidecar_of(photo) == ours
    assert sidecars_there(photo) == (ours, adobe)


@pytest.mark.parametrize("other", ["photo.nef", "photo.CR2", "PHOTO.dng", "photo.png", "photo.mov", "photo"])
def test_a_raws_sidecar_is_left_alone(other: str, photo: Path, tmp_path: Path) -> None:
    there(tmp_path, other)
    there(tmp_path, "photo.xmp")
    assert sidecar_of(photo) == tmp_path / "photo.jpg.xmp"
    assert sidecars_there(photo) == ()


@pytest.mark.parametrize(
    "other", ["photo2.nef", "photo.nef.xmp", "other.jpg", "photo.jpg.XMP~", "photo.jpg.bak"]
)
def test_files_of_another_stem_do_not_matter(other: str, photo: Path, tmp_path: Path) -> None:
    there(tmp_path, other)
    adobe = there(tmp_path, "photo.xmp")
    assert sidecar_of(photo) == adobe


def test_a_folder_of_the_photos_name_does_not_matter(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "photo").mkdir()
    adobe = there(tmp_path, "photo.xmp")
    assert sidecar_of(photo) == adobe


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    photo = there(tmp_path, os.fsdecode(b"\xff\xe9t\xe9.jpg"))
    assert os.fsencode(sidecar_of(photo).name) == b"\xff\xe9t\xe9.jpg.xmp"
    adobe = there(tmp_path, os.fsdecode(b"\xff\xe9t\xe9.XMP"))
    assert sidecar_of(photo) == adobe


def test_a_photo_without_an_ending_has_one_sidecar(tmp_path: Path) -> None:
    photo = there(tmp_path, "photo")
    there(tmp_path, "photo.jpg")
    sidecar = there(tmp_path, "photo.xmp")
    assert sidecars_there(photo) == (sidecar,)


def test_a_folder_that_cannot_be_asked_is_explained(photo: Path) -> None:
    assert sidecar_of(photo.parent / "gone" / "photo.jpg").name == "photo.jpg.xmp"
    with pytest.raises(WriteFailed):
        sidecar_of(photo / "photo.jpg")
    with pytest.raises(WriteRefused):
        sidecar_of(photo.with_name("x" * 252 + ".jpg"))


@given(st.text(max_size=5), st.text(alphabet="xXmMpP.", min_size=3, max_size=4))
def test_sidecars_are_known_by_their_ending(stem: str, ending: str) -> None:
    assert is_sidecar_name(f"{stem}.{ending}") == (ending.lower().endswith(".xmp") or ending.lower() == "xmp")
