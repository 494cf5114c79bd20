"""Grouping of directions: everybody is in one group, and like the first of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

from tagger.library.teaching import similarity
from tagger.library.teaching.similarity import group_directions


def directions(count: int, dimension: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    lengths: np.ndarray = np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn / lengths


@examples(15)
@given(st.integers(0, 80), st.integers(2, 5), st.integers(0, 1000), st.floats(-1, 1), st.integers(1, 40))
def test_each_photo_is_in_one_group_and_like_its_first(
    count: int, dimension: int, seed: int, least: float, block: int
) -> None:
    rows = directions(count, dimension, seed)
    before, similarity.BLOCK = similarity.BLOCK, block
    try:
        groups = group_directions(rows, least)
    finally:
        similarity.BLOCK = before
    assert sorted(index for group in groups for index in group) == list(range(count))
    for group in groups:
        first = rows[group[0]]
        assert all(float(rows[index] @ first) >= least - 1e-4 for index in group[1:])
    firsts = rows[[group[0] for group in groups]]
    likeness = firsts @ firsts.T - 2 * np.eye(len(firsts), dtype=np.float32)
    assert not len(firsts) or likeness.max() <= least + 1e-4


def test_a_comparison_can_be_ended() -> None:
    compared: list[int] = []
    group_directions(directions(1000, 4, 1), 0.9, compared.append)
    assert compared == [512, 1000]
