"""Changes of a file as splices: made, and taken back by what was kept of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.metadata.splices import Splice, inverse, spliced, undone

CHANGED = Splice(2, 4, b"---")


@st.composite
def changed_files(draw: st.DrawFn) -> tuple[bytes, list[Splice]]:
    """A file and splices of it, in its order: insertions, deletions, exchanges, neighbours."""
    data = draw(st.binary(max_size=60))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return data, [
        Splice(start, end, draw(st.binary(max_size=9)))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]


@given(changed_files())
def test_what_is_kept_takes_the_changes_back(changed: tuple[bytes, list[Splice]]) -> None:
    data, splices = changed
    assert undone(spliced(data, splices), inverse(data, splices)) == data


@given(changed_files())
def test_nothing_but_what_splices_name_is_another(changed: tuple[bytes, list[Splice]]) -> None:
    data, splices = changed
    parts, at = [], 0
    for splice in splices:
        parts += [data[at : splice.start], splice.put]
        at = splice.end
    assert spliced(data, splices) == b"".join([*parts, data[at:]])


@given(st.binary(max_size=200))
def test_without_splices_nothing_changes(data: bytes) -> None:
    assert spliced(data, ()) == data
    assert undone(data, inverse(data, ())) == data


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
def test_splices_that_no_file_can_have_are_mistakes(splices: list[Splice]) -> None:
    with pytest.raises(ValueError, match="overlap or lie outside"):
        spliced(b"abcdef", splices)


def test_what_is_kept_is_as_small_as_what_was_replaced() -> None:
    data = bytes(range(256)) * 4000
    assert len(inverse(data, [Splice(100, 100, b"x" * 50_000)])) < 40
    assert len(inverse(data, [Splice(100, 400, b"")])) < 400


@given(changed_files(), st.binary(max_size=40))
def test_what_is_damaged_is_said_to_be_and_nothing_else_is_raised(
    changed: tuple[bytes, list[Splice]], noise: bytes
) -> None:
    data, splices = changed
    packed = inverse(data, splices)
    for damaged in (noise, packed[: len(noise)], packed[:1] + noise, packed + noise):
        try:
            undone(data, damaged)
        except ValueError:
            continue


@pytest.mark.parametrize("packed", [b"", b"\x02", b"\x01", b"\x01nonsense"])
def test_what_cannot_be_read_is_no_inverse(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"version|header|early|incorrect|incomplete"):
        undone(b"a file", packed)


def test_what_is_kept_of_another_file_reaches_outside_of_this_one() -> None:
    packed = inverse(b"a much longer file", [Splice(15, 15, b"!")])
    with pytest.raises(ValueError, match="outside"):
        undone(b"short", packed)
