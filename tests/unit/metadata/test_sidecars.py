"""The paths of a photo's sidecars."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.sidecar_names import is_sidecar_name, sidecar_paths


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return create_file(tmp_path, "photo.jpg")


def create_file(folder: Path, name: str) -> Path:
    (folder / name).write_bytes(b"")
    return folder / name


def test_new_sidecar_appends_a_suffix(photo: Path, tmp_path: Path) -> None:
    assert sidecar_paths(photo, may_create=True)[0] == tmp_path / "photo.jpg.xmp"
    assert sidecar_paths(photo) == ()


@pytest.mark.parametrize("name", ["photo.jpg.xmp", "photo.jpg.XMP", "photo.jpg.Xmp"])
def test_existing_sidecar_is_found_in_any_case(name: str, photo: Path, tmp_path: Path) -> None:
    sidecar = create_file(tmp_path, name)
    assert sidecar_paths(photo) == (sidecar,)
    assert sidecar_paths(photo, may_create=True)[0] == sidecar


@pytest.mark.parametrize("name", ["photo.xmp", "photo.XMP"])
def test_adobe_sidecar_is_found(name: str, photo: Path, tmp_path: Path) -> None:
    sidecar = create_file(tmp_path, name)
    assert sidecar_paths(photo, may_create=True)[0] == sidecar
    assert sidecar_paths(photo) == (sidecar,)


def test_sidecar_with_the_photos_suffix_comes_first(photo: Path, tmp_path: Path) -> None:
    adobe, ours = create_file(tmp_path, "photo.xmp"), create_file(tmp_path, "photo.jpg.xmp")
    assert sidecar_paths(photo, may_create=True)[0] == ours
    assert sidecar_paths(photo) == (ours, adobe)


@pytest.mark.parametrize("other", ["photo.nef", "photo.CR2", "PHOTO.dng", "photo.png", "photo.mov", "photo"])
def test_sidecar_of_a_raw_file_is_ignored(other: str, photo: Path, tmp_path: Path) -> None:
    create_file(tmp_path, other)
    create_file(tmp_path, "photo.xmp")
    assert sidecar_paths(photo, may_create=True)[0] == tmp_path / "photo.jpg.xmp"
    assert sidecar_paths(photo) == ()


@pytest.mark.parametrize("name", ["photo.jpg.cr3", "photo.JPG.CR3", "photo.jpg.png"])
def test_a_file_named_after_another_photo_leaves_it_its_sidecar(
    name: str, photo: Path, tmp_path: Path
) -> None:
    other = create_file(tmp_path, name)
    sidecar = create_file(tmp_path, f"{other.stem}.xmp")
    assert sidecar_paths(other) == ()
    assert sidecar_paths(other, may_create=True, adds=True) == (tmp_path / f"{name}.xmp",)
    assert sidecar_paths(photo) == ((sidecar,) if sidecar.stem == photo.name else ())


@pytest.mark.parametrize("has_sidecar", [False, True])
def test_a_sidecar_that_may_be_of_a_raw_file_gets_no_values(
    has_sidecar: bool, photo: Path, tmp_path: Path
) -> None:
    sidecar = tmp_path / "photo.jpg.xmp"
    if has_sidecar:
        create_file(tmp_path, sidecar.name)
    assert sidecar_paths(photo, may_create=True, adds=True) == (sidecar,)
    create_file(tmp_path, "photo.jpg.CR3")
    assert sidecar_paths(photo, may_create=True) == (sidecar,)  # to remove values
    with pytest.raises(WriteRefused, match=r"photo\.jpg\.CR3.*Rename one") as refused:
        sidecar_paths(photo, may_create=True, adds=True)
    assert refused.value.kind is RefusalKind.SIDECAR
    if not has_sidecar:
        assert sidecar_paths(photo, adds=True) == ()
        adobe = create_file(tmp_path, "photo.xmp")
        assert sidecar_paths(photo, may_create=True, adds=True) == (adobe,)


def test_undecodable_names_are_kept(tmp_path: Path) -> None:
    photo = create_file(tmp_path, os.fsdecode(b"\xff\xe9t\xe9.jpg"))
    assert os.fsencode(sidecar_paths(photo, may_create=True)[0].name) == b"\xff\xe9t\xe9.jpg.xmp"
    adobe = create_file(tmp_path, os.fsdecode(b"\xff\xe9t\xe9.XMP"))
    assert sidecar_paths(photo, may_create=True)[0] == adobe


def test_unreadable_folder_is_refused(photo: Path) -> None:
    assert sidecar_paths(photo.parent / "gone" / "photo.jpg", may_create=True)[0].name == "photo.jpg.xmp"
    with pytest.raises(WriteFailed):
        sidecar_paths(photo / "photo.jpg", may_create=True)
    with pytest.raises(WriteRefused):
        sidecar_paths(photo.with_name("x" * 252 + ".jpg"), may_create=True)


@given(st.text(max_size=5), st.text(alphabet="xXmMpP.", min_size=3, max_size=4))
def test_sidecars_are_recognised_by_their_suffix(stem: str, ending: str) -> None:
    assert is_sidecar_name(f"{stem}.{ending}") == (ending.lower().endswith(".xmp") or ending.lower() == "xmp")
