"""Our values: keywords and positions of landmarks, IPTC datasets of them, and splices of a file."""

import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st
from rig.containers import iptc_dataset
from support.examples import examples

from tagger.metadata import (
    POSITION_ERROR_M,
    NamedLandmark,
    PositionEstimate,
    RefusalKind,
    TagFields,
    WriteRefused,
    keyword_key,
    make_tag_fields,
)
from tagger.metadata.formats.jpeg import (
    LARGEST_INVERSE,
    MOST_SPLICES,
    Splice,
    apply_splices,
    inverse_of,
    undo_splices,
)
from tagger.metadata.iptc import add, insertion_difference, read, remove

PARIS = ("France", "Île-de-France", "Paris")
TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", *PARIS, 48.8584, 2.2945, "point", 0.9, "m")
ARCH = replace(TOWER, slug="arch", name="Arc de Triomphe", latitude=48.8738, longitude=2.2950)
WALL = NamedLandmark("great-wall", "Great Wall", country="China", latitude=40.4, longitude=116.6)


@pytest.mark.parametrize(
    "other",
    [
        "ST PETER'S BASILICA", "St Peter\u2019s Basilica", "St Peter\u02bcs Basilica",
        "St Peter\u2018s Basilica", "St\u00a0Peter's Basilica", " St  Peter's\u202fBasilica ",
    ],
)  # fmt: skip
def test_spellings_of_one_keyword_have_one_key(other):
    assert keyword_key(other) == keyword_key("St Peter's Basilica")
    assert keyword_key("Sankt Peter") != keyword_key("St Peter")
    assert keyword_key("St Peters Basilica") != keyword_key(other)


def test_values_are_names_paths_and_optional_facts():
    tag_fields = make_tag_fields((), gps=True, description=True)
    assert tag_fields == TagFields()
    assert not tag_fields
    tag_fields = make_tag_fields((TOWER, WALL))
    assert tag_fields
    assert tag_fields.landmarks == (TOWER, WALL)
    assert tag_fields.keywords == ("Eiffel Tower", "Great Wall")
    assert tag_fields.paths == (
        ("Places", "France", "Paris", "Eiffel Tower"),
        ("Places", "China", "Great Wall"),
    )
    other = replace(TOWER, slug="eiffel-tower-las-vegas", country="United States", city="Las Vegas")
    tag_fields = make_tag_fields((TOWER, other))
    assert tag_fields.keywords == ("Eiffel Tower",)
    assert len(tag_fields.paths) == 2
    assert len(tag_fields.landmarks) == 2
    plain = make_tag_fields((TOWER,))
    assert (plain.position, plain.description) == (None, None)
    tag_fields = make_tag_fields((TOWER, WALL), description=True)
    assert tag_fields.description == "Eiffel Tower, Paris, France; Great Wall, China"
    estimate = PositionEstimate(48.8, 2.2, 700.0, "neighbour")
    assert make_tag_fields((TOWER,), gps=True, estimate=estimate).position == estimate
    only = make_tag_fields((), gps=True, estimate=estimate, description=True)
    assert only == TagFields(position=estimate)
    assert only


@pytest.mark.parametrize(
    ("landmarks", "is_located"),
    [
        ((TOWER,), True),
        ((TOWER, ARCH), True),
        ((TOWER, replace(WALL, latitude=None)), True),  # contradicts nothing
        ((TOWER, WALL), False),
        ((TOWER, ARCH, WALL), False),
        ((replace(TOWER, extent="area"), ARCH), False),  # the best landmark gives the position
        ((replace(TOWER, latitude=None), ARCH), False),
        *(((replace(TOWER, extent=extent),), False) for extent in ("line", "area", "multi", None)),
    ],
)
def test_the_best_landmark_gives_the_position_if_it_is_a_point_and_none_is_distant(landmarks, is_located):
    expected = PositionEstimate(48.8584, 2.2945, POSITION_ERROR_M) if is_located else None
    assert make_tag_fields(landmarks, gps=True).position == expected


NAMED_TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower")
KEYWORDS = TagFields((NAMED_TOWER,), keywords=("Eiffel Tower", "Paris", "Île-de-France"))


UTF8 = iptc_dataset(1, 90, b"\x1b%G")
VERSION = iptc_dataset(2, 0, b"\0\2")
CAPTION = iptc_dataset(2, 120, "Sommerurlaub")


