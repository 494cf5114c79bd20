"""TorchScript on a device: what every other runner is held against."""

from functools import partial

import numpy as np
import pytest
import torch
from small_network import LABELS, SIZE, small_module
from threads import in_threads

from tagger.devices import Device
from tagger.runners import Runner
from tagger.runners.choosing import pictures
from tagger.runners.torchscript import TorchScriptRunner

PRECISIONS = (torch.float32, torch.bfloat16)


def runner_of(dtype: torch.dtype, at_once: int = 1) -> TorchScriptRunner:
    return TorchScriptRunner(small_module(), Device("cpu", dtype, 8), SIZE, at_once)


def test_it_computes_what_the_module_does() -> None:
    images = pictures(SIZE, 5)
    with torch.inference_mode():
        expected = small_module()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(runner_of(torch.float32).forward(images), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_scores_are_float32_and_the_same_in_a_batch_of_any_size(dtype: torch.dtype) -> None:
    runner: Runner = runner_of(dtype)
    images = pictures(SIZE, 9)
    alone = np.concatenate([runner.forward(image[None]) for image in images])
    assert (alone.dtype, alone.shape) == (np.float32, (9, LABELS))
    for count in (9, 2, 7, 1, 8):
        scores = runner.forward(images[:count])
        np.testing.assert_allclose(scores, alone[:count], atol=1e-5 if dtype is torch.float32 else 0.02)


def test_bfloat16_is_near_float32() -> None:
    images = pictures(SIZE, 8)
    near = runner_of(torch.bfloat16).forward(images)
    assert np.abs(near - runner_of(torch.float32).forward(images)).max() < 0.1


def test_a_batch_that_is_filled_in_place_is_what_is_looked_at() -> None:
    runner = runner_of(torch.float32)
    images = pictures(SIZE, 4)
    batch = runner.empty(4)
    assert (batch.shape, batch.dtype) == ((4, SIZE, SIZE, 3), np.uint8)
    np.copyto(batch, images)
    np.testing.assert_array_equal(runner.forward(batch), runner.forward(images))


def test_several_threads_get_each_its_own_scores() -> None:
    runner = runner_of(torch.float32, at_once=3)
    images = pictures(SIZE, 12)
    expected = runner.forward(images)

    def look(number: int) -> None:
        for _ in range(20):
            np.testing.assert_allclose(
                runner.forward(images[number : number + 3]), expected[number : number + 3], atol=1e-5
            )

    in_threads([partial(look, number) for number in range(0, 12, 3)])


def test_freeing_memory_leaves_it_able_to_go_on() -> None:
    runner = runner_of(torch.float32)
    before = runner.forward(pictures(SIZE, 2))
    runner.free_memory()
    np.testing.assert_array_equal(runner.forward(pictures(SIZE, 2)), before)
