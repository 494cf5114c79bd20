"""Side files of photos and files that are one photo, by the names in a folder."""

from unicodedata import normalize

import pytest
from hypothesis import example, given, strategies as st

from tagger.photos.names import StemGroups, is_raw_name, primary_files, stem_of
from tagger.photos.paths import folded_name
from tagger.photos.side_files import (
    SideFile,
    side_files_from_text,
    side_files_of,
    side_files_to_text,
)

LONG = "a_very_long_name_of_a_photo_that_somebody_save"  # 46 characters
PIXEL = "PXL_20190714_213803123.MP.jpg"
_NAMES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["a", "a.b", "a.b.c", "a-b", "a.d/a", "a/a", "A", "é", "a."]),
        st.sampled_from([".CR3", ".cr3", ".DNG", ".jpg", ".JPG", ".jpeg", ".HEIC", ".png", ".mov", ""]),
    ),
)


@pytest.mark.parametrize(
    ("photo", "side_file"),
    [
        ("IMG_1.jpg", "IMG_1.jpg.json"),
        ("IMG_1.JPG", "IMG_1.JPG.JSON"),
        ("IMG_1.JPG", "img_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1.jpg", "IMG_1.jpg.metadata.json"),
        *((PIXEL, f"{PIXEL}.{cut}.json") for cut in ("supplemental-meta", "su", "s", "")),
        ("IMG_1(1).jpg", "IMG_1(1).jpg.json"),
        ("IMG_1(1).jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.supplemental-metadata(1).json"),
        ("IMG_1(12).HEIC", "IMG_1.HEIC.supplemental-metad(12).json"),
        *((f"IMG_1-{word}.jpg", "IMG_1.jpg.json") for word in ("edited", "bearbeitet", "modifié", "editado")),
        *((f"IMG_1-{word}.jpg", "IMG_1.jpg.json") for word in ("編集済み", "изменено", "đã chỉnh sửa")),
        *(
            (f"IMG_1-{word}.jpg", "IMG_1.jpg.json")
            for word in ("संपादित", "แก้ไข", "Edytowane", "na-edit", "effects")
        ),
        ("IMG_1-modifie\N{COMBINING ACUTE ACCENT}.jpg", "IMG_1.jpg.json"),
        ("IMG_1-edited(2).jpg", "IMG_1.jpg(2).json"),
        ("IMG_1-edited(1).jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1(2)-edited.jpg", "IMG_1.jpg.supplemental-metadata(2).json"),
        ("IMG_1-edited.jpg", "IMG_1.HEIC.supplemental-metadata.json"),
        ("PXL_1.MP.jpg", "PXL_1.MP.json"),
        ("PXL_1.MP.jpg", "PXL_1.MP4.json"),
        ("PXL_1.MP.jpg", "PXL_1.jpg.supplemental-metadata.json"),
        ("PXL_1.jpg", "PXL_1.MP.jpg.json"),
        (f"{LONG}d.jpg", f"{LONG}.json"),
        (f"{LONG}d(3).jpg", f"{LONG}(3).json"),
        (f"{LONG[:-1]}.jpg", f"{LONG[:-1]}..json"),
        (f"{LONG[:-3]}.jpg", f"{LONG[:-3]}.jp.json"),
        ("😀" * 24 + ".jpg", "😀" * 23 + ".json"),
        # Of a long title, the name of the edited copy is cut to 51 characters, and that of the file to 46.
        *(
            (f"{(f'{LONG[:length]}-{word}')[:47]}.jpg", f"{f'{LONG[:length]}{extension}'[:46]}.json")
            for length in range(36, 47)
            for word in ("edited", "bearbeitet", "đã chỉnh sửa")
            for extension in (".jpg", ".HEIC")
        ),
        (f"{LONG[:44]}-ed(1).jpg", f"{LONG[:44]}.j(1).json"),
        ("Garden party-edited.jpg", "Garden party.supplemental-metadata.json"),
        ("IMG_1.jpg", "IMG_1.HEIC.json"),
        ("IMG_1.jpg", "metadata/IMG_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.json"),
        ("IMG_1.jpg", "IMG_1.jpg.xmp"),
        ("IMG_1.jpg", "IMG_1.xmp"),
    ],
)
def test_names_of_one_photo(photo, side_file):
    found = side_files_of(["IMG_2.jpg", photo], ["metadata.json", "IMG_2.jpg.json", side_file])
    assert found == {"IMG_2.jpg": ("IMG_2.jpg.json",), photo: (side_file,)}