def keyword(text: str) -> bytes:
    return iptc_dataset(2, 25, text)


def added_keywords(before: bytes, *keywords: str) -> list[str]:
    return [value for _, value in add(before, TagFields((NAMED_TOWER,), keywords=keywords))[1]]


@pytest.mark.parametrize("padding", [b"", bytes(3)])
def test_keywords_are_inserted_in_order(padding):
    before = UTF8 + VERSION + CAPTION + padding
    after, added = add(before, KEYWORDS)
    ours = keyword("Eiffel Tower") + keyword("Paris") + keyword("Île-de-France")
    assert after == UTF8 + VERSION + ours + CAPTION + padding
    assert added == tuple(("IPTC:Keywords", text) for text in KEYWORDS.keywords)
    assert insertion_difference(before, after, added) is None
    assert remove(after, added) == before


def test_keywords_follow_existing_ones_without_a_declared_encoding():
    before = UTF8 + VERSION + keyword("PARIS") + CAPTION + keyword("Ferien") + iptc_dataset(2, 5, "Titel")
    after, added = add(before, KEYWORDS)
    assert added == (("IPTC:Keywords", "Eiffel Tower"), ("IPTC:Keywords", "Île-de-France"))
    assert read(after)["IPTC:Keywords"] == ["PARIS", "Ferien", "Eiffel Tower", "Île-de-France"]
    assert after.endswith(iptc_dataset(2, 5, "Titel"))
    assert remove(after, added) == before
    for before in (
        VERSION + CAPTION,
        VERSION + iptc_dataset(2, 90, b"Z\xfcrich"),
        VERSION + iptc_dataset(2, 90, "Zürich"),
        b"",
    ):
        assert added_keywords(before, "Paris", "Île-de-France") == ["Paris"]
    assert added_keywords(iptc_dataset(1, 90, b"\x1b.A") + VERSION, "Île") == []
    assert added_keywords(UTF8 + iptc_dataset(1, 90, b"\x1b.A"), "Île") == []
    before = UTF8 + keyword("paris") + keyword("Eiffel Tower")
    assert remove(before, [("IPTC:Keywords", "Paris"), ("IPTC:Keywords", "Eiffel Tower")]) == UTF8 + keyword(
        "paris"
    )


@pytest.mark.parametrize("text", ["", "  ", "a" * 65, "é" * 33, "a\nb", "a\0", "\ud800"])
def test_keywords_that_iptc_cannot_hold_are_skipped(text):
    assert added_keywords(UTF8, text, "é" * 32) == ["é" * 32]


@pytest.mark.parametrize("existing", ["zürich".encode(), "zürich".encode("latin-1")])
def test_existing_keyword_in_any_encoding_is_recognised(existing):
    before = VERSION + iptc_dataset(2, 25, existing)
    assert read(before)["IPTC:Keywords"] == ["zürich"]
    assert added_keywords(before, "Zürich", "Bern") == ["Bern"]


@pytest.mark.parametrize(
    "broken",
    [
        VERSION + b"\0\1",
        VERSION + struct.pack(">BBBHI", 0x1C, 2, 202, 0x8004, 3) + b"abc",
        b"8BIM",
    ],
)
def test_broken_datasets_are_refused(broken):
    with pytest.raises(WriteRefused) as refused:
        add(broken, KEYWORDS)
    assert refused.value.kind == RefusalKind.STRUCTURE
    with pytest.raises(WriteRefused):
        remove(broken, [("IPTC:Keywords", "Paris")])
    assert remove(broken, [("dc:subject", "Paris")]) is broken
    assert insertion_difference(broken, broken, ()) is None
    assert insertion_difference(broken, broken + keyword("Paris"), [("IPTC:Keywords", "Paris")])
    read(broken)


def test_datasets_are_compared_byte_by_byte_in_linear_time():
    before = UTF8 + VERSION + keyword("Ferien") + CAPTION
    after, added = add(before, KEYWORDS)
    for changed in (
        after.replace(b"Ferien", b"ferien"),
        after[:-1],
        after + b"\0",
        before,
        after.replace(b"Par", b"par"),
    ):
        assert insertion_difference(before, changed, added)
    assert insertion_difference(before, after, added[1:])
    assert insertion_difference(before, after, ())
    assert insertion_difference(before, before, ()) is None
    before = iptc_dataset(2, 25, b"\xff") * 10_000
    after, added = add(before, KEYWORDS)
    assert insertion_difference(before, after, added) is None
    assert remove(after, added) == before


