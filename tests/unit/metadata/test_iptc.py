"""Our keywords in IPTC datasets: added, compared, removed; all other bytes stay."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

from tagger.metadata.errors import RefusalKind, WriteRefused
from tagger.metadata.iptc import add, insertion_difference, read, remove
from tagger.metadata.tag_fields import NamedLandmark, TagFields

TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower")
KEYWORDS = TagFields((TOWER,), keywords=("Eiffel Tower", "Paris", "Île-de-France"))


def dataset(record: int, number: int, value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">BBBH", 0x1C, record, number, len(raw)) + raw


UTF8 = dataset(1, 90, b"\x1b%G")
VERSION = dataset(2, 0, b"\0\2")
CAPTION = dataset(2, 120, "Sommerurlaub")


def keyword(text: str) -> bytes:
    return dataset(2, 25, text)


def added_keywords(before: bytes, *keywords: str) -> list[str]:
    return [value for _, value in add(before, TagFields((TOWER,), keywords=keywords))[1]]


def test_keywords_are_inserted_in_order() -> None:
    after, added = add(UTF8 + VERSION + CAPTION, KEYWORDS)
    ours = keyword("Eiffel Tower") + keyword("Paris") + keyword("Île-de-France")
    assert after == UTF8 + VERSION + ours + CAPTION
    assert added == tuple(("IPTC:Keywords", text) for text in KEYWORDS.keywords)
    assert insertion_difference(UTF8 + VERSION + CAPTION, after, added) is None
    assert remove(after, added) == UTF8 + VERSION + CAPTION


def test_keywords_follow_existing_ones_and_are_not_repeated() -> None:
    before = UTF8 + VERSION + keyword("PARIS") + CAPTION + keyword("Ferien") + dataset(2, 5, "Titel")
    after, added = add(before, KEYWORDS)
    assert added == (("IPTC:Keywords", "Eiffel Tower"), ("IPTC:Keywords", "Île-de-France"))
    assert read(after)["IPTC:Keywords"] == ["PARIS", "Ferien", "Eiffel Tower", "Île-de-France"]
    assert after.endswith(dataset(2, 5, "Titel"))
    assert remove(after, added) == before


def test_no_encoding_is_declared_for_our_keywords() -> None:
    for before in (
        VERSION + CAPTION,
        VERSION + dataset(2, 90, b"Z\xfcrich"),
        VERSION + dataset(2, 90, "Zürich"),
        b"",
    ):
        assert added_keywords(before, "Paris", "Île-de-France") == ["Paris"]
    assert added_keywords(dataset(1, 90, b"\x1b.A") + VERSION, "Île") == []
    assert added_keywords(UTF8 + dataset(1, 90, b"\x1b.A"), "Île") == []


@pytest.mark.parametrize("text", ["", "  ", "a" * 65, "é" * 33, "a\nb", "a\0", "\ud800"])
def test_keywords_that_iptc_cannot_hold_are_skipped(text: str) -> None:
    assert added_keywords(UTF8, text, "é" * 32) == ["é" * 32]


@pytest.mark.parametrize("existing", ["zürich".encode(), "zürich".encode("latin-1")])
def test_existing_keyword_in_any_encoding_is_recognised(existing: bytes) -> None:
    before = VERSION + dataset(2, 25, existing)
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
def test_broken_datasets_are_refused(broken: bytes) -> None:
    with pytest.raises(WriteRefused) as refused:
        add(broken, KEYWORDS)
    assert refused.value.kind == RefusalKind.STRUCTURE
    with pytest.raises(WriteRefused):
        remove(broken, [("IPTC:Keywords", "Paris")])
    assert remove(broken, [("dc:subject", "Paris")]) is broken
    assert insertion_difference(broken, broken, ()) is None
    assert insertion_difference(broken, broken + keyword("Paris"), [("IPTC:Keywords", "Paris")])
    read(broken)


def test_padding_after_the_datasets_stays() -> None:
    before = UTF8 + VERSION + CAPTION + bytes(3)
    after, added = add(before, KEYWORDS)
    assert after.endswith(CAPTION + bytes(3))
    assert insertion_difference(before, after, added) is None
    assert remove(after, added) == before


def test_keyword_changed_by_others_stays() -> None:
    before = UTF8 + keyword("paris") + keyword("Eiffel Tower")
    assert remove(before, [("IPTC:Keywords", "Paris"), ("IPTC:Keywords", "Eiffel Tower")]) == UTF8 + keyword(
        "paris"
    )


def test_comparison_sees_every_byte() -> None:
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


def test_values_are_named_as_in_exiftool() -> None:
    values = read(
        UTF8 + keyword("a") + keyword("b") + dataset(2, 90, "Paris") + dataset(2, 101, "France") + CAPTION
    )
    assert values == {
        "IPTC:Keywords": ["a", "b"],
        "IPTC:City": ["Paris"],
        "IPTC:Country-PrimaryLocationName": ["France"],
        "IPTC:Caption-Abstract": ["Sommerurlaub"],
    }


numbers = st.sampled_from([(1, 90), (2, 0), (2, 5), (2, 25), (2, 90), (2, 120), (3, 10), (240, 1)])
parts = st.tuples(numbers, st.binary(max_size=20) | st.just(b"\x1b%G")).map(
    lambda part: dataset(*part[0], part[1])
)


@examples(63)
@given(st.lists(parts, max_size=8).map(b"".join), st.lists(st.text(max_size=20), max_size=5))
def test_generated_datasets_are_restored_exactly(before: bytes, keywords: list[str]) -> None:
    tag_fields = TagFields((TOWER,), keywords=tuple(keywords))
    after, added = add(before, tag_fields)
    assert insertion_difference(before, after, added) is None
    assert add(after, tag_fields) == (after, ())
    assert remove(after, added) == before


@examples(63)
@given(st.binary(max_size=60), st.sampled_from([b"", UTF8, UTF8 + VERSION]), st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_or_restored(data: bytes, head: bytes, other: bytes) -> None:
    read(head + data)
    insertion_difference(head + data, other, [("IPTC:Keywords", "Paris")])
    try:
        after, added = add(head + data, KEYWORDS)
    except WriteRefused as refused:
        assert "sidecar" in refused.text  # noqa: PT017 - only some are refused
        return
    assert remove(after, added) == head + data


def test_many_tiny_datasets_take_linear_time() -> None:
    before = dataset(2, 25, b"\xff") * 10_000
    after, added = add(before, KEYWORDS)
    assert insertion_difference(before, after, added) is None
    assert remove(after, added) == before


# --- Real photos, checked with exiftool.
