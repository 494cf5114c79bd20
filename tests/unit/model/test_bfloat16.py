"""Weights rounded to bfloat16 so that the sums of their rows change little, and the effect on real photos."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from support.examples import examples
from support.models import SmallNetwork, small_module

from tagger.model.backends.protocol import round_keeping_sums
from tagger.model.backends.torchscript import round_kernels

STEP = 0x10000
"""The distance between neighbouring bfloat16 values, in the bits of a float32."""
LARGEST = float(torch.finfo(torch.bfloat16).max)
SUMS_WITHIN = 2.0**-21
"""The number of weights in a row; sums are computed in float32."""

ordinary = st.floats(-4, 4, width=32)
exact = st.integers(-256, 256).map(lambda number: number / 64)
any_size = st.floats(-LARGEST, LARGEST, width=32)
rows = arrays(
    np.float32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=ordinary | exact
)
odd_rows = arrays(
    np.float32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=any_size | exact
)


def neighbours(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bfloat16 values on both sides of each weight, or the weight twice if it is one."""
    bits = weights.view(np.uint32)
    inner = bits & np.uint32(0xFFFF0000)
    outer = np.where(bits == inner, inner, inner + np.uint32(STEP)).astype(np.uint32)
    return inner.view(np.float32), outer.view(np.float32)


def nearest(weights: np.ndarray) -> np.ndarray:
    return torch.from_numpy(weights).bfloat16().float().numpy()


def sum_errors(weights: np.ndarray, result: np.ndarray) -> np.ndarray:
    off: np.ndarray = np.abs((result.astype(np.float64) - weights.astype(np.float64)).sum(axis=1))
    return off


@given(rows | odd_rows)
@examples(25)
def test_every_value_is_one_of_the_two_bfloat16_neighbours_of_its_weight(weights: np.ndarray) -> None:
    inner, outer = neighbours(weights)
    result = round_keeping_sums(weights)
    assert ((result == inner) | (result == outer)).all()
    np.testing.assert_array_equal(nearest(result), result)


@given(rows | odd_rows)
@examples(25)
def test_no_sum_is_further_off_than_with_plain_rounding(weights: np.ndarray) -> None:
    blur = SUMS_WITHIN * np.abs(weights.astype(np.float64)).sum(axis=1)
    assert (
        sum_errors(weights, round_keeping_sums(weights)) <= sum_errors(weights, nearest(weights)) + blur
    ).all()


def test_weights_that_all_err_to_one_side_keep_their_sum() -> None:
    weights = np.full((1, 9), 0.998, dtype=np.float32)
    half_a_step = 2.0**-8 / 2
    assert sum_errors(weights, nearest(weights)) > 4 * half_a_step
    assert sum_errors(weights, round_keeping_sums(weights)) <= half_a_step


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_only_depthwise_kernels_are_touched(dtype: torch.dtype) -> None:
    module = small_module().to(dtype)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    round_kernels(module)
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"depthwise.weight"}
    kernels = module.state_dict()["depthwise.weight"].float()
    assert torch.equal(kernels, kernels.bfloat16().float())
    assert kernels.shape == SmallNetwork().depthwise.weight.shape