def test_values_are_named_as_in_exiftool():
    values = read(
        UTF8
        + keyword("a")
        + keyword("b")
        + iptc_dataset(2, 90, "Paris")
        + iptc_dataset(2, 101, "France")
        + CAPTION
    )
    assert values == {
        "IPTC:Keywords": ["a", "b"],
        "IPTC:City": ["Paris"],
        "IPTC:Country-PrimaryLocationName": ["France"],
        "IPTC:Caption-Abstract": ["Sommerurlaub"],
    }


numbers = st.sampled_from([(1, 90), (2, 0), (2, 5), (2, 25), (2, 90), (2, 120), (3, 10), (240, 1)])
parts = st.tuples(numbers, st.binary(max_size=20) | st.just(b"\x1b%G")).map(
    lambda part: iptc_dataset(*part[0], part[1])
)


@examples(63)
@given(st.lists(parts, max_size=8).map(b"".join), st.lists(st.text(max_size=20), max_size=5))
def test_generated_datasets_are_restored_exactly(before, keywords):
    tag_fields = TagFields((NAMED_TOWER,), keywords=tuple(keywords))
    after, added = add(before, tag_fields)
    assert insertion_difference(before, after, added) is None
    assert add(after, tag_fields) == (after, ())
    assert remove(after, added) == before


@examples(63)
@given(st.binary(max_size=60), st.sampled_from([b"", UTF8, UTF8 + VERSION]), st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_or_restored(data, head, other):
    read(head + data)
    insertion_difference(head + data, other, [("IPTC:Keywords", "Paris")])
    try:
        after, added = add(head + data, KEYWORDS)
    except WriteRefused as refused:
        assert "sidecar" in refused.text  # noqa: PT017 - only some are refused
        return
    assert remove(after, added) == head + data


CHANGED = Splice(2, 4, b"---")


@st.composite
def changed_files(draw: st.DrawFn) -> tuple[bytes, list[Splice]]:
    """A file and its splices in file order: insertions, deletions, replacements, adjacent ones."""
    data = draw(st.binary(max_size=60))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return data, [
        Splice(start, end, draw(st.binary(max_size=9)))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]


@given(changed_files())
def test_inverse_undoes_the_splices(changed):
    data, splices = changed
    assert undo_splices(apply_splices(data, splices), inverse_of(data, splices)) == data


@pytest.mark.parametrize(
    "splices",
    [
        [CHANGED, Splice(3, 5, b"")],
        [CHANGED, Splice(0, 1, b"")],
        [Splice(4, 2, b"")],
        [Splice(-1, 2, b"")],
        [Splice(5, 7, b"")],
    ],
    ids=["overlapping", "in no order", "backwards", "ahead of the file", "behind the file"],
)
def test_invalid_splices_raise(splices):
    with pytest.raises(ValueError, match="overlap or lie outside"):
        apply_splices(b"abcdef", splices)


def test_inverse_is_as_small_as_the_replaced_bytes():
    data = bytes(range(256)) * 4000
    assert len(inverse_of(data, [Splice(100, 100, b"x" * 50_000)])) < 40
    assert len(inverse_of(data, [Splice(100, 400, b"")])) < 400


@given(changed_files(), st.binary(max_size=40))
def test_damaged_inverse_raises_value_error(changed, noise):
    data, splices = changed
    packed = inverse_of(data, splices)
    for damaged in (noise, packed[: len(noise)], packed[:1] + noise, packed + noise):
        try:
            undo_splices(data, damaged)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("inverse", "reason"),
    [
        (inverse_of(b"a much longer file", [Splice(15, 15, b"!")]), "outside"),
        (b"\x01" + zlib.compress(bytes(LARGEST_INVERSE + 1), 1), "too large"),
        (b"\x01" + zlib.compress(bytes(24 * (MOST_SPLICES + 1)), 1), "too many splices"),
    ],
    ids=["of another file", "of gigabytes", "of countless splices"],
)
def test_a_forged_inverse_raises_value_error(inverse, reason):
    with pytest.raises(ValueError, match=reason):
        undo_splices(b"short", inverse)
