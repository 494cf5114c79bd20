"""Splices of a file: applied, and undone by their inverse."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.metadata.formats.jpeg import (
    LARGEST_INVERSE,
    MOST_SPLICES,
    Splice,
    apply_splices,
    inverse_of,
    undo_splices,
)

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
def test_inverse_undoes_the_splices(changed: tuple[bytes, list[Splice]]) -> None:
    data, splices = changed
    assert undo_splices(apply_splices(data, splices), inverse_of(data, splices)) == data


@given(changed_files())
def test_bytes_outside_of_splices_stay(changed: tuple[bytes, list[Splice]]) -> None:
    data, splices = changed
    parts, at = [], 0
    for splice in splices:
        parts += [data[at : splice.start], splice.replacement]
        at = splice.end
    assert apply_splices(data, splices) == b"".join([*parts, data[at:]])


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
def test_invalid_splices_raise(splices: list[Splice]) -> None:
    with pytest.raises(ValueError, match="overlap or lie outside"):
        apply_splices(b"abcdef", splices)


def test_inverse_is_as_small_as_the_replaced_bytes() -> None:
    data = bytes(range(256)) * 4000
    assert len(inverse_of(data, [Splice(100, 100, b"x" * 50_000)])) < 40
    assert len(inverse_of(data, [Splice(100, 400, b"")])) < 400


@given(changed_files(), st.binary(max_size=40))
def test_damaged_inverse_raises_value_error(changed: tuple[bytes, list[Splice]], noise: bytes) -> None:
    data, splices = changed
    packed = inverse_of(data, splices)
    for damaged in (noise, packed[: len(noise)], packed[:1] + noise, packed + noise):
        try:
            undo_splices(data, damaged)
        except ValueError:
            continue


def test_inverse_of_another_file_raises_value_error() -> None:
    packed = inverse_of(b"a much longer file", [Splice(15, 15, b"!")])
    with pytest.raises(ValueError, match="outside"):
        undo_splices(b"short", packed)


def test_an_inverse_that_stands_for_gigabytes_is_refused() -> None:
    forged = b"\x01" + zlib.compress(bytes(LARGEST_INVERSE + 1), 1)
    with pytest.raises(ValueError, match="too large"):
        undo_splices(b"data", forged)


def test_an_inverse_of_countless_splices_is_refused() -> None:
    forged = b"\x01" + zlib.compress(bytes(24 * (MOST_SPLICES + 1)), 1)
    with pytest.raises(ValueError, match="too many splices"):
        undo_splices(b"data", forged)
