"""Which files are one photo, for any names; and groups of files of one stem, from sorted paths, with few of them in memory."""

from hypothesis import given
from hypothesis import strategies as st

from tagger.photos.photo_names import StemGroups, is_raw_name, primary_files, stem_of

_NAMES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["a", "a.b", "a.b.c", "a-b", "a.d/a", "a/a", "A", "é", "a."]),
        st.sampled_from([".CR3", ".cr3", ".DNG", ".jpg", ".JPG", ".jpeg", ".HEIC", ".png", ".mov", ""]),
    ),
)


def test_the_jpeg_stands_for_the_raw_file_else_the_heic() -> None:
    assert primary_files(["a.CR3", "a.HEIC", "a.JPG"]) == {"a.CR3": "a.JPG"}
    assert primary_files(["a.CR3", "a.HEIC"]) == {"a.CR3": "a.HEIC"}
    assert primary_files(["a.CR3", "a.DNG", "a.jpeg", "a.jpg"]) == {"a.CR3": "a.jpeg", "a.DNG": "a.jpeg"}


def test_nothing_but_raw_files_is_joined() -> None:
    assert primary_files(["a.HEIC", "a.JPG", "a.jpeg"]) == {}
    assert primary_files(["a.CR3", "a.DNG"]) == {}
    assert [stem_of(name) for name in ("a.CR3", "b/a.x.jpg", "a.png", "a.tif", "a.mov", "a", ".jpg")] == [
        "a",
        "b/a.x",
        *[None] * 5,
    ]


@given(st.sets(_NAMES))
def test_groups_of_sorted_paths_are_those_of_all_paths_together(names: set[str]) -> None:
    paths = sorted(names)
    groups = list(StemGroups[str](str).of(paths))
    assert sorted(path for group in groups for path in group) == paths
    for group in groups:
        assert len(group) == 1 or {stem_of(path) for path in group} == {stem_of(group[0])} != {None}
    stems = [stem for group in groups if (stem := stem_of(group[0])) is not None]
    assert len(stems) == len(set(stems))


@given(st.sets(_NAMES))
def test_every_raw_file_has_the_same_primary_and_no_other_file_has_one(names: set[str]) -> None:
    for group in StemGroups[str](str).of(sorted(names)):
        primaries = primary_files(group)
        assert set(primaries) in ({*filter(is_raw_name, group)}, set())
        assert len(set(primaries.values())) <= 1
        assert not any(map(is_raw_name, primaries.values()))


def test_a_folder_of_any_size_between_two_files_is_not_kept() -> None:
    groups = StemGroups[str](str)
    paths = ["a.CR3", *(f"a.D/{number:06}.jpg" for number in range(10_000)), "a.JPG"]
    complete = [list(groups.add([path])) for path in paths]
    assert [len(found) for found in complete] == [0, 0, *[1] * 10_000]
    assert list(groups.rest()) == [["a.CR3", "a.JPG"]]
