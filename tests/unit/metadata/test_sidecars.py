"""The paths of a photo's sidecars."""

import os
from pathlib import Path

import pytest

from tagger.metadata import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.photo_files import find_photo_files, new_sidecar, refuse_shared
from tagger.photos.files import OpenFolder


@pytest.fixture
def photo(tmp_path) -> Path:
    return create_file(tmp_path, "photo.jpg")


def create_file(folder: Path, name: str) -> Path:
    (folder / name).write_bytes(b"")
    return folder / name


def paths_to_write(photo: Path) -> tuple[Path, ...]:
    return find_photo_files(photo).beside or (new_sidecar(photo),)


def paths_to_extend(photo: Path) -> tuple[Path, ...]:
    paths = paths_to_write(photo)
    refuse_shared(photo, None, paths)
    return paths


@pytest.mark.parametrize(
    "name", ["photo.jpg.xmp", "photo.jpg.XMP", "photo.jpg.Xmp", "photo.xmp", "photo.XMP"]
)
def test_existing_sidecar_is_found_whatever_its_suffix(name, photo, tmp_path):
    sidecar = create_file(tmp_path, name)
    assert find_photo_files(photo).beside == (sidecar,)
    assert paths_to_write(photo) == (sidecar,)


@pytest.mark.parametrize("name", ["photo.jpg.xmp", "photo.XMP"])
def test_a_share_that_ignores_case_and_numbers_each_spelling_has_one_sidecar(
    name, photo, tmp_path, monkeypatch
):
    sidecar = create_file(tmp_path, name)

    def status(_folder: OpenFolder, spelling: str) -> os.stat_result:
        same = (each for each in tmp_path.iterdir() if each.name.lower() == spelling.lower())
        mode, _number, *others = next(same, tmp_path / spelling).stat()
        return os.stat_result((mode, hash(spelling), *others))

    monkeypatch.setattr(OpenFolder, "status", status)
    assert find_photo_files(photo).beside == (sidecar,)


def test_a_hidden_sidecar_is_repeated_and_one_with_the_photos_suffix_comes_first(photo, tmp_path):
    assert paths_to_write(photo)[0] == tmp_path / "photo.jpg.xmp"
    assert find_photo_files(photo).beside == ()
    adobe, ours = create_file(tmp_path, "photo.xmp"), create_file(tmp_path, "photo.jpg.xmp")
    assert paths_to_write(photo)[0] == ours
    assert find_photo_files(photo).beside == (ours, adobe)
    create_file(tmp_path, "photo.CR3")
    adobe = create_file(tmp_path, "photo.xmp")
    adobe.write_text("<photoshop:SidecarForExtension>CR3</photoshop:SidecarForExtension>")
    assert find_photo_files(photo).hidden == (adobe,)
    assert find_photo_files(tmp_path / "photo.CR3").beside == (adobe,)


@pytest.mark.parametrize("other", ["photo.nef", "PHOTO.dng", "photo.png", "photo.srf"])
def test_sidecar_of_a_raw_file_is_ignored(other, photo, tmp_path):
    create_file(tmp_path, other)
    create_file(tmp_path, "photo.xmp")
    assert paths_to_write(photo)[0] == tmp_path / "photo.jpg.xmp"
    assert find_photo_files(photo).beside == ()


@pytest.mark.parametrize(
    "other",
    [
        *("photo.AAE", "photo.MOV", "photo.mp4", "photo.json", "photo.THM", "photo.dop", "photo.psd"),
        *("photo.jpg_original", "photo.xmp~", "photo.wav", "photo.pp3", "photo.jpg.bak", "photo"),
    ],
)
def test_files_without_sidecars_of_the_stem_leave_it_to_the_photo(other, photo, tmp_path):
    create_file(tmp_path, other)
    adobe = create_file(tmp_path, "photo.xmp")
    assert find_photo_files(photo).beside == (adobe,)


@pytest.mark.parametrize(
    ("stated", "paths", "hidden"),
    [
        ("jpg", ("photo.xmp",), ()),
        ("JPG", ("photo.xmp",), ()),
        ("png", ("photo.jpg.xmp",), ()),
        ("CR3", ("photo.jpg.xmp",), ()),
        (None, ("photo.jpg.xmp",), ("photo.xmp",)),
    ],
)
def test_a_sidecar_of_several_photos_is_that_of_the_extension_it_states(
    stated, paths, hidden, photo, tmp_path
):
    create_file(tmp_path, "photo.png")
    text = f'photoshop:SidecarForExtension="{stated}"' if stated else "xmp:Rating='5'"
    create_file(tmp_path, "photo.xmp").write_text(f"<rdf:Description {text}/>")
    assert tuple(path.name for path in paths_to_write(photo)) == paths
    assert tuple(path.name for path in find_photo_files(photo).hidden) == hidden


def test_names_of_any_case_and_bytes_have_their_own_sidecars(tmp_path):
    lower, upper = create_file(tmp_path, "IMG_1.jpg"), create_file(tmp_path, "IMG_1.JPG")
    sidecar = create_file(tmp_path, "IMG_1.jpg.xmp")
    assert find_photo_files(lower).beside == (sidecar,)
    assert find_photo_files(upper).beside == ()
    photo = create_file(tmp_path, os.fsdecode(b"\xff\xe9t\xe9.jpg"))
    assert os.fsencode(paths_to_write(photo)[0].name) == b"\xff\xe9t\xe9.jpg.xmp"
    adobe = create_file(tmp_path, os.fsdecode(b"\xff\xe9t\xe9.XMP"))
    assert paths_to_write(photo)[0] == adobe


@pytest.mark.parametrize("name", ["photo.jpg.cr3", "photo.JPG.CR3", "photo.jpg.png"])
def test_a_file_named_after_another_photo_leaves_it_its_sidecar(name, photo, tmp_path):
    other = create_file(tmp_path, name)
    sidecar = create_file(tmp_path, f"{other.stem}.xmp")
    assert find_photo_files(other).beside == ()
    assert paths_to_extend(other) == (tmp_path / f"{name}.xmp",)
    assert find_photo_files(photo).beside == ((sidecar,) if sidecar.stem == photo.name else ())


@pytest.mark.parametrize("has_sidecar", [False, True])
def test_a_sidecar_that_may_be_of_a_raw_file_gets_no_values(has_sidecar, photo, tmp_path):
    sidecar = tmp_path / "photo.jpg.xmp"
    if has_sidecar:
        create_file(tmp_path, sidecar.name)
    assert paths_to_extend(photo) == (sidecar,)
    create_file(tmp_path, "photo.jpg.CR3")
    assert paths_to_write(photo) == (sidecar,)  # to remove values
    with pytest.raises(WriteRefused, match=r"photo\.jpg\.CR3.*Rename one") as refused:
        paths_to_extend(photo)
    assert refused.value.kind is RefusalKind.SIDECAR
    if not has_sidecar:
        assert find_photo_files(photo).beside == ()
        adobe = create_file(tmp_path, "photo.xmp")
        assert paths_to_extend(photo) == (adobe,)


def test_unreadable_folder_is_refused(photo):
    assert paths_to_write(photo.parent / "gone" / "photo.jpg")[0].name == "photo.jpg.xmp"
    with pytest.raises(WriteFailed):
        paths_to_write(photo / "photo.jpg")
    with pytest.raises(WriteRefused):
        paths_to_write(photo.with_name("x" * 252 + ".jpg"))
