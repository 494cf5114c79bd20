"""Side files of photos, by the names in a folder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.photos.side_files import SideFile, side_files_from_text, side_files_of, side_files_to_text

LONG = "a_very_long_name_of_a_photo_that_somebody_save"  # 46 characters
PIXEL = "PXL_20190714_213803123.MP.jpg"


@pytest.mark.parametrize(
    ("photo", "side_file"),
    [
        ("IMG_1.jpg", "IMG_1.jpg.json"),
        ("IMG_1.JPG", "IMG_1.JPG.JSON"),
        ("IMG_1.JPG", "img_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        *((PIXEL, f"{PIXEL}.{cut}.json") for cut in ("supplemental-meta", "su", "s", "")),
        ("IMG_1(1).jpg", "IMG_1(1).jpg.json"),
        ("IMG_1(1).jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.supplemental-metadata(1).json"),
        ("IMG_1(12).HEIC", "IMG_1.HEIC.supplemental-metad(12).json"),
        *((f"IMG_1-{word}.jpg", "IMG_1.jpg.json") for word in ("edited", "bearbeitet", "modifié", "editado")),
        *((f"IMG_1-{word}.jpg", "IMG_1.jpg.json") for word in ("編集済み", "изменено", "đã chỉnh sửa")),
        ("IMG_1-modifie\N{COMBINING ACUTE ACCENT}.jpg", "IMG_1.jpg.json"),
        ("IMG_1-edited(2).jpg", "IMG_1.jpg(2).json"),
        ("IMG_1(2)-edited.jpg", "IMG_1.jpg.supplemental-metadata(2).json"),
        ("IMG_1-edited.jpg", "IMG_1.HEIC.supplemental-metadata.json"),
        ("PXL_1.MP.jpg", "PXL_1.MP.json"),
        ("PXL_1.MP.jpg", "PXL_1.MP4.json"),
        ("PXL_1.MP.jpg", "PXL_1.jpg.supplemental-metadata.json"),
        ("PXL_1.jpg", "PXL_1.MP.jpg.json"),
        ("PXL_1.jpg", "PXL_1.MP.json"),
        (f"{LONG}d.jpg", f"{LONG}.json"),
        (f"{LONG}d(3).jpg", f"{LONG}(3).json"),
        (f"{LONG}d-edited.jpg", f"{LONG}.json"),
        (f"{LONG[:-1]}.jpg", f"{LONG[:-1]}..json"),
        (f"{LONG[:-3]}.jpg", f"{LONG[:-3]}.jp.json"),
        ("😀" * 24 + ".jpg", "😀" * 23 + ".json"),
        ("IMG_1.jpg", "IMG_1.json"),
        ("IMG_1.jpg", "IMG_1.jpg.xmp"),
        ("IMG_1.jpg", "IMG_1.JPG.XMP"),
        ("IMG_1.jpg", "IMG_1.xmp"),
    ],
)
def test_names_of_one_photo(photo: str, side_file: str) -> None:
    found = side_files_of(["IMG_2.jpg", photo], ["metadata.json", "IMG_2.jpg.json", side_file])
    assert found == {"IMG_2.jpg": ("IMG_2.jpg.json",), photo: (side_file,)}


@pytest.mark.parametrize(
    ("photo", "side_file"),
    [
        ("IMG_1.jpg", "IMG_11.jpg.json"),
        ("IMG_11.jpg", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.json"),
        ("IMG_1-2.jpg", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "metadata.json"),
        ("IMG_1.jpg", "Métadonnées.json"),
        ("IMG_1.jpg", "IMG_1.jpg.thumb.json"),
        ("IMG_1.jpg", "IMG_10.xmp"),
        ("short-edited.jpg", "shor.json"),
    ],
)
def test_names_of_others(photo: str, side_file: str) -> None:
    assert side_files_of([photo], [side_file]) == {}


def test_a_file_that_may_be_of_several_photos_is_of_none() -> None:
    assert side_files_of([f"{LONG}d_1.jpg", f"{LONG}d_2.jpg"], [f"{LONG}.json"]) == {}
    assert side_files_of(["IMG_1.jpg", "IMG_1.png"], ["IMG_1.json", "IMG_1.xmp"]) == {}


def test_the_sidecar_of_a_stem_is_that_of_the_raw_file_and_comes_last() -> None:
    raw = side_files_of(["IMG_1.CR3", "IMG_1.jpg"], ["IMG_1.xmp", "IMG_1.jpg.xmp"])
    assert raw == {"IMG_1.CR3": ("IMG_1.xmp",), "IMG_1.jpg": ("IMG_1.jpg.xmp",)}
    both = side_files_of(["IMG_1.jpg"], ["IMG_1.jpg.json", "IMG_1.xmp", "IMG_1.jpg.xmp"])
    assert both == {"IMG_1.jpg": ("IMG_1.jpg.xmp", "IMG_1.xmp", "IMG_1.jpg.json")}
    named = side_files_of(["a.jpg", "a.jpg.cr3"], ["a.jpg.xmp"])
    assert named == {"a.jpg": ("a.jpg.xmp",)}


def test_names_that_differ_by_case_alone_have_their_own_files() -> None:
    files = ["IMG_1.jpg.json", "IMG_1.JPG.json"]
    found = side_files_of(["IMG_1.jpg", "IMG_1.JPG"], files)
    assert found == {"IMG_1.jpg": ("IMG_1.jpg.json",), "IMG_1.JPG": ("IMG_1.JPG.json",)}


NAMES = st.lists(
    st.text(alphabet="aé-().1 ", max_size=8).map(lambda text: f"a{text}"), max_size=6, unique=True
)


@given(NAMES, NAMES)
def test_each_photo_has_at_most_one_file_of_takeout(stems: list[str], titles: list[str]) -> None:
    photos, files = [f"{stem}.jpg" for stem in stems], [f"{title}.json" for title in titles]
    found = side_files_of(photos, files)
    assert found.keys() <= set(photos)
    assert all(len(names) == 1 and names[0] in files for names in found.values())


def test_stored_side_files_are_those_of_the_folder() -> None:
    files = (SideFile("IMG_1.jpg.xmp", 7, 9), SideFile("\udcff.json", 1, 2))
    assert side_files_from_text(side_files_to_text(files)) == files
    assert side_files_to_text(()) is None
    assert side_files_from_text(None) == ()


@pytest.mark.parametrize(
    "text", ['[["../a.json", 1, 2]]', '[["/etc/passwd", 1, 2]]', "[[1]]", "{", '[["a.jpg", 1, 2]]', "7"]
)
def test_other_stored_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        side_files_from_text(text)