@pytest.mark.parametrize(
    ("photo", "side_file"),
    [
        ("IMG_1.jpg", "IMG_11.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.json"),
        ("IMG_1-2.jpg", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "metadata.json"),
        ("IMG_1.jpg", "IMG_1.jpg.thumb.json"),
        ("IMG_1.jpg", "IMG_10.xmp"),
        ("short-edited.jpg", "shor.json"),
        ("IMG_1-e.jpg", "IMG_1.jpg.json"),
        ("beach-sunset.jpg", "beach.jpg.json"),
        ("пляж-закат.jpg", "пляж.jpg.json"),
        ("IMG_1-.jpg", "IMG_1.jpg.json"),
        ("IMG_1.png", "IMG_1.HEIC.json"),
        ("IMG_1.HEIC", "IMG_1.jpg.supplemental-metadata.json"),
    ],
)
def test_names_of_others(photo, side_file):
    assert side_files_of([photo], [side_file]) == {}


def test_one_file_of_several_photos_is_of_the_right_one_or_none():
    assert side_files_of([f"{LONG}d_1.jpg", f"{LONG}d_2.jpg"], [f"{LONG}.json"]) == {}
    assert side_files_of(["IMG_1.jpg", "IMG_1.png"], ["IMG_1.json", "IMG_1.xmp"]) == {}
    assert side_files_of(["IMG_1.CR3", "IMG_1.dng"], ["IMG_1.xmp"]) == {}
    found = side_files_of(["IMG_1.jpg", "IMG_1.JPG"], ["IMG_1.jpg.json", "IMG_1.JPG.json"])
    assert found == {"IMG_1.jpg": ("IMG_1.jpg.json",), "IMG_1.JPG": ("IMG_1.JPG.json",)}
    heic = side_files_of(["IMG_1.HEIC", "IMG_1.jpg", "IMG_1-edited.jpg"], ["IMG_1.HEIC.json"])
    assert heic == dict.fromkeys(("IMG_1.HEIC", "IMG_1.jpg", "IMG_1-edited.jpg"), ("IMG_1.HEIC.json",))
    title, file = LONG[:45], f"{LONG[:45]}..json"
    cut = side_files_of([f"{title}.jpg", f"{title}-e.jpg"], [file])
    assert cut == {f"{title}.jpg": (file,), f"{title}-e.jpg": (file,)}
    no_extension = side_files_of(["Party.jpg", "Party-edited.jpg"], ["Party.json"])
    assert no_extension == {"Party.jpg": ("Party.json",), "Party-edited.jpg": ("Party.json",)}
    raw = side_files_of(["IMG_1.CR3", "IMG_1.jpg"], ["IMG_1.xmp", "IMG_1.jpg.xmp"])
    assert raw == {"IMG_1.CR3": ("IMG_1.xmp",), "IMG_1.jpg": ("IMG_1.jpg.xmp",)}
    both = side_files_of(["IMG_1.jpg"], ["IMG_1.jpg.json", "IMG_1.xmp", "IMG_1.jpg.xmp"])
    assert both == {"IMG_1.jpg": ("IMG_1.jpg.xmp", "IMG_1.xmp", "IMG_1.jpg.json")}
    named = side_files_of(["a.jpg", "a.jpg.cr3"], ["a.jpg.xmp"])
    assert named == {"a.jpg": ("a.jpg.xmp",)}
    for other in ("IMG_1.heic", "IMG_1.srf", "IMG_1.jxl"):
        assert side_files_of(["IMG_1.jpg"], [other, "IMG_1.xmp"]) == {}


NAMES = st.lists(
    st.text(alphabet="aé-().1 ", max_size=8).map(lambda text: f"a{text}"), max_size=6, unique=True
)


@given(NAMES, NAMES)
def test_each_photo_has_at_most_one_file_of_takeout(stems, titles):
    photos, files = [f"{stem}.jpg" for stem in stems], [f"{title}.json" for title in titles]
    found = side_files_of(photos, files)
    assert found.keys() <= set(photos)
    assert all(len(names) == 1 and names[0] in files for names in found.values())


def test_stored_side_files_are_those_of_the_folder():
    files = (
        SideFile("IMG_1.jpg.xmp", 7, 9),
        SideFile("\udcff.json", 1, 2),
        SideFile("metadata/a.jpg.json", 1, 2),
    )
    assert side_files_from_text(side_files_to_text(files)) == files
    assert side_files_to_text(()) is None
    assert side_files_from_text(None) == ()


@pytest.mark.parametrize(
    "text",
    [
        '[["../a.json", 1, 2]]', '[["metadata/../a.json", 1, 2]]', '[["album/a.json", 1, 2]]',
        '[["/etc/passwd", 1, 2]]', "[[1]]", '[["a.jpg", 1, 2]]',
    ],
)  # fmt: skip
def test_other_stored_texts_are_refused(text):
    with pytest.raises(ValueError):
        side_files_from_text(text)


def test_a_jpeg_or_heic_stands_for_the_raw_file_and_nothing_else_is_joined():
    assert primary_files(["a.CR3", "a.HEIC", "a.JPG"]) == {"a.CR3": "a.JPG"}
    assert primary_files(["a.CR3", "a.HEIC"]) == {"a.CR3": "a.HEIC"}
    assert primary_files(["a.CR3", "a.DNG", "a.jpeg", "a.jpg"]) == {"a.CR3": "a.jpeg", "a.DNG": "a.jpeg"}
    assert primary_files(["a.HEIC", "a.JPG", "a.jpeg"]) == {}
    assert primary_files(["a.CR3", "a.DNG"]) == {}
    assert [stem_of(name) for name in ("a.CR3", "b/a.x.jpg", "a.png", "a.tif", "a.mov", "a", ".jpg")] == [
        "a",
        "b/a.x",
        *[None] * 5,
    ]
    groups = StemGroups[str](str)
    paths = ["a.CR3", *(f"a.D/{number:06}.jpg" for number in range(10_000)), "a.JPG"]
    complete = [list(groups.add([path])) for path in paths]
    assert [len(found) for found in complete] == [0, 0, *[1] * 10_000]
    assert list(groups.rest()) == [["a.CR3", "a.JPG"]]


@given(st.sets(_NAMES))
def test_groups_of_sorted_paths_are_those_of_all_paths_and_raw_files_alone_have_one_primary(names):
    paths = sorted(names)
    groups = list(StemGroups[str](str).of(paths))
    assert sorted(path for group in groups for path in group) == paths
    for group in groups:
        assert len(group) == 1 or {stem_of(path) for path in group} == {stem_of(group[0])} != {None}
    stems = [stem for group in groups if (stem := stem_of(group[0])) is not None]
    assert len(stems) == len(set(stems))
    for group in groups:
        primaries = primary_files(group)
        assert set(primaries) in ({*filter(is_raw_name, group)}, set())
        assert len(set(primaries.values())) <= 1
        assert not any(map(is_raw_name, primaries.values()))


@pytest.mark.parametrize(
    ("stated", "owner"), [("jpg", "IMG_1.jpg"), ("PNG", "IMG_1.png"), ("CR3", None), (None, None)]
)
def test_a_sidecar_of_several_photos_is_that_of_the_one_it_names(stated, owner):
    data = f'<rdf:Description photoshop:SidecarForExtension="{stated}"/>'.encode() if stated else b""
    for encoded in (data, data.decode().encode("utf-16")):
        found = side_files_of(["IMG_1.jpg", "IMG_1.png"], ["IMG_1.xmp"], {"IMG_1.xmp": encoded}.get)
        assert found == ({owner: ("IMG_1.xmp",)} if owner else {})


@given(st.text(st.characters(categories=["Lu", "Ll", "Lt", "Lo", "Nd"], exclude_characters="\u0131")))
@example("\N{GREEK SMALL LETTER IOTA WITH DIALYTIKA AND TONOS}")
def test_names_are_equal_in_every_case_and_form(name):
    spellings = [name.lower(), name.upper(), name.swapcase(), name.casefold()]
    spellings += [normalize("NFD", each) for each in spellings]
    spellings += [normalize("NFC", each) for each in spellings]
    assert {folded_name(each) for each in spellings} == {folded_name(name)}
